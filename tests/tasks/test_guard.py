"""The guard suite counts right answers and is not fooled by wrong ones."""

import json
import re
from pathlib import Path

import pytest

from codojo.tasks.guard import answer_is_right, load_guard
from codojo.tasks.katas import load_katas
from codojo.tasks.schema import Question
from codojo.tasks.similarity import ALIKE, likeness

ANSWERS = json.loads((Path(__file__).parent / "guard_answers.json").read_text())


def each_question() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("question", load_guard(), ids=lambda question: question.id)


def test_there_are_enough_different_questions() -> None:
    questions = load_guard()
    assert len(questions) >= 64
    assert len({question.id for question in questions}) == len(questions)
    assert len({question.prompt for question in questions}) == len(questions)
    assert {question.id for question in questions} == set(ANSWERS)


@each_question()
def test_right_answers_count(question: Question) -> None:
    for text in ANSWERS[question.id]["right"]:
        assert answer_is_right(question, text), text
        assert answer_is_right(question, f"\n  {text}  \n"), text


@each_question()
def test_wrong_answers_do_not_count(question: Question) -> None:
    for text in (*ANSWERS[question.id]["wrong"], "", "I do not know.", "Sorry, I cannot help."):
        assert not answer_is_right(question, text), text


@each_question()
def test_repeating_the_question_does_not_count(question: Question) -> None:
    assert not answer_is_right(question, question.prompt)
    assert not answer_is_right(question, question.prompt.split(" Answer ")[0] + " Hm.")


def test_rambling_through_all_numbers_does_not_count() -> None:
    numbers = [q for q in load_guard() if q.prompt.endswith("Answer with a number only.")]
    ramble = "Let me think about this question for a while. " * 6 + " ".join(map(str, range(300)))
    assert not any(answer_is_right(question, ramble) for question in numbers)


def test_patterns_compile_and_none_accepts_everything() -> None:
    for question in load_guard():
        assert question.accept
        for pattern in question.accept:
            assert not re.search(pattern, "")


def test_no_question_is_a_kata() -> None:
    for question in load_guard():
        assert all(likeness(question.prompt, task.prompt) < ALIKE for task in load_katas())
