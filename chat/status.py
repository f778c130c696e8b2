"""How far the team is: a fold over the event stream, for a status line in any face. Pure."""

from dataclasses import dataclass, field

from codojo.graphs.events import (
    RunError,
    RunFinished,
    RunStarted,
    StepFinished,
    StepStarted,
    TeamEvent,
    TextDelta,
    ToolCall,
)


@dataclass
class Status:
    """Who works, what was spent, and what may be."""

    active: dict[str, str] = field(default_factory=dict)
    """What each step or call under way is: the graph's node, or the tool."""
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    streamed: int = 0
    """Pieces of answers that are not finished yet: about as many tokens."""
    began: float = 0.0
    ended: float = 0.0
    budget_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of finished calls."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def nodes(self) -> list[str]:
        """Nodes that work, each once."""
        return list(dict.fromkeys(node for node in self.active.values() if node))

    def add(self, event: TeamEvent) -> None:
        """Count one event."""
        match event:
            case RunStarted():
                self.__init__()  # type: ignore[misc]  # a new run starts at nothing
                self.began, self.budget_tokens = event.at, int(event.budget.get("tokens", 0))
            case StepStarted():
                self.active[event.step] = event.node or "model"
            case StepFinished():
                self.active.pop(event.step, None)
                self.calls += 1
                self.prompt_tokens += event.prompt_tokens
                self.completion_tokens += event.completion_tokens
                self.streamed = 0
            case TextDelta():
                self.streamed += 1
            case ToolCall(phase="started"):
                self.active[event.call] = event.tool
            case ToolCall():
                self.active.pop(event.call, None)
            case RunFinished() | RunError():
                self.active.clear()
                self.ended = event.at

    def line(self, now: float) -> str:
        """One line, for example `plan · 2 calls · 310 tokens of 5,000 · 4 s`."""
        if not self.began:
            return "ready"
        parts = [", ".join(self.nodes) or ("done" if self.ended else "working")]
        parts.append(f"{self.calls} call{'' if self.calls == 1 else 's'}")
        more = f" +{self.streamed:,}" if self.streamed else ""
        limit = f" of {self.budget_tokens:,}" if self.budget_tokens else ""
        parts.append(f"{self.tokens:,}{more} tokens{limit}")
        parts.append(f"{max(0.0, (self.ended or now) - self.began):.0f} s")
        return " · ".join(parts)
