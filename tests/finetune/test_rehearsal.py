"""Rehearsal keeps whole answers of the base model, and rehearses nothing that is measured."""

from codojo.finetune.rehearsal import PlainAnswer, rehearse
from codojo.tasks.contamination import ContaminationGuard
from codojo.tasks.guard import load_guard
from codojo.tasks.katas import load_katas
from codojo.tasks.rehearsal import load_rehearsal
from codojo.tasks.similarity import ALIKE, likeness


def answer(question: str, text: str, *, is_whole: bool = True) -> PlainAnswer:
    return PlainAnswer(question, text, is_whole, "base", "run", f"step-{question}")


def test_whole_answers_become_rows_and_cut_or_empty_ones_do_not() -> None:
    answers = [
        answer("What is 6 + 7?", " 13.\n"),
        answer("Name three fruits.", "Apple, pear and", is_whole=False),
        answer("Can a penguin swim?", "  "),
    ]
    rows = rehearse(answers, guard=ContaminationGuard.of(load_katas()))
    assert [(row.prompt[0].content, row.completion[0].content) for row in rows] == [
        ("What is 6 + 7?", "13.")
    ]
    assert rows[0].source.status == "unverified" and rows[0].source.step == "step-What is 6 + 7?"


def test_an_answer_that_gives_a_gate_task_away_is_no_row() -> None:
    katas = load_katas()
    task = katas.split("gate")[0]
    rows = rehearse([answer("What shall I do?", task.prompt)], guard=ContaminationGuard.of(katas))
    assert not rows


def test_nothing_that_the_guard_suite_asks_is_rehearsed() -> None:
    asked = [question.prompt.partition(" Answer ")[0] for question in load_guard()]
    rehearsed = load_rehearsal()
    assert len(set(rehearsed)) == len(rehearsed) >= 48
    for question in rehearsed:
        assert question not in asked
    guard = ContaminationGuard.of(load_katas())
    assert all(guard.is_clean(question) for question in rehearsed)


def test_no_rehearsal_question_is_a_kata() -> None:
    for question in load_rehearsal():
        assert all(likeness(question, task.prompt) < ALIKE for task in load_katas())
