"""What a run or a rollout may spend, enforced in one place."""

import time
from dataclasses import dataclass, field

from codojo.errors import BudgetExceeded
from codojo.settings import BudgetSettings


@dataclass
class Budget:
    """Counts tokens, calls and seconds, and says when they are spent.

    Charged when a reply enters a rollout, whether the model or the log gave it, so a resumed run has
    spent the tokens and calls that the uninterrupted one had; its seconds start anew. Where nothing is
    left the rollout stays unfinished: a larger budget goes on with it. A rollout's budget charges its
    run's too (`parent`).
    """

    limits: BudgetSettings = field(default_factory=BudgetSettings)
    parent: "Budget | None" = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def tokens(self) -> int:
        """Tokens of prompts and answers so far."""
        return self.prompt_tokens + self.completion_tokens

    def check(self) -> None:
        """Raise where nothing is left to spend.

        Raises:
            BudgetExceeded: Naming what is spent, and how to go on.
        """
        limits = self.limits
        for spent, limit, unit in (
            (self.tokens, limits.tokens, "tokens"),
            (self.calls, limits.calls, "calls"),
            (time.monotonic() - self.started, limits.seconds, "seconds"),
        ):
            if limit and spent >= limit:
                raise BudgetExceeded(
                    f"the budget of {limit:g} {unit} is spent; go on with --resume last --set budget.{unit}=MORE"
                )
        if self.parent:
            self.parent.check()

    def charge(self, prompt_tokens: int, completion_tokens: int, calls: int = 1) -> None:
        """Count a call, or what an earlier process spent on several."""
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        self.calls += calls
        if self.parent:
            self.parent.charge(prompt_tokens, completion_tokens, calls)
