"""What can be typed after a slash."""

from typing import NamedTuple


class Command(NamedTuple):
    """One line of the help."""

    usage: str
    help: str


COMMANDS = {
    "plan": Command("[on|off]", "show the last plan; whether a plan waits for your word"),
    "run": Command("[assert ...]", "run the last answer on its tests, or on yours, in a cage"),
    "diff": Command("", "what the last answer changed"),
    "candidates": Command("", "the candidates of the last request"),
    "pick": Command("N", "take another candidate; it teaches which one is better"),
    "edit": Command("", "correct the last answer; it teaches how it should have been"),
    "good": Command("[comment]", "the last answer is good"),
    "bad": Command("[comment]", "the last answer is bad"),
    "feedback": Command("[revoke ID]", "what was said of answers here; take it back"),
    "undo": Command("", "take the last change of the folder back"),
    "memory": Command("[on|off]", "what memory said; whether it is asked"),
    "model": Command("[NAME|base]", "who answers; another adapter"),
    "graph": Command("[NAME]", "which graph works, and its nodes; another one"),
    "budget": Command("[TOKENS]", "what was spent; tokens for each request, 0 for no limit"),
    "history": Command("[TEXT]", "earlier sessions, or those that hold a text"),
    "resume": Command("[ID]", "go on with a stopped request, or with an earlier session"),
    "export": Command("[FILE]", "write this session as Markdown, or as JSON (.json)"),
    "forget": Command("yes", "remove this session for good"),
    "help": Command("", "this list"),
    "quit": Command("", "leave; the session stays"),
}

KEYS = (
    "Enter sends, Alt-Enter starts a new line, Ctrl-C stops the team, Ctrl-D leaves. "
    "What you type while the team works is told to the coder."
)


class Typed(NamedTuple):
    """A command as it was typed."""

    name: str
    rest: str


def parse(text: str) -> Typed | None:
    """The command of a line; None where it is none.

    A beginning that only one command has will do: `/h` does not, `/he` does.
    """
    if not text.startswith("/"):
        return None
    name, _, rest = text[1:].partition(" ")
    name = name.strip().lower()
    matching = [known for known in COMMANDS if known.startswith(name)]
    if name not in COMMANDS and len(matching) == 1:
        name = matching[0]
    return Typed(name, rest.strip())


def help_lines() -> list[str]:
    """The help, one line each."""
    rows = [(f"/{name} {c.usage}".strip(), c.help) for name, c in COMMANDS.items()]
    width = max(len(left) for left, _ in rows)
    return [f"{left:<{width}}  {right}" for left, right in rows] + [KEYS]
