"""Rows of every kind: which answers they are made of, and that no order of rollouts changes them."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codojo.finetune.curating import Curator
from codojo.finetune.curators import CURATORS, calls, labels, pairs, steps, tokens
from codojo.finetune.picks import Pick
from codojo.tasks.schema import Verdict
from codojo.trajectories.exporters.grouping import Groups
from codojo.trajectories.rows import Row
from codojo.trajectories.schema import (
    Choice,
    Effect,
    Message,
    Proposal,
    RolloutEnd,
    StepInput,
    StepOutput,
    StepRef,
    Trajectory,
)
from tests.finetune.test_curators import ADD, GOOD, Guard, reply, rollout

BAD = GOOD.model_copy(update={"status": "failed"})


def judged(*verdicts: Verdict | None, id: str = "r1", task: str = "add-1") -> Trajectory:
    """A rollout of one step whose answers are all different, with these verdicts."""
    codes = [f"def add(a, b):\n    return a + b + {i}{id[1:]}" for i in range(len(verdicts))]
    made = rollout(*codes, id=id, task=task)
    assert made.end is not None
    proposals = [
        p.model_copy(update={"verdict": v})
        for p, v in zip(made.end.proposals, verdicts, strict=True)
    ]
    end = made.end.model_copy(update={"proposals": tuple(proposals), "verdict": verdicts[0]})
    return made.model_copy(update={"end": end})


def test_a_label_is_the_verdict() -> None:
    unverified = GOOD.model_copy(update={"status": "unverified", "isolation": "none"})
    found = labels([judged(GOOD, BAD, unverified, None)], guard=Guard())
    assert sorted((row.source.choice, row.label) for row in found.rows) == [(0, True), (1, False)]
    assert found.report.left_out == {"not_judged": 1, "unverified": 1}


def test_a_pair_is_a_passed_and_a_failed_answer_to_one_prompt() -> None:
    found = pairs([judged(GOOD, BAD, BAD), judged(BAD, task="add-2", id="r2")], guard=Guard())
    (pair,) = found.rows
    assert (pair.source.status, pair.rejected_source.status) == ("passed", "failed")
    assert (pair.source.task_id, pair.rejected_source.task_id) == ("add-1", "add-1")
    assert pair.chosen != pair.rejected
    assert found.report.left_out == {"no_partner": 2}
    assert found.report.considered == 2 * found.report.kept + sum(found.report.left_out.values())


def test_answers_to_other_prompts_make_no_pair() -> None:
    asked_otherwise = judged(BAD, id="r2")
    effect = reply("s1", ["x"], Message(role="user", content="Another prompt."))
    other = asked_otherwise.model_copy(update={"effects": (effect,)})
    assert pairs([judged(GOOD), other], guard=Guard()).report.left_out == {"no_partner": 2}


def test_partners_are_of_like_length_and_used_once() -> None:
    def coded(code: str, verdict: Verdict, index: int) -> Proposal:
        made = rollout(code).end
        assert made is not None
        origin = StepRef(step="s1", choice=index)
        return made.proposals[0].model_copy(update={"verdict": verdict, "origin": origin})

    codes = ["short", "a" * 100, "b" * 101, "short_", "c" * 500]
    verdicts = [GOOD, GOOD, BAD, BAD, BAD]
    made = rollout(*codes)
    end = RolloutEnd(
        proposals=tuple(
            coded(c, v, i) for i, (c, v) in enumerate(zip(codes, verdicts, strict=True))
        )
    )
    found = pairs([made.model_copy(update={"end": end})], guard=Guard())
    lengths = [(row.source.choice, row.rejected_source.choice) for row in found.rows]
    assert sorted(lengths) == [(0, 3), (1, 2)]
    assert found.report.left_out == {"no_partner": 1}


def repaired(*verdicts: Verdict | None) -> Trajectory:
    """A first answer and its repairs, one after the other in one conversation."""
    made = rollout(ADD)
    effects, proposals = list(made.effects), []
    for number, verdict in enumerate(verdicts):
        origin = StepRef(step=f"s{number + 1}")
        if number:
            ask = Message(role="user", content="Wrong.")
            effects.append(reply(f"s{number + 1}", ["x"], ask, parent=StepRef(step=f"s{number}")))
        code = f"def add(a, b):\n    return {number}"
        (proposal,) = rollout(code).proposals
        proposals.append(proposal.model_copy(update={"origin": origin, "verdict": verdict}))
    end = RolloutEnd(proposals=tuple(proposals))
    return made.model_copy(update={"effects": tuple(effects), "end": end})


def test_steps_are_an_attempt_and_its_repairs() -> None:
    (row,) = steps([repaired(BAD, BAD, GOOD)], guard=Guard()).rows
    assert row.labels == (False, False, True)
    assert [text.split("return ")[1][0] for text in row.completions] == ["0", "1", "2"]
    assert row.prompt == "Be brief.\n\nDo add-1."


def test_a_conversation_with_an_unjudged_attempt_is_left_out() -> None:
    found = steps([repaired(BAD, None, GOOD)], guard=Guard())
    assert found.rows == () and found.report.left_out == {"step_not_judged": 1}


def exact(*, prompt: bool = True, answer: bool = True) -> Trajectory:
    """Two steps of one conversation with tokens, of which some may be gone."""
    said = [
        Choice(
            text=f"```python\ndef add(a, b): return {n}\n```",
            finish_reason="stop",
            token_ids=(10 * n, 10 * n + 1) if answer else None,
            logprobs=(-0.5, -0.25) if answer else None,
        )
        for n in (1, 2)
    ]
    outputs = [
        StepOutput(model="m", choices=(said[0],), prompt_token_ids=(1, 2) if prompt else None),
        StepOutput(model="m", choices=(said[1],), prompt_token_ids=(7,), prompt_shared=4),
    ]
    inputs = [
        StepInput(
            agent="coder",
            model="m",
            template="t",
            parent=parent,
            messages=(Message(role="user", content="Do."),),
            sampling={},
        )
        for parent in (None, StepRef(step="s1"))
    ]
    effects = tuple(
        Effect(
            key=f"s{n + 1}",
            effect="reply",
            path=(),
            input=inputs[n].model_dump(mode="json"),
            output=outputs[n].model_dump(mode="json"),
        )
        for n in (0, 1)
    )
    proposals = tuple(
        p.model_copy(update={"origin": StepRef(step=f"s{n + 1}"), "verdict": verdict})
        for n, (p, verdict) in enumerate(
            zip(rollout("x = 1", "y = 2").proposals, (BAD, GOOD), strict=True)
        )
    )
    end = RolloutEnd(proposals=proposals, verdict=GOOD)
    return rollout(ADD).model_copy(update={"effects": effects, "end": end})


def test_token_exact_rows_are_the_tokens_the_model_saw_and_sampled() -> None:
    first, second = sorted(tokens([exact()], guard=Guard()).rows, key=lambda row: row.source.step)
    assert (first.prompt_ids, first.completion_ids, first.reward) == ((1, 2), (10, 11), 0.0)
    assert second.prompt_ids == (1, 2, 10, 11, 7), "the parent's conversation, then what is new"
    assert (second.completion_ids, second.logprobs, second.reward) == ((20, 21), (-0.5, -0.25), 1.0)


@pytest.mark.parametrize("gone", ["prompt", "answer"])
def test_a_step_that_lost_its_tokens_gives_no_token_exact_row(gone: str) -> None:
    found = tokens([exact(**{gone: False})], guard=Guard())
    assert found.rows == () and found.report.left_out == {"not_token_exact": 2}


def test_a_planner_has_the_rollouts_verdict_and_a_coder_without_code_has_not_passed() -> None:
    made = judged(GOOD)
    asked = StepInput(
        agent="planner", model="base", template="t", parent=None, messages=(), sampling={}
    )
    plan = made.effects[0].model_copy(update={"key": "p", "input": asked.model_dump(mode="json")})
    chat = reply("s9", ["I cannot."], Message(role="user", content="Do it."))
    told = made.model_copy(update={"effects": (*made.effects, plan, chat)})
    found = calls([told], guard=Guard(), pick=Pick(roles=("all",)))
    assert sorted((row.source.agent, row.source.step) for row in found.rows) == [
        ("coder", "s1"),
        ("planner", "p"),
    ]
    assert found.report.left_out == {"not_passed": 1}


def test_a_cut_answer_is_not_learnt_as_it_was_said() -> None:
    made = judged(GOOD)
    cut = Choice(text="```python\ndef add(", finish_reason="length")
    said = StepOutput(model="base", choices=(cut,)).model_dump(mode="json")
    effect = made.effects[0].model_copy(update={"output": said})
    short = made.model_copy(update={"effects": (effect,)})
    assert calls([short], guard=Guard(), pick=Pick(learn="answer")).report.left_out == {"cut": 1}
    assert calls([short], guard=Guard()).report.kept == 1, "its code is whole"


VERDICTS = st.sampled_from([GOOD, BAD, None])


@pytest.mark.parametrize("curator", CURATORS.values(), ids=lambda curator: curator.name)
@given(st.lists(st.lists(VERDICTS, min_size=1, max_size=4), max_size=5), st.randoms())
def test_neither_order_nor_the_way_through_a_file_changes_rows(
    curator: Curator[Row], drawn: list[list[Verdict | None]], shuffler: random.Random
) -> None:
    from codojo.finetune.curating import Tally, curate

    found = [judged(*verdicts, id=f"r{i}", task=f"t{i % 2}") for i, verdicts in enumerate(drawn)]
    pick = curator.pick
    whole = curate(curator, found, pick, Guard())
    mixed = shuffler.sample(found, len(found))
    assert curate(curator, mixed, pick, Guard()) == whole
    tally = Tally()
    with Groups(curator.gathers, held_bytes=1) as groups:
        for trajectory in mixed:
            for row in tally.of_rollout(curator, trajectory, pick):
                groups.add(row)
        rows = [r for rows in groups for r in tally.of_task(curator, rows, pick, Guard())]
    assert sorted(rows, key=repr) == sorted(whole.rows, key=repr)
    assert tally.report == whole.report
