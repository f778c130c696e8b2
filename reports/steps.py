"""A rollout as things to show: its steps in order, its candidates, its code in colours."""

import json
import keyword
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from pydantic import ValidationError

from codojo.canonical import content_hash
from codojo.reports.page import cut, plural
from codojo.tasks.cases import render as render_case
from codojo.tasks.schema import Brief, Candidate, Verdict
from codojo.tasks.values import ValueRefused
from codojo.trajectories.fork import happenings
from codojo.trajectories.schema import Choice, Effect, Message, Step, ToolCall, Trajectory

HEAT = ((0.9, "h0"), (0.6, "h1"), (0.3, "h2"), (0.1, "h3"), (0.0, "h4"))
"""Class of a token by the least probability that it was sampled with."""

_CODE = re.compile(
    r"(?P<com>\#[^\n]*)"
    r"|(?P<str>(?:\b[rbfuRBFU]{1,2})?(?:\"{3}[\s\S]*?(?:\"{3}|\Z)|'{3}[\s\S]*?(?:'{3}|\Z)"
    r"|\"(?:\\.|[^\"\\\n])*\"?|'(?:\\.|[^'\\\n])*'?))"
    rf"|(?P<key>\b(?:{'|'.join(keyword.kwlist)})\b)"
    r"|(?P<num>\b\d[\w.]*)"
)


@dataclass(frozen=True)
class Heat:
    """Neighbouring tokens that were about equally likely, in percent of the answer's tokens."""

    kind: str
    start: float
    width: float


@dataclass(frozen=True)
class ChoiceView:
    """One answer, and how often the very same one was given."""

    text: str
    finish_reason: str
    tokens: int
    sure: float | None
    """Geometric mean of the tokens' probabilities."""
    heat: tuple[Heat, ...]
    same: int


@dataclass(frozen=True)
class Judged:
    """One candidate's line in a table of runs."""

    name: str
    verdict: Verdict
    passed: str
    times: int = 1
    """How many equal candidates it stands for."""


@dataclass(frozen=True)
class Item:
    """Something that happened: one step, or neighbouring effects of one kind."""

    kind: str
    """Class of the style sheet, and the effect's name."""
    anchor: str
    where: str
    title: str
    seconds: float
    step: Step | None = None
    choices: tuple[ChoiceView, ...] = ()
    verdicts: tuple[Judged, ...] = ()
    text: str = ""
    error: str = ""


@dataclass(frozen=True)
class Piece:
    """A piece of code of one colour."""

    kind: str
    text: str


@dataclass(frozen=True)
class File:
    """A file of a candidate."""

    name: str
    spans: tuple[Piece, ...]


@dataclass(frozen=True)
class CandidateView:
    """Proposals of equal text, shown once."""

    name: str
    chosen: bool
    files: tuple[File, ...]
    visible: Verdict | None
    verdict: Verdict | None
    origin: str
    """Anchor of the step it came from."""


def items(trajectory: Trajectory) -> list[Item]:
    """Everything that happened, in the order of the log."""
    names = candidate_names(trajectory)
    found: list[Item] = []
    for effects in happenings(trajectory.effects):
        first = effects[0]
        where = (" / ".join(first.path) or "the rollout") + _taken_over(effects)
        if first.key in trajectory.steps:
            found.append(_reply(trajectory.steps[first.key], where))
        else:
            found.append(_effects(first.effect, where, effects, names))
    return found


def _taken_over(effects: Sequence[Effect]) -> str:
    """Of a fork: whether a step is its parent's, or a person's."""
    origins = [effect.origin for effect in effects]
    if None in origins:
        return ""
    edited = any(origin and origin.edited for origin in origins)
    return ", edited by a person" if edited else ", taken over"


def candidates(trajectory: Trajectory) -> list[CandidateView]:
    """The distinct candidates; the chosen one first."""
    end = trajectory.end
    if end is None:
        return []
    names = candidate_names(trajectory)
    chosen = end.proposals[end.chosen].candidate if end.chosen is not None else None
    seen: dict[str, CandidateView] = {}
    for proposal in end.proposals:
        name, origin = names[_files_hash(proposal.candidate.files)], proposal.origin
        same = sum(p.candidate == proposal.candidate for p in end.proposals)
        if name not in seen:
            seen[name] = CandidateView(
                name=name + (f", proposed {same} times" if same > 1 else ""),
                chosen=proposal.candidate == chosen,
                files=_files(proposal.candidate),
                visible=proposal.visible,
                verdict=proposal.verdict,
                origin=anchor(origin.step) if origin and origin.step in trajectory.steps else "",
            )
    return sorted(seen.values(), key=lambda view: not view.chosen)


def candidate_names(trajectory: Trajectory) -> dict[str, str]:
    """`candidate 1` and so on, by the hash of a candidate's files."""
    distinct = dict.fromkeys(_files_hash(p.candidate.files) for p in trajectory.proposals)
    return {files: f"candidate {i}" for i, files in enumerate(distinct, 1)}


def examples(brief: Brief) -> list[str]:
    """The visible tests as a person would write them."""
    found = []
    for case in brief.visible.cases:
        try:
            found.append(render_case(case, brief.entry_point))
        except (ValueRefused, ValueError, TypeError):
            found.append(f"{case.id}: cannot be shown")
    if brief.visible.check:
        found.append(brief.visible.check.source)
    return found


def anchor(step: str) -> str:
    """Where on the page a step stands."""
    return f"step-{content_hash(step)[:12]}"


