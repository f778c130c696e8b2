"""The contamination guard: finds the text of gate and held-out tasks in what would be learnt from.

A text gives a protected task away when one of these holds:

1. Equal: normalised (words in lower case, no punctuation), it is the task's prompt or reference.
2. A long phrase: it shares 13 words in a row with the prompt (Brown et al. 2020, arXiv:2005.14165,
   use the same length).
3. Most of a short prompt: at least half of the prompt's word 5-grams occur in it. This is where we
   differ: kata statements are 10 to 30 words long, so that one changed word in the middle would
   hide them from rule 2. A prompt of fewer than 8 words must be there in full.
4. The reference: of a reference of at least 30 code tokens, at least 60 % of its 13-grams.
5. A test: an assert of at least 13 code tokens that calls the task's function.

Phrases that the suite's own `train` tasks contain too ("return the list of the numbers in ...")
prove nothing and do not count, so an honest answer to another task is not flagged, nor is a short
one like `return sum(numbers)` that many tasks share. Not covered: paraphrases, translations, and
solutions with other names for the variables.
"""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Self

from codojo.errors import ContaminationError
from codojo.tasks.programs import parse
from codojo.tasks.schema import Suite, Task
from codojo.tasks.similarity import ngrams, words_of

LONG = 13
SHORT = 5
PROMPT_SHARE = 0.5
REFERENCE_SHARE = 0.6
FEWEST_SHORT_GRAMS = 4
"""A prompt with fewer telling 5-grams must be contained whole."""
REFERENCE_TOKENS = 30

_CODE = re.compile(r"[A-Za-z_0-9]+|[^\sA-Za-z_0-9]")

Gram = tuple[str, ...]


class ContaminationGuard:
    """Knows the protected tasks and finds them in texts; immutable after construction.

    A text of 300 words takes about 0.7 ms.
    """

    def __init__(self, protected: Iterable[Task], *, common: Iterable[Task] = ()) -> None:
        """Protect some tasks; phrases that `common` tasks contain too are not evidence."""
        self._equal: dict[str, set[str]] = defaultdict(set)
        self._whole: dict[Gram, list[tuple[Gram, str]]] = defaultdict(list)
        self._long: dict[Gram, set[str]] = defaultdict(set)
        self._short_words: set[Gram] = set()
        """Every 5-gram of a protected prompt: a text with none of them needs no closer look."""
        self._prompts, self._references = _Shares(PROMPT_SHARE), _Shares(REFERENCE_SHARE)
        self._asserts: dict[Gram, set[str]] = defaultdict(set)
        free = [" ".join((task.prompt, task.starter)) for task in common]
        known = {gram for text in free for n in (SHORT, LONG) for gram in ngrams(words_of(text), n)}
        for task in protected:
            self._protect_prompt(task, known)
            if task.reference:
                self._protect_reference(task)
            for source in _test_sources(task):
                self._protect_test(task, source)

    @classmethod
    def of(cls, *suites: Suite) -> Self:
        """A guard of the gate and held-out tasks of some suites."""
        protected = [task for suite in suites for task in suite if task.split != "train"]
        return cls(protected, common=(task for suite in suites for task in suite.split("train")))

    def find(self, text: str) -> list[str]:
        """Sorted ids of the gate and held-out tasks that the text gives away; empty if clean."""
        words = words_of(text)
        found = set(self._equal.get(" ".join(words), ()))
        if not self._short_words.isdisjoint(ngrams(words, SHORT)):
            found |= self._prompts.reached_by(ngrams(words, SHORT))
            for gram in self._long.keys() & set(ngrams(words, LONG)):
                found |= self._long[gram]
        if self._whole:
            found |= self._contained(words)
        code = ngrams(_code_tokens(text), LONG)
        found |= self._references.reached_by(code)
        for gram in self._asserts.keys() & set(code):
            found |= self._asserts[gram]
        return sorted(found)

    def is_clean(self, text: str) -> bool:
        """Whether the text gives no gate or held-out task away."""
        return not self.find(text)

    def require_clean(self, text: str, what: str) -> None:
        """Refuse a text that gives a protected task away.

        Args:
            what: Names the text in the message: "row 17 of train.jsonl".

        Raises:
            ContaminationError: With the ids of the tasks.
        """
        found = self.find(text)
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            raise ContaminationError(
                f"{what} holds text of protected tasks ({', '.join(found[:3])}{more}); "
                "gate and held-out tasks are never learnt from: leave it out"
            )

    def _protect_prompt(self, task: Task, known: set[Gram]) -> None:
        words = words_of(task.prompt)
        self._equal[" ".join(words)].add(task.task_id)
        self._short_words.update(ngrams(words, SHORT))
        for gram in ngrams(words, LONG):
            if len(gram) == LONG and gram not in known:
                self._long[gram].add(task.task_id)
        telling = {gram for gram in ngrams(words, SHORT) if gram not in known}
        if len(telling) >= FEWEST_SHORT_GRAMS:
            self._prompts.add(task.task_id, telling)
        elif words:
            self._whole[tuple(words[:3])].append((tuple(words), task.task_id))

    def _protect_reference(self, task: Task) -> None:
        assert task.reference is not None
        tokens = _code_tokens(task.reference)
        if len(tokens) >= REFERENCE_TOKENS:
            self._equal[" ".join(words_of(task.reference))].add(task.task_id)
            self._references.add(task.task_id, set(ngrams(tokens, LONG)))

    def _protect_test(self, task: Task, source: str) -> None:
        tree = parse(source)
        for node in ast.walk(tree) if tree else ():
            if not isinstance(node, ast.Assert):
                continue
            grams = ngrams(_code_tokens(ast.unparse(node)), LONG)
            # The first of them holds the name of the function, which sets it apart.
            if len(grams[0]) == LONG and task.entry_point in grams[0]:
                self._asserts[grams[0]].add(task.task_id)

    def _contained(self, words: list[str]) -> set[str]:
        found = set()
        for at, start in enumerate(ngrams(words, 3)):
            for whole, task_id in self._whole.get(start, ()):
                if tuple(words[at : at + len(whole)]) == whole:
                    found.add(task_id)
        return found


def _test_sources(task: Task) -> Iterator[str]:
    """The sealed tests that are code."""
    if task.sealed.check:
        yield task.sealed.check.source
    if task.sealed.files:
        yield from task.sealed.files.files.values()


class _Shares:
    """Which owners have at least a given share of their n-grams in a text."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._owners: dict[Gram, list[str]] = defaultdict(list)
        self._needed: dict[str, float] = {}

    def add(self, owner: str, grams: set[Gram]) -> None:
        for gram in grams:
            self._owners[gram].append(owner)
        self._needed[owner] = self._share * len(grams)

    def reached_by(self, grams: Iterable[Gram]) -> set[str]:
        shared = self._owners.keys() & set(grams)
        hits = Counter(owner for gram in shared for owner in self._owners[gram])
        return {owner for owner, count in hits.items() if count >= self._needed[owner]}


def _code_tokens(text: str) -> list[str]:
    return _CODE.findall(text)
