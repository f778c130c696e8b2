"""The guard suite: plain questions whose answers an adapter must not unlearn.

It is no test of knowledge. A small chat model gets some of them right and some wrong, so that
forgetting shows as a drop in the share it gets right.
"""

import json
import re
from functools import cache
from importlib.resources import files

from codojo.tasks.schema import Question

ANSWER_CHARS = 200
"""How much of a reply counts: one that rambles through every number would be right by accident."""


@cache
def load_guard() -> tuple[Question, ...]:
    """The questions of the guard suite, always in the same order."""
    text = files("codojo.tasks").joinpath("guard.json").read_text(encoding="utf-8")
    return tuple(Question.model_validate(row) for row in json.loads(text))


def answer_is_right(question: Question, text: str) -> bool:
    """Whether the beginning of a reply holds an accepted answer, in any case.

    Repeating the question is no answer, even where the answer can be read in it.

    >>> question = Question(id="sum", prompt="What is 1 + 1?", accept=(r"\\b2\\b",))
    >>> answer_is_right(question, "It is 2."), answer_is_right(question, "It is 12.")
    (True, False)
    """
    for echo in (question.prompt, question.prompt.rpartition(" Answer ")[0]):
        text = text.replace(echo, " ") if echo else text
    reply = text.strip()[:ANSWER_CHARS]
    return any(re.search(pattern, reply, re.IGNORECASE) for pattern in question.accept)
