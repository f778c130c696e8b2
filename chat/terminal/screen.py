"""What the terminal shows: a reader of the event stream that prints lines.

Everything a model wrote is made inert before it is printed: no escape of it reaches the terminal. Of
answers that are written at the same time one is shown as it grows, the others once they are finished.
"""

from collections import deque

from rich import box
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from codojo.chat.status import Status
from codojo.graphs import events as e
from codojo.reports.page import visible
from codojo.tasks.schema import Verdict

MAX_TESTS = 12
STYLES = {"passed": "green", "failed": "red", "error": "red", "timeout": "yellow"}


class Screen:
    """Prints what happens.

    Args:
        console: Where; without colours and at any width it says the same.
        streams: Whether answers are shown while they grow.
    """

    def __init__(self, console: Console, *, streams: bool = True) -> None:
        self.console = console
        self.streams = streams
        self.status = Status()
        self.plan = ""
        self.hits: list[e.MemoryHit] = []
        self._shown: str | None = None
        self._waiting: deque[str] = deque()
        self.last_said = ""
        """The last answer that was shown whole."""
        self._nodes: dict[str, str] = {}
        self._streams: dict[str, _Stream] = {}
        self._shown_tests: set[str] = set()

    def see(self, event: e.TeamEvent) -> None:
        """Show one event."""
        self.status.add(event)
        match event:
            case e.RunStarted():
                self._forget()
            case e.StepStarted():
                self._begin(event)
            case e.TextDelta() if event.choice == 0:
                self._grow(event)
            case e.StepFinished():
                self._finish(event)
            case e.ToolCall() if event.error:
                self.say(f"{event.tool}: {event.error}", "red")
            case e.StateDelta(name="plan"):
                self.plan = event.value
            case e.MemoryHit():
                self.hits.append(event)
                self.say(f"memory: a {event.kind} ({event.why})", "dim")
            case e.TestResult():
                self._tests(event)
            case e.Critique():
                self.say(f"critic: {event.diagnosis} → {event.advice}", "yellow")
            case e.RolloutFinished():
                self._result(event)
            case e.RunFinished():
                cost, seconds = event.cost, event.at - self.status.began
                self.say(f"{cost.tokens:,} tokens, {cost.calls} calls, {seconds:.1f} s", "dim")
            case e.RunError():
                how = "stopped" if event.was_stopped else "failed"
                self.say(f"{how}: {event.message}; /resume goes on with it", "yellow")

    def say(self, text: str, style: str = "") -> None:
        """A line of ours, which may quote a model."""
        self.console.print(Text(visible(text), style=style))

    def code(self, text: str, language: str = "python") -> None:
        """Code or a diff, with its colours."""
        shown = _highlighted(visible(text.rstrip("\n")), language)
        self.console.print(shown, soft_wrap=not self.console.is_terminal)

    def table(self, verdict: Verdict) -> None:
        """The outcome of each test."""
        table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
        for name in ("test", "outcome", "what happened"):
            table.add_column(name, overflow="fold")
        worst = sorted(verdict.outcomes, key=lambda o: o.status == "passed")
        for outcome in worst[:MAX_TESTS]:
            cells = (visible(outcome.id), outcome.status, visible(outcome.detail))
            style = STYLES.get(outcome.status, "")
            table.add_row(
                *(Text(cell, style=style if i == 1 else "") for i, cell in enumerate(cells))
            )
        if verdict.outcomes:
            self.console.print(table)
        if len(worst) > MAX_TESTS:
            self.say(f"and {len(worst) - MAX_TESTS} more")

    def verdict(self, verdict: Verdict) -> None:
        """One line on how it came out."""
        passed = sum(o.status == "passed" for o in verdict.outcomes)
        whose = {"person": "of your tests", "self_made": "of the team's own tests"}
        tests = whose.get(verdict.tests, f"{verdict.tests} tests")
        told = f"{passed} of {len(verdict.outcomes)} {tests} passed"
        reason = f" ({verdict.reason})" if verdict.reason else ""
        text = told if verdict.outcomes else f"{verdict.status}{reason}"
        self.say(text, STYLES.get(verdict.status, ""))

    def _forget(self) -> None:
        self.plan, self.hits, self._shown = "", [], None
        self._waiting.clear()
        self._streams.clear()
        self._shown_tests.clear()

    def _begin(self, event: e.StepStarted) -> None:
        self._nodes[event.step] = event.node or "model"
        if self._shown is None:
            self._show(event.step)

    def _show(self, step: str) -> None:
        self._shown = step
        self.say(f"── {self._nodes.get(step, 'model')}", "bold cyan")

    def _grow(self, event: e.TextDelta) -> None:
        stream = self._streams.get(event.step)
        if stream is None or event.attempt > stream.attempt:
            if stream and self._shown == event.step and stream.shown:
                self.say("(the engine broke off; it begins anew)", "yellow")
            stream = self._streams[event.step] = _Stream(event.attempt)
        stream.text += event.text
        if self._shown is None:
            self._show(event.step)
        if self.streams and self._shown == event.step:
            self._print(stream, stream.lines())

    def _finish(self, event: e.StepFinished) -> None:
        if event.step != self._shown and self._shown is not None and not event.replayed:
            self._waiting.append(event.step)
            self._streams[event.step] = _Stream.of(event)
            return
        if event.step != self._shown:
            self._show(event.step)
        self._end(event.step, self._streams.pop(event.step, _Stream(0)), _Stream.of(event))

    def _end(self, step: str, grown: "_Stream", whole: "_Stream") -> None:
        whole.shown = grown.shown if whole.text.startswith(grown.text) else 0
        whole.in_code = grown.in_code if whole.shown else False
        self.last_said = whole.text
        if self.streams:
            self._print(whole, whole.lines(to_the_end=True))
        if whole.more:
            self.say(f"(and {whole.more} more candidates)", "dim")
        if whole.error:
            self.say(whole.error, "red")
        self._shown = None
        if self._waiting:
            later = self._waiting.popleft()
            self._show(later)
            self._end(later, _Stream(0), self._streams.pop(later))
        else:
            growing = [s for s in self._streams if s in self.status.active]
            if growing:
                self._show(growing[0])
                self._print(self._streams[growing[0]], self._streams[growing[0]].lines())

    def _print(self, stream: "_Stream", lines: list[str]) -> None:
        for line in lines:
            fence = line.lstrip().startswith("```")
            if stream.in_code and not fence:
                self.code(line)
            else:
                self.say(line, "dim" if fence else "")
            stream.in_code ^= fence

    def _tests(self, event: e.TestResult) -> None:
        verdict = event.verdict
        if (
            event.node == "prune"
            or event.tests == "sealed"
            or not verdict.outcomes
            or event.call in self._shown_tests
        ):
            return
        self._shown_tests.add(event.call)
        self.verdict(verdict)
        if event.tests != "self_made" and not verdict.passed:
            self.table(verdict)

    def _result(self, event: e.RolloutFinished) -> None:
        if event.failure:
            self.say(event.failure, "yellow")
        for path, text in event.files.items():
            self.say(f"── {path}", "bold green")
            self.code(text)
        if event.verdict and event.files:
            self.verdict(event.verdict)
        if event.candidates > 1:
            self.say(f"of {event.candidates} candidates; /candidates shows them", "dim")


class _Stream:
    """An answer as far as it has come, and how much of it is on the screen."""

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self.text = ""
        self.shown = 0
        self.in_code = False
        self.more = 0
        self.error = ""

    @classmethod
    def of(cls, event: e.StepFinished) -> "_Stream":
        stream = cls(0)
        stream.text = event.answers[0].text if event.answers else ""
        stream.more = max(0, len(event.answers) - 1)
        stream.error = event.error
        return stream

    def lines(self, *, to_the_end: bool = False) -> list[str]:
        """Whole lines that were not shown yet; to the end: the last one too."""
        end = len(self.text) if to_the_end else self.text.rfind("\n") + 1
        if end <= self.shown:
            return []
        fresh, self.shown = self.text[self.shown : end], end
        return fresh.removesuffix("\n").split("\n")


def _highlighted(text: str, language: str) -> Text:
    shown = Syntax("", language, theme="ansi_dark", background_color="default").highlight(text)
    shown.rstrip()
    return shown