def highlight(code: str) -> tuple[Piece, ...]:
    """Python in pieces of one colour; broken code too, and nothing is lost or added.

    >>> [(p.kind, p.text) for p in highlight("def f(): # x")]
    [('key', 'def'), ('', ' f(): '), ('com', '# x')]
    """
    pieces: list[Piece] = []
    at = 0
    for match in _CODE.finditer(code):
        if match.start() > at:
            pieces.append(Piece("", code[at : match.start()]))
        pieces.append(Piece(match.lastgroup or "", match[0]))
        at = match.end()
    if at < len(code):
        pieces.append(Piece("", code[at:]))
    return tuple(pieces)


def _reply(step: Step, where: str) -> Item:
    return Item(
        kind="reply",
        anchor=anchor(step.id),
        where=where,
        title=f"{step.input.agent} asks {step.input.model or 'a model that is not named'}",
        seconds=step.duration_s,
        step=step,
        choices=tuple(_choices(step.output.choices)),
    )


def _choices(choices: Sequence[Choice]) -> Iterator[ChoiceView]:
    counts: dict[Message, int] = {}
    for choice in choices:
        counts[choice.message] = counts.get(choice.message, 0) + 1
    for message in counts:
        choice = next(c for c in choices if c.message == message)
        logprobs = [p for p in choice.logprobs or () if math.isfinite(p)]
        yield ChoiceView(
            text=told(message),
            finish_reason=choice.finish_reason,
            tokens=len(choice.token_ids or logprobs),
            sure=math.exp(min(sum(logprobs) / len(logprobs), 0)) if logprobs else None,
            heat=_heat(logprobs),
            same=counts[message],
        )


def told(message: Message) -> str:
    """What a message says, with what was thought before it and the calls it makes."""
    parts = [message.content]
    if message.reasoning_content:
        parts = [f"(thinks) {message.reasoning_content}", *(p for p in parts if p)]
    parts += [f"calls {_call(call)}" for call in message.tool_calls]
    return "\n".join(part for part in parts if part) if len(parts) > 1 else message.content


def speaker(message: Message) -> str:
    """Who says a message; of a tool's answer also which tool and call."""
    named = " ".join(part for part in (message.name, message.tool_call_id) if part)
    return f"{message.role} ({named})" if named else message.role


def _call(call: ToolCall) -> str:
    return f"{call.name}({call.arguments})" + (f" as {call.id}" if call.id else "")


def _heat(logprobs: Sequence[float]) -> tuple[Heat, ...]:
    kinds = [next(k for least, k in HEAT if math.exp(min(p, 0)) >= least) for p in logprobs]
    cells, start = [], 0
    for kind, run in groupby(kinds):
        length = len(list(run))
        width = round(100 * length / len(kinds), 2)
        cells.append(Heat(kind, round(100 * start / len(kinds), 2), width))
        start += length
    return tuple(cells)


def _effects(kind: str, where: str, effects: list[Effect], names: dict[str, str]) -> Item:
    verdicts, texts = [], []
    for effect in effects:
        judged = _judged(effect, names)
        if judged:
            verdicts.append(judged)
        elif kind == "context":
            texts += [f"{speaker(m)}:\n{told(m)}" for m in context(effect)]
        elif (output := _shown(effect.output)) not in (None, "", [], {}):
            texts.append(_text(output))
    first = effects[0].error
    source = effects[0].input.get("tests") if isinstance(effects[0].input, dict) else ""
    n = plural(len(effects), "candidate")
    titles = {
        "execution": f"The sandbox runs {n} on the {str(source).replace('_', '-')} tests",
        "verdict": f"The judge runs {n} on the sealed tests",
        "recall": "Memory is asked" + ("" if texts else ", and has nothing"),
        "remember": "The team remembers",
        "context": "Said, and no model answered",
    }
    return Item(
        kind="error" if first else kind if kind in titles else "other",
        anchor=anchor(effects[0].key),
        where=where,
        title=titles.get(kind, kind),
        seconds=sum(effect.duration_s for effect in effects),
        verdicts=tuple(_merged(verdicts)),
        text="\n\n".join(texts),
        error=f"{first.get('type', 'error')}: {first.get('message', '')}" if first else "",
    )


def _shown(output: object) -> object:
    """Of what memory recalled, the text that went into the prompt."""
    return output["text"] if isinstance(output, dict) and "hits" in output else output


def context(effect: Effect) -> list[Message]:
    """The messages of a `context` effect: those of an imported conversation that no answer followed."""
    held = effect.input.get("messages") if isinstance(effect.input, dict) else None
    return [Message.model_validate(m) for m in held] if isinstance(held, list) else []


def _judged(effect: Effect, names: dict[str, str]) -> Judged | None:
    if effect.effect not in ("execution", "verdict") or not isinstance(effect.input, dict):
        return None
    try:
        verdict = Verdict.model_validate(effect.output)
    except ValidationError:
        return None
    name = names.get(_files_hash(effect.input.get("files")), "a draft")
    passed = sum(o.status == "passed" for o in verdict.outcomes)
    return Judged(name, verdict, f"{passed} of {plural(len(verdict.outcomes), 'test')}")


def _merged(verdicts: Sequence[Judged]) -> Iterator[Judged]:
    """Runs of equal candidates that came out alike, as one line each."""
    groups: dict[tuple[str, str, str], list[Judged]] = {}
    for judged in verdicts:
        groups.setdefault((judged.name, judged.verdict.status, judged.passed), []).append(judged)
    for group in groups.values():
        yield replace(group[0], times=len(group))


def _text(output: object) -> str:
    return output if isinstance(output, str) else json.dumps(output, indent=2, ensure_ascii=False)


def _files(candidate: Candidate) -> tuple[File, ...]:
    return tuple(File(name, highlight(cut(text))) for name, text in candidate.files.items())


def _files_hash(files: object) -> str:
    return content_hash(files)
