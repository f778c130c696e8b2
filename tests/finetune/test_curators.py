"""Which answers become training rows, and which never do."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codojo.errors import ContaminationError
from codojo.finetune.curating import Curated
from codojo.finetune.curators import rft
from codojo.finetune.shape import code_shape
from codojo.tasks.schema import Brief, Candidate, Split, Tests, Verdict
from codojo.trajectories.rows import PromptCompletion, rows_hash
from codojo.trajectories.schema import (
    Choice,
    Effect,
    Message,
    Proposal,
    RolloutEnd,
    RolloutStart,
    StepInput,
    StepOutput,
    StepRef,
    Trajectory,
)

GOOD = Verdict(status="passed", tests="sealed", isolation="bubblewrap", behaviour="b1")
ADD = "def add(a, b):\n    return a + b"


class Guard:
    """Finds the words it was given."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def find(self, text: str) -> list[str]:
        return [word for word in self.words if word in text]


def reply(
    key: str, answers: list[str], *messages: Message, parent: StepRef | None = None
) -> Effect:
    asked = StepInput(
        agent="coder", model="base", template="t", parent=parent, messages=messages, sampling={}
    )
    said = StepOutput(model="base", choices=tuple(Choice(text=text) for text in answers))
    return Effect(
        key=key,
        effect="reply",
        path=("code",),
        input=asked.model_dump(mode="json"),
        output=said.model_dump(mode="json"),
    )


def rollout(
    *codes: str,
    task: str = "add-1",
    split: Split | None = "train",
    id: str = "r1",
    verdict: Verdict | None = GOOD,
) -> Trajectory:
    """A rollout with one step whose choices became the candidates, all with one verdict."""
    brief = Brief(
        task_id=task,
        suite="katas",
        family="sums",
        split=split,
        prompt="Add.",
        entry_point="add",
        starter="",
        visible=Tests(source="visible"),
    )
    ask = (Message(role="system", content="Be brief."), Message(role="user", content=f"Do {task}."))
    return Trajectory(
        id=id,
        at=0,
        start=RolloutStart(
            run="run", stage="run", brief=brief, task_hash="h", graph="solo", graph_version="1"
        ),
        effects=(reply("s1", [f"Sure!\n```python\n{code}\n```" for code in codes], *ask),),
        end=RolloutEnd(
            proposals=tuple(
                Proposal(
                    candidate=Candidate.of(code),
                    origin=StepRef(step="s1", choice=i),
                    verdict=verdict,
                )
                for i, code in enumerate(codes)
            )
        ),
    )


def curate(
    trajectories: Iterable[Trajectory], *words: str, per_task: int = 4
) -> Curated[PromptCompletion]:
    return rft(trajectories, guard=Guard(*words), per_task=per_task)


def test_a_row_is_the_exact_prompt_and_only_the_code() -> None:
    (row,) = curate([rollout(ADD)]).rows
    assert [m.content for m in row.prompt] == ["Be brief.", "Do add-1."]
    assert row.completion == (Message(role="assistant", content=f"```python\n{ADD}\n```"),)
    source = row.source
    assert (source.rollout, source.step, source.choice, source.model) == ("r1", "s1", 0, "base")
    assert (source.task_id, source.split, source.tests) == ("add-1", "train", "sealed")


def test_the_prompt_of_a_repair_holds_the_conversation_before_it() -> None:
    first = rollout(ADD)
    repair = reply("s2", ["x"], Message(role="user", content="Wrong."), parent=StepRef(step="s1"))
    proposal = Proposal(candidate=Candidate.of(ADD), origin=StepRef(step="s2"), verdict=GOOD)
    repaired = first.model_copy(
        update={"effects": (*first.effects, repair), "end": RolloutEnd(proposals=(proposal,))}
    )
    (row,) = curate([repaired]).rows
    assert [m.role for m in row.prompt] == ["system", "user", "assistant", "user"]
    assert row.prompt[2].content.startswith("Sure!")


@pytest.mark.row("E18")
@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (None, "not_judged"),
        (GOOD.model_copy(update={"status": "failed"}), "not_passed"),
        (GOOD.model_copy(update={"status": "infra_error"}), "infra_error"),
        (GOOD.model_copy(update={"tests": "visible"}), "not_sealed"),
        pytest.param(
            GOOD.model_copy(update={"tests": "self_made"}),
            "not_sealed",
            marks=pytest.mark.row("G13"),
        ),
        (GOOD.model_copy(update={"isolation": "none"}), "not_isolated"),
        (GOOD.model_copy(update={"integrity": "shared_process"}), "not_isolated"),
    ],
)
def test_what_no_sealed_test_in_a_cage_passed_is_left_out_and_counted(
    verdict: Verdict | None, reason: str
) -> None:
    curated = curate([rollout(ADD, verdict=verdict)])
    assert curated.rows == ()
    assert curated.report.left_out == {reason: 1}
    assert (curated.report.considered, curated.report.passed, curated.report.kept) == (1, 0, 0)


