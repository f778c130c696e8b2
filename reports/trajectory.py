"""One rollout, step by step: as a page, and as text for a terminal."""

import json
from collections.abc import Iterator

from codojo.reports.page import count, duration, plural, render, short, visible
from codojo.reports.steps import anchor, candidates, examples, items, speaker, told
from codojo.reports.story import when
from codojo.tasks.schema import Verdict
from codojo.trajectories.schema import Imported, Trajectory

BAR = "  │ "
"""Stands before every line that was asked or answered, so that no answer can pass for our own words."""


def render_trajectory(trajectory: Trajectory, *, back: str | None = None, why: str = "") -> str:
    """The page of a rollout, which stands alone.

    Args:
        back: Address of the report that links here.
        why: What makes this rollout worth a look.
    """
    return render(
        "trajectory.html.j2",
        trajectory=trajectory,
        back=back,
        why=why,
        when=when(trajectory.id),
        examples=examples(trajectory.brief),
        items=items(trajectory),
        candidates=candidates(trajectory),
        summary=_summary(trajectory),
        imported=origin(trajectory.start.imported) if trajectory.start.imported else "",
        speaker=speaker,
        told=told,
        anchor_of=anchor,
    )


def render_text(trajectory: Trajectory) -> str:
    """The rollout as text that cannot drive a terminal, whatever a model wrote."""
    return "\n".join(_lines(trajectory)) + "\n"


def _lines(trajectory: Trajectory) -> Iterator[str]:
    brief, start, end = trajectory.brief, trajectory.start, trajectory.end
    yield _line(f"rollout {trajectory.id}  {when(trajectory.id)}")
    yield _line(
        f"task {brief.task_id} (suite {brief.suite or 'none'}, family {brief.family}, split {brief.split or 'none'})"
    )
    models = ", ".join(sorted(set(start.models.values()) - {""})) or "unknown"
    yield _line(f"run {start.run}, stage {start.stage}, graph {start.graph}, model {models}")
    if start.parent:
        how = "with another answer there" if start.parent.edited else "which was asked anew"
        yield _line(f"forked from {start.parent.rollout} at step {start.parent.key[:12]}, {how}")
    if start.imported:
        yield _line(origin(start.imported))
        for name, value in start.imported.claims.items():
            yield _line(f"  {short(f'it says {name}: {json.dumps(value, ensure_ascii=False)}')}")
    yield _line(f"verdict {_said(trajectory.verdict)}. {_summary(trajectory)}")
    yield "\nasked"
    yield from _quoted(brief.prompt)
    if shown := examples(brief):
        yield "visible tests"
        yield from _quoted("\n".join(shown))
    for number, item in enumerate(items(trajectory), 1):
        yield _line(f"\n{number}. {item.title}  [{item.where}, {duration(item.seconds)}]", 1)
        if item.error:
            yield from _quoted(item.error)
        if item.step:
            out = item.step.output
            for message in item.step.input.messages:
                yield _line(f"{speaker(message)}:")
                yield from _quoted(told(message))
            yield f"tokens: {count(out.prompt_tokens)} asked, {count(out.completion_tokens)} answered"
        for i, choice in enumerate(item.choices, 1):
            same = f"given {choice.same} times" if choice.same > 1 else ""
            notes = ", ".join(note for note in (choice.finish_reason, same) if note)
            yield _line(f"answer {i} of {len(item.choices)}{f' ({notes})' if notes else ''}:")
            yield from _quoted(choice.text)
        for judged in item.verdicts:
            times = f" ({judged.times} times)" if judged.times > 1 else ""
            yield _line(f"  {judged.name}{times}: {_said(judged.verdict)}, {judged.passed}")
        if item.text:
            yield from _quoted(item.text)
    if end is None:
        return
    for view in candidates(trajectory):
        chosen = ", chosen" if view.chosen else ""
        yield _line(f"\n{view.name}{chosen}: {_said(view.verdict)}", 1)
        for file in view.files:
            yield _line(file.name)
            yield from _quoted("".join(piece.text for piece in file.spans))
        for outcome in view.verdict.outcomes if view.verdict else ():
            if outcome.status != "passed":
                yield _line(f"  {outcome.id}: {outcome.status} {outcome.detail}")
    for name, text in (end.deliverable or {}).items():
        yield _line(f"\nhanded over: {name}", 1)
        yield from _quoted(text)


def origin(imported: Imported) -> str:
    """Where an imported rollout came from, in a sentence."""
    line = f", line {imported.line}" if imported.line else ""
    who = f", recorded by {imported.agent} {imported.version}".rstrip() if imported.agent else ""
    return f"imported from {imported.file}{line} ({imported.format}, sha256 {imported.sha256[:12]}){who}"


def _summary(trajectory: Trajectory) -> str:
    """How many candidates passed, and what it cost."""
    end = trajectory.end
    if end is None:
        return "The rollout is unfinished."
    passed = sum(bool(p.verdict and p.verdict.passed) for p in end.proposals)
    said = f"{passed} of {plural(len(end.proposals), 'candidate')} passed"
    if end.failure:
        said = f"It ended without a verdict: {end.failure}"
    elif trajectory.start.imported:
        said = f"{plural(end.cost.calls, 'answer')}, and nobody here judged them"
    return f"{said}; {count(end.cost.tokens)} tokens, {duration(end.cost.seconds)}."


def _said(verdict: Verdict | None) -> str:
    if verdict is None:
        return "none"
    return verdict.status + (f" ({verdict.reason})" if verdict.reason else "")


def _line(text: str, leading: int = 0) -> str:
    """One line of ours, whatever line breaks the values in it hold."""
    return text[:leading] + visible(text[leading:].replace("\n", "\\n"))


def _quoted(text: str) -> Iterator[str]:
    for line in visible(text).split("\n"):
        yield BAR + line
