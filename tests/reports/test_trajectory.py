"""Rollouts of every shape, as a page and as text."""

import pytest

from codojo.reports.trajectory import render_text, render_trajectory
from codojo.tasks.schema import Candidate
from codojo.trajectories.schema import (
    Choice,
    Cost,
    Message,
    Proposal,
    RolloutEnd,
    StepInput,
    StepOutput,
    StepRef,
    Trajectory,
)
from tests.reports.made import World, effect, improve_report
from tests.reports.pages import read


@pytest.fixture
def rollout() -> Trajectory:
    _, found = improve_report(None, World(tasks=1, samples=4))
    (trajectory,) = found.values()
    return trajectory


def test_a_page_tells_what_was_asked_answered_run_and_judged(rollout: Trajectory) -> None:
    page = read(render_trajectory(rollout))
    assert page.problems == []
    for said in (
        "Write `count_vowels_h0(s)`",
        "count_vowels_h0('tea') == 2",
        "coder asks smollm2-135m",
        "The sandbox runs 4 candidates on the visible tests",
        "The judge runs 4 candidates on the sealed tests",
        "cut at the token limit",
        "Handed over by the builder",
        "1 of 3 tests passed",
        "isolation bubblewrap",
    ):
        assert said in page.text, said
    assert page.attributes["rect", "class"] > 10, "how sure the model was, token by token"


def test_an_unfinished_rollout_is_shown_as_far_as_it_came(rollout: Trajectory) -> None:
    unfinished = rollout.model_copy(update={"end": None, "effects": rollout.effects[:1]})
    page = read(render_trajectory(unfinished))
    assert page.problems == [] and "This rollout is unfinished" in page.text
    assert "The rollout is unfinished." in render_text(unfinished)
    nothing = rollout.model_copy(update={"end": None, "effects": ()})
    assert "Nothing was logged." in read(render_trajectory(nothing)).text
    assert render_text(nothing).startswith("rollout ")


def test_a_named_failure_and_a_failed_effect_are_told(rollout: Trajectory) -> None:
    failed_call = rollout.effects[0].model_copy(
        update={"output": None, "error": {"type": "BudgetExceeded", "message": "tokens are spent"}}
    )
    end = RolloutEnd(failure="budget: tokens are spent", cost=Cost(calls=1, seconds=1))
    failed = rollout.model_copy(update={"effects": (failed_call,), "end": end})
    for text in (read(render_trajectory(failed)).text, render_text(failed)):
        assert "BudgetExceeded: tokens are spent" in text
        assert "It ended without a verdict: budget: tokens are spent" in text


def test_a_repair_links_to_the_answer_it_goes_on_from(rollout: Trajectory) -> None:
    first = rollout.effects[0]
    asked = StepInput(
        agent="coder",
        model="m",
        template="coder_repair",
        parent=StepRef(step=first.key, choice=0),
        messages=(Message(role="user", content="That is not right yet."),),
        sampling={},
    )
    gave = StepOutput(model="m", choices=(Choice(text="again"), Choice(text="again")))
    repair = effect(
        "repair-key", "reply", asked.model_dump(mode="json"), gave.model_dump(mode="json")
    )
    recall = effect("recall-key", "recall", {"task_id": "x"}, "an exemplar from memory")
    more = rollout.model_copy(update={"effects": (recall, first, repair)})
    page = read(render_trajectory(more))
    assert page.problems == [] and "an earlier answer" in page.text
    assert "given 2 times" in page.text and "an exemplar from memory" in page.text
    lost = rollout.model_copy(update={"effects": (repair,)})
    assert read(render_trajectory(lost)).problems == [], "no link to a step the log has lost"


def test_equal_candidates_are_shown_once_and_counted(rollout: Trajectory) -> None:
    assert rollout.end is not None
    same = Proposal(candidate=Candidate.of("def f(): pass"))
    end = rollout.end.model_copy(
        update={"proposals": (same, same, same), "chosen": 1, "verdict": None, "deliverable": None}
    )
    text = render_text(rollout.model_copy(update={"end": end}))
    assert text.count("def f(): pass") == 1
    assert "candidate 1, proposed 3 times, chosen: none" in text
