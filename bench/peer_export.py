"""Makes training sets from a log, by codojo or as a user of a data library would, inside its own environment.

Called with two files, the order and where the answer goes: `{"peer", "log", "out", "set", "dedupe"}` (the segment
file of a log; the Parquet file to write; `sft`, `dpo` or `kto`) and `{"wall_s", "cpu_s", "peak_mb", "rows"}`.
All ways make the same rows: answers that became candidates, cut to their code; of one task equal code once,
the shortest first; for `dpo` each passed answer with the failed one to the same prompt that is closest
in length. The peers do what needs Python (`pair`) with the same few lines.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def codojo(order: Row) -> int:
    """Ours, as `codojo export` does it."""
    from codojo.exporting import export
    from codojo.filters import Filters

    filters = Filters(dedupe=order["dedupe"])
    dojo = Path(order["log"]).parent.parent
    return export(dojo, f"trl-{order['set']}", Path(order["out"]), filters).exported.rows


def datasets(order: Row) -> int:
    """`Dataset.from_json`, `filter`, `map`, `to_parquet`."""
    import datasets as hf

    hf.disable_progress_bars()
    cache = str(Path(order["out"]).parent / "cache")
    events = hf.Dataset.from_json(
        order["log"], cache_dir=cache, features=hf.Features(
            rollout=hf.Value("string"), kind=hf.Value("string"), seq=hf.Value("int64"),
            at=hf.Value("float64"), sum=hf.Value("string"), data=hf.Json(),
        ),
    )  # fmt: skip
    kinds = events.with_format(None)
    starts = kinds.filter(lambda b: [k == "rollout_started" for k in b["kind"]], batched=True)
    ends = kinds.filter(lambda b: [k == "rollout_finished" for k in b["kind"]], batched=True)
    effects = kinds.filter(lambda b: [k == "effect" for k in b["kind"]], batched=True)
    tasks = {r["rollout"]: _task(_read(r["data"])) for r in starts}
    found: dict[Any, Any] = {}
    for r in ends:
        found.update(_candidates(r["rollout"], _read(r["data"])))

    def answers(batch: Row) -> Row:
        made = [
            row
            for rollout, data in zip(batch["rollout"], batch["data"], strict=True)
            for row in _answers(rollout, _read(data), tasks, found)
        ]
        return {name: [row[name] for row in made] for name in COLUMNS}

    rows = effects.map(answers, batched=True, remove_columns=effects.column_names)
    rows = rows.sort(["suite", "task", "size", "code"])
    made = hf.Dataset.from_generator(
        lambda: finish(iter(rows), order["set"]), cache_dir=cache, split="train"
    )
    made.to_parquet(order["out"])
    return len(made)


def pandas(order: Row) -> int:
    """`read_json`, a merge, `to_parquet`."""
    import pandas as pd

    events = pd.read_json(order["log"], lines=True)
    starts = events[events.kind == "rollout_started"]
    ends = events[events.kind == "rollout_finished"]
    effects = events[events.kind == "effect"]
    tasks = {r: _task(data) for r, data in zip(starts.rollout, starts.data, strict=True)}
    found: dict[Any, Any] = {}
    for rollout, data in zip(ends.rollout, ends.data, strict=True):
        found.update(_candidates(rollout, data))
    rows = pd.DataFrame(
        row
        for rollout, data in zip(effects.rollout, effects.data, strict=True)
        for row in _answers(rollout, data, tasks, found)
    ).sort_values(["suite", "task", "size", "code"])
    made = pd.DataFrame(finish(rows.to_dict("records"), order["set"]))
    made.to_parquet(order["out"], compression="zstd", index=False)
    return len(made)


def duckdb(order: Row) -> int:
    """SQL over the lines; pairs are made in Python, where SQL has no words for them."""
    import duckdb as duck

    base = duck.connect()
    base.execute(
        f"CREATE VIEW events AS SELECT rollout, kind, data FROM read_json('{order['log']}', "
        "format='newline_delimited', columns={'rollout': 'VARCHAR', 'kind': 'VARCHAR', 'data': 'JSON'})"
    )
    base.execute(
        """
        CREATE TABLE answers AS
        WITH starts AS (
            SELECT rollout, data->>'$.brief.suite' AS suite, data->>'$.brief.task_id' AS task
            FROM events WHERE kind = 'rollout_started'),
        proposals AS (
            SELECT rollout, unnest(from_json(data->'$.proposals', '["JSON"]')) AS p
            FROM events WHERE kind = 'rollout_finished'),
        candidates AS (
            SELECT rollout, p->>'$.origin.step' AS step, (p->>'$.origin.choice')::INT AS choice,
                   p->'$.candidate.files'->>'solution.py' AS code,
                   (p->>'$.verdict.status') = 'passed' AS passed
            FROM proposals),
        replies AS (
            SELECT rollout, data->>'$.key' AS step,
                   data->'$.input.messages' AS prompt
            FROM events WHERE kind = 'effect' AND (data->>'$.effect') = 'reply')
        SELECT suite, task, prompt, passed, rollout, step,
               '```python' || chr(10) || trim(code, chr(10) || ' ') || chr(10) || '```' AS code
        FROM replies JOIN candidates USING (rollout, step) JOIN starts USING (rollout)
        """
    )
    base.execute(
        """
        CREATE TABLE chosen AS SELECT * FROM answers
        QUALIFY row_number() OVER (
            PARTITION BY suite, task, passed, code ORDER BY rollout, step) = 1
        """
    )
    messages = """'[{"role": "VARCHAR", "content": "VARCHAR"}]'"""
    if order["set"] != "dpo":
        label = ", passed AS label" if order["set"] == "kto" else ""
        which = "" if order["set"] == "kto" else "WHERE passed"
        query = (
            f"SELECT from_json(prompt, {messages}) AS prompt, "
            f"[{{'role': 'assistant', 'content': code}}] AS completion{label} FROM chosen {which}"
        )
        base.execute(f"COPY ({query}) TO '{order['out']}' (FORMAT parquet, COMPRESSION zstd)")
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = ("suite", "task", "prompt", "passed", "code")
        rows = base.execute(
            f"SELECT {', '.join(names)} FROM chosen ORDER BY suite, task, length(code), code"
        ).fetchall()
        records = [dict(zip(names, row, strict=True)) for row in rows]
        pairs = list(finish(records, "dpo"))
        pq.write_table(pa.Table.from_pylist(pairs), order["out"], compression="zstd")
    counted = base.execute(f"SELECT count(*) FROM '{order['out']}'").fetchone()
    return int(counted[0]) if counted else 0


COLUMNS = ("suite", "task", "prompt", "passed", "code", "size")


def _read(data: Any) -> Any:
    return json.loads(data) if isinstance(data, str) else data


def _task(data: Row) -> tuple[str, str]:
    return data["brief"]["suite"], data["brief"]["task_id"]


def _candidates(rollout: str, data: Row) -> Iterator[tuple[Any, tuple[str, bool]]]:
    for proposal in data["proposals"]:
        origin = proposal["origin"]
        code = proposal["candidate"]["files"]["solution.py"].strip()
        passed = proposal["verdict"]["status"] == "passed"
        yield (rollout, origin["step"], origin["choice"]), (f"```python\n{code}\n```", passed)


def _answers(rollout: str, data: Row, tasks: Row, found: dict[Any, Any]) -> Iterator[Row]:
    if data["effect"] != "reply":
        return
    suite, task = tasks[rollout]
    for choice in range(len(data["output"]["choices"])):
        code, passed = found[rollout, data["key"], choice]
        yield {
            "suite": suite,
            "task": task,
            "prompt": json.dumps(data["input"]["messages"]),
            "passed": passed,
            "code": code,
            "size": len(code),
        }


def finish(rows: Iterable[Row], kind: str) -> Iterator[Row]:
    """Records of a set from answers in the order of task, length and text."""
    seen = set()
    groups: defaultdict[tuple[str, str, str], tuple[list[str], list[str]]]
    groups = defaultdict(lambda: ([], []))
    for row in rows:
        if kind == "sft" and not row["passed"]:
            continue
        mark = (row["suite"], row["task"], row["passed"], row["code"])
        if mark in seen:
            continue
        seen.add(mark)
        if kind == "dpo":
            groups[row["suite"], row["task"], row["prompt"]][row["passed"]].append(row["code"])
            continue
        record = {"prompt": json.loads(row["prompt"]), "completion": _said(row["code"])}
        yield record | ({"label": row["passed"]} if kind == "kto" else {})
    for (_, _, prompt), (failed, passed) in groups.items():
        for good, bad in pair(passed, failed):
            yield {"prompt": json.loads(prompt), "chosen": _said(good), "rejected": _said(bad)}


def pair(passed: list[str], failed: list[str]) -> Iterator[tuple[str, str]]:
    """Each of the fewer with the free one of the others that is closest in length."""
    few, many = (passed, failed) if len(passed) <= len(failed) else (failed, passed)
    free = list(many)
    for one in few:
        partner = min(free, key=lambda text: abs(len(text) - len(one)))
        free.remove(partner)
        yield (one, partner) if few is passed else (partner, one)


def _said(code: str) -> list[Row]:
    return [{"role": "assistant", "content": code}]


def peak_mb() -> float:
    """The most memory this process had resident; `ru_maxrss` would count what its parent had when it forked."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


MODULES = {
    "codojo": ("codojo.exporting", "codojo.trajectories.exporters.trl", "pyarrow.parquet"),
    "datasets": ("datasets",),
    "pandas": ("pandas", "pyarrow.parquet"),
    "duckdb": ("duckdb", "pyarrow.parquet"),
}
"""Loaded before the clock starts."""

PEERS = {"codojo": codojo, "datasets": datasets, "pandas": pandas, "duckdb": duckdb}


def main() -> None:
    """Read the order, work, write the answer."""
    order = json.loads(Path(sys.argv[1]).read_text())
    answer: Row
    try:
        for name in MODULES[order["peer"]]:
            import_module(name)
        began, spent = time.perf_counter(), time.process_time()
        rows = PEERS[order["peer"]](order)
    except BaseException as err:
        answer = {"error": f"{type(err).__name__} {err}"[:200].strip()}
    else:
        answer = {
            "wall_s": time.perf_counter() - began,
            "cpu_s": time.process_time() - spent,
            "peak_mb": peak_mb(),
            "rows": rows,
        }
    Path(sys.argv[2]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
