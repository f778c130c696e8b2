"""What the terminal prints: inert, at any width, with and without colours."""

import io
import re
from collections.abc import Iterator

import pytest
from rich.console import Console

from codojo.chat.terminal.screen import Screen
from codojo.graphs import events as e
from codojo.tasks.schema import Outcome, Verdict
from codojo.trajectories.schema import Cost

EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b31m\u202e\r\b\udcff<b>[red]\x1b]8;;http://x\x07"
AT = {"run": "r", "rollout": "t", "at": 1.0}


def screen(*, width: int = 80, colours: bool = False) -> tuple[Screen, io.StringIO]:
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=colours,
        no_color=not colours,
        highlight=False,
        markup=False,
        emoji=False,
    )
    return Screen(console), out


def everything(text: str) -> Iterator[e.TeamEvent]:
    """A rollout in which every text that a model can write is this one."""
    outcome = Outcome(id=text, status="failed", detail=text)
    verdict = Verdict(status="failed", reason=text, tests="person", outcomes=(outcome,))
    code = f"```python\n{text}\n```\n"
    yield e.RunStarted(command="chat", args={}, budget={"tokens": 900}, **AT)
    yield e.StepStarted(step="s", node=text, **AT)
    yield e.TextDelta(step="s", choice=0, attempt=1, text=code[:14], **AT)
    yield e.StepFinished(
        step="s",
        node=text,
        agent="coder",
        model=text,
        answers=(e.Answer(text=code, finish_reason="stop"),),
        prompt_tokens=1,
        completion_tokens=1,
        seconds=1,
        error=text,
        **AT,
    )
    yield e.MemoryHit(id="m", kind="rule", text=text, why=text, **AT)
    yield e.Critique(step="s", diagnosis=text, advice=text, confidence=1, **AT)
    yield e.TestResult(call="c", files={}, tests="person", verdict=verdict, **AT)
    yield e.ToolCall(call="c", node="x", tool=text, phase="finished", error=text, **AT)
    yield e.RolloutFinished(
        verdict=verdict,
        failure=text,
        files={text: text},
        chosen=0,
        candidates=2,
        cost=Cost(),
        **AT,
    )
    yield e.RunError(error="EngineError", message=text, cost=Cost(), **AT)


@pytest.mark.row("H12")
@pytest.mark.parametrize("colours", [False, True])
def test_terminal_escapes_of_a_model_are_inert(colours: bool) -> None:
    shown, out = screen(colours=colours)
    for event in everything(EVIL):
        shown.see(event)
    shown.code(EVIL, "diff")
    text = out.getvalue()
    ours = re.compile(r"\x1b\[[0-9;]*m") if colours else re.compile(r"(?!)")
    rest = ours.sub("", text)
    assert all(c.isprintable() or c == "\n" for c in rest), ascii(rest)
    assert "\\x1b]0;owned\\x07" in rest.replace("\n", "") and "[red]" in rest
    if colours:
        plain = screen()
        for event in everything("harmless"):
            plain[0].see(event)
        assert "\x1b" not in plain[1].getvalue()


@pytest.mark.parametrize("width", [80, 40, 200])
def test_every_line_fits_the_terminal(width: int) -> None:
    shown, out = screen(width=width)
    shown.console._force_terminal = True
    for event in everything("a longer sentence, " * 20):
        shown.see(event)
    assert max(map(len, out.getvalue().splitlines())) <= width


def test_text_is_shown_once_as_it_grows_and_parallel_answers_in_turn() -> None:
    shown, out = screen()

    def see(*events: e.TeamEvent) -> None:
        for event in events:
            shown.see(event)

    def finished(step: str, text: str) -> e.StepFinished:
        return e.StepFinished(
            step=step,
            node=step,
            agent="coder",
            model="m",
            answers=(e.Answer(text=text, finish_reason="stop"),),
            prompt_tokens=3,
            completion_tokens=2,
            seconds=1,
            **AT,
        )

    def delta(step: str, text: str, attempt: int = 1) -> e.TextDelta:
        return e.TextDelta(step=step, choice=0, attempt=attempt, text=text, **AT)

    see(e.RunStarted(command="chat", args={}, budget={}, **AT))
    see(*(e.StepStarted(step=s, node=s, **AT) for s in ("code", "tests")))
    see(delta("code", "one\ntw"), delta("tests", "alpha\nbe"))
    assert "one" in out.getvalue() and "alpha" not in out.getvalue()
    see(finished("tests", "alpha\nbeta"), delta("code", "o\nthr"))
    assert "alpha" not in out.getvalue()
    assert shown.status.line(5.0) == "code · 1 call · 5 +1 tokens · 4 s"
    see(finished("code", "one\ntwo\nthree"))
    assert out.getvalue().split("\n") == [
        *("── code", "one", "two", "three", "── tests", "alpha", "beta", "")
    ]
    see(e.StepStarted(step="again", node="again", **AT), delta("again", "wro\nng"))
    see(delta("again", "right\nend", attempt=2), finished("again", "right\nend"))
    tail = out.getvalue().split("── again\n")[1]
    assert tail == "wro\n(the engine broke off; it begins anew)\nright\nend\n"
