"""`codojo tasks`: look at suites and their tasks, without showing what the tests expect."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from codojo.tasks.schema import Split, Suite, Task

app = typer.Typer(help="Suites and their tasks.", no_args_is_help=True)

SUITE_HELP = "`katas`, or a .jsonl file in the convention of HumanEval, MBPP or EvalPlus."
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


@app.command("list")
def list_tasks(
    suite: Annotated[str, typer.Argument(help=SUITE_HELP)] = "katas",
    split: Annotated[str, typer.Option(help="Only `train`, `gate` or `held_out`.")] = "",
    as_json: JsonOption = False,
) -> None:
    """List the tasks of a suite with family and split.

    Examples: `codojo tasks list` · `codojo tasks list katas --split gate` ·
    `codojo tasks list HumanEval.jsonl.gz --json`
    """
    from codojo.tasks.loaders import load_suite

    loaded = load_suite(suite)
    chosen = loaded.split(_split(split)) if split else loaded.tasks
    if as_json:
        for task in chosen:
            print(json.dumps(task.brief().model_dump(mode="json"), ensure_ascii=False))
        return
    _print_table(loaded, chosen)


@app.command()
def show(
    task_id: Annotated[
        str, typer.Argument(help="Id as `list` prints it; for katas the name will do.")
    ],
    suite: Annotated[str, typer.Option(help=SUITE_HELP)] = "katas",
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Also the sealed tests and the reference.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show one task as the agents see it.

    Examples: `codojo tasks show count_vowels` · `codojo tasks show HumanEval/0 --suite HumanEval.jsonl`
    """
    from codojo.tasks.loaders import load_suite

    loaded = load_suite(suite)
    ids = {task.task_id for task in loaded}
    prefixed = f"{loaded.name}/{task_id}"
    task = loaded.task(prefixed if task_id not in ids and prefixed in ids else task_id)
    if as_json:
        shown = task if reveal else task.brief()
        print(json.dumps(shown.model_dump(mode="json"), ensure_ascii=False))
        return
    _print_task(task, reveal=reveal)


@app.command()
def check(suite: Annotated[str, typer.Argument(help="`katas`.")] = "katas") -> None:
    """Check that every reference passes its own tests.

    Only our own katas run here, in this process; foreign code is judged in a cage by `codojo judge`.

    Example: `codojo tasks check katas`
    """
    from codojo.errors import TaskError
    from codojo.tasks.katas.proof import disagreement
    from codojo.tasks.loaders import BUILT_IN, load_suite

    loaded = load_suite(suite)
    if suite not in BUILT_IN:
        raise TaskError(
            f"'{suite}' loads ({len(loaded)} tasks), but its references are foreign code, which "
            "does not run outside a cage; write them as samples and use 'codojo judge'"
        )
    wrong = [f"{task.task_id}: {said}" for task in loaded if (said := disagreement(task))]
    for line in wrong:
        print(line)
    cases = sum(len(task.sealed) + len(task.visible) for task in loaded)
    print(f"{len(loaded) - len(wrong)} of {len(loaded)} references pass ({cases} cases)")
    if wrong:
        raise typer.Exit(1)


def _split(name: str) -> "Split":
    from codojo.errors import TaskError
    from codojo.tasks.schema import SPLITS

    for split in SPLITS:
        if split == name:
            return split
    raise TaskError(f"no split is called '{name}'; choose one of {', '.join(SPLITS)}")


def _print_table(suite: "Suite", tasks: "tuple[Task, ...]") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from codojo.tasks.schema import SPLITS

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 1_000  # a pipe takes whole lines
    taken = sum(max((len(text) for text in column), default=0) for column in _columns(tasks))
    table = Table("task", "family", "split", "prompt", box=box.SIMPLE)
    for task in tasks:
        first = next((line.strip() for line in task.prompt.splitlines() if line.strip()), "")
        room = max(console.width - taken - 8, 20) if console.is_terminal else len(first)
        short = first if len(first) <= room else first[: room - 1] + "…"
        table.add_row(task.task_id, task.family, task.split, short)
    console.print(table)
    counts = ", ".join(f"{split} {len(suite.split(split))}" for split in SPLITS)
    shown = f"{len(tasks)} of {len(suite)} tasks"
    console.print(f"{shown}, {len({t.family for t in tasks})} families; splits: {counts}")


def _columns(tasks: "tuple[Task, ...]") -> list[list[str]]:
    return [[t.task_id for t in tasks], [t.family for t in tasks], [t.split or "" for t in tasks]]


def _print_task(task: "Task", *, reveal: bool) -> None:
    from codojo.tasks.cases import render

    print(f"{task.task_id}  (suite {task.suite}, family {task.family}, split {task.split})\n")
    print(task.prompt.rstrip())
    if task.starter and task.starter not in task.prompt:
        print(f"\n{task.starter}")
    for case in task.visible.cases:
        print(f"    {render(case, task.entry_point)}")
    if not reveal:
        print(f"\n{len(task.sealed)} sealed tests, not shown (--reveal shows them)")
        return
    print("\nSealed tests:")
    for case in task.sealed.cases:
        print(f"    {render(case, task.entry_point)}")
    if task.sealed.check:
        print(task.sealed.check.source.rstrip())
    for path, text in task.sealed.files.files.items() if task.sealed.files else ():
        print(f"# {path}\n{text.rstrip()}")
    print(f"\nReference:\n{(task.reference or 'none').rstrip()}")