def test_unusable_candidates_are_left_out_and_counted() -> None:
    lost = rollout(ADD)
    assert lost.end is not None
    orphan = Proposal(candidate=Candidate.of(ADD), origin=None, verdict=GOOD)
    files = Candidate(files={"solution.py": ADD, "extra.py": ""})
    several = Proposal(candidate=files, origin=StepRef(step="s1"), verdict=GOOD)
    odd = lost.model_copy(update={"end": RolloutEnd(proposals=(orphan, several))})
    fence = rollout('def f():\n    return "```"')
    curated = rft([odd, fence, rollout(ADD)], guard=Guard(), per_task=1, max_completion_chars=40)
    assert curated.report.left_out == {
        "breaks_fence": 1,
        "no_origin": 1,
        "several_files": 1,
        "too_long": 1,
    }
    assert curated.report.passed == 4


def test_tasks_of_no_suite_are_left_out() -> None:
    assert curate([rollout(ADD, split=None)]).report.left_out == {"no_split": 1}


@pytest.mark.row("E16")
@pytest.mark.parametrize("split", ["gate", "held_out"])
def test_rollouts_of_gate_and_held_out_tasks_are_refused(split: Split) -> None:
    with pytest.raises(ContaminationError, match=f"'add-1' of the {split} split"):
        curate([rollout(ADD, split=split)])


@pytest.mark.row("E16")
def test_planted_gate_text_is_left_out_and_the_next_candidate_takes_its_place() -> None:
    curated = curate([rollout("def add(*a): return sum(a)", ADD)], "sum(a)", per_task=1)
    assert [row.source.choice for row in curated.rows] == [1]
    assert curated.report.left_out == {"contaminated": 1}
    assert curate([rollout(ADD)], "Do add-1").report.left_out == {"contaminated": 1}


@pytest.mark.row("E19")
def test_a_thousand_copies_of_one_answer_make_one_row() -> None:
    renamed = "def add(x, y):\n    # the sum\n    return x + y"
    copies = [rollout(ADD, renamed, id=f"r{i}") for i in range(500)]
    curated = curate(copies)
    assert curated.report.kept == 1
    assert curated.report.left_out == {"duplicate": 999}
    assert curated.rows[0].source.rollout == "r0"


def test_the_shortest_of_a_task_are_kept() -> None:
    codes = [f"def add(a, b):\n    return a + b + {'0 + ' * i}0" for i in (5, 1, 3, 2, 4)]
    curated = curate([rollout(*codes), rollout(ADD, task="add-2", id="r2")], per_task=2)
    assert [row.source.choice for row in curated.rows] == [1, 3, 0]
    assert curated.report.left_out == {"over_cap": 3}
    assert curated.report.tasks == 2


BODIES = ["a + b", "b + a", "sum([a, b])", "a - -b", "int(a) + b"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["t1", "t2"]), st.lists(st.sampled_from(BODIES), max_size=4)),
        max_size=6,
    ),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_order_of_trajectories_changes_neither_rows_nor_report(
    drawn: list[tuple[str, list[str]]], per_task: int, shuffler: random.Random
) -> None:
    found = [
        rollout(*(f"def add(a, b): return {body}" for body in bodies), task=task, id=f"r{i}")
        for i, (task, bodies) in enumerate(drawn)
    ]
    mixed = shuffler.sample(found, len(found))
    one, other = curate(found, per_task=per_task), curate(iter(mixed), per_task=per_task)
    assert one == other
    assert rows_hash(one.rows) == rows_hash(other.rows)
    report = one.report
    assert report.considered == report.kept + sum(report.left_out.values())
    assert len({row.completion[0].content for row in one.rows}) >= report.kept / 2


def test_rows_survive_a_file_and_keep_their_hash() -> None:
    rows = curate([rollout(ADD)]).rows
    again = [PromptCompletion.model_validate_json(row.model_dump_json()) for row in rows]
    assert tuple(again) == rows
    assert rows_hash(again) == rows_hash(rows)
    assert rows_hash(rows) != rows_hash(())


def test_per_task_must_be_at_least_one() -> None:
    with pytest.raises(ValueError, match="per_task is 0"):
        curate([], per_task=0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("def f(a: int) -> int:\n    'Doc.'\n    return a", "def f(b): return b  # same", True),
        ("def f(a):\n    t = a\n    return t", "def f(b):\n    u = b\n    return u", True),
        ("def f(a, b): return a - b", "def f(a, b): return b - a", False),
        ("def f(a): return a", "def g(a): return a", False),
        ("def f(a): return a.x", "def f(a): return a.y", False),
        ("def f(a): return len(a)", "def f(a): return sum(a)", False),
        ("not python (", "not python )", False),
    ],
)
def test_shape_ignores_names_of_locals_and_nothing_that_matters(
    one: str, other: str, same: bool
) -> None:
    assert (code_shape(one) == code_shape(other)) is same
