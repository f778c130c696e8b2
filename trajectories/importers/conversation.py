"""A conversation that another program recorded, on its way into the log."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from codojo.trajectories.rows import Tools
from codojo.trajectories.schema import Choice, Message


@dataclass(frozen=True)
class Answer:
    """What a model said once."""

    choice: Choice
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_token_ids: tuple[int, ...] | None = None
    """Tokens of the whole prompt."""
    at: float | None = None
    """Seconds since 1970, UTC."""


@dataclass(frozen=True)
class Call:
    """One answer and what is new before it."""

    parent: int | None
    """Which earlier call of the thread it goes on from; None: `messages` is the whole prompt."""
    messages: tuple[Message, ...]
    answer: Answer


@dataclass(frozen=True)
class Thread:
    """What one agent was told and said."""

    agent: str
    calls: tuple[Call, ...] = ()
    rest: tuple[Message, ...] = ()
    """Messages that no answer followed."""
    path: tuple[str, ...] = ()
    """Empty for the agent that the task was given to; of a sub-agent, the ids that lead to it."""
    tools: Tools = ()


@dataclass(frozen=True)
class Conversation:
    """All that a source says of one attempt at one task."""

    format: str
    """Name and version as the source writes them."""
    threads: tuple[Thread, ...]
    """The one of the agent that was given the task comes first."""
    task_id: str = ""
    """Empty where the source names none."""
    agent: str = ""
    version: str = ""
    claims: dict[str, JsonValue] = field(default_factory=dict)

    @property
    def answers(self) -> list[Answer]:
        """All answers, thread by thread."""
        return [call.answer for thread in self.threads for call in thread.calls]

    @property
    def prompt(self) -> str:
        """What was asked for: the first thing that a user said."""
        for thread in self.threads:
            told = [m for call in thread.calls[:1] for m in call.messages] or thread.rest
            for message in told:
                if message.role == "user":
                    return message.content
        return ""


@dataclass
class Spoken:
    """Builds a thread from what is said one after the other, each answer seeing all before it."""

    calls: list[Call] = field(default_factory=list)
    waiting: list[Message] = field(default_factory=list)
    parent: int | None = None

    def hear(self, message: Message) -> None:
        """Something that the next answer sees."""
        self.waiting.append(message)

    def answer(self, answer: Answer) -> int:
        """What a model said; returns the call's number."""
        self.calls.append(Call(self.parent, tuple(self.waiting), answer))
        self.waiting.clear()
        self.parent = len(self.calls) - 1
        return self.parent

    def thread(self, agent: str, path: tuple[str, ...] = (), tools: Tools = ()) -> Thread:
        """What was said, as a thread."""
        return Thread(agent, tuple(self.calls), tuple(self.waiting), path, tools)


def from_prompts(asked: Sequence[tuple[tuple[Message, ...], Answer]]) -> tuple[Call, ...]:
    """Calls of which the source holds the whole prompt each.

    A prompt that begins with an earlier prompt and its answer goes on from there, so that only what is
    new is stored; one that was rewritten on the way (old output cut, a summary) is stored whole.
    """
    ends: dict[int, int] = {}
    """Calls by a hash of their prompt and answer."""
    wholes: list[tuple[Message, ...]] = []
    calls = []
    for number, (prompt, answer) in enumerate(asked):
        parent = None
        for length, chained in reversed(list(enumerate(_chain(prompt), 1))):
            found = ends.get(chained)
            if found is not None and wholes[found] == prompt[:length]:
                parent = found
                break
        new = prompt if parent is None else prompt[len(wholes[parent]) :]
        calls.append(Call(parent, new, answer))
        wholes.append((*prompt, answer.choice.message))
        ends[list(_chain(wholes[-1]))[-1]] = number
    return tuple(calls)


def _chain(messages: Iterable[Message]) -> Iterator[int]:
    """A hash of each beginning of the messages."""
    chained = 0
    for message in messages:
        chained = hash((chained, message))
        yield chained
