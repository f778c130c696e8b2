"""Token-exact rollouts: one row for each model call, in tokens, for trainers with importance ratios.

Text is no faithful record of tokens: the same string can be tokenised in several ways, and a template may
rewrite history. So a row holds what the engine returned, and a call of which it returned nothing has no row.
Field names are those of rLLM's gateway and of ATIF.
"""

from collections.abc import Iterator

from codojo.trajectories.exporters.formats import Format, JsonObject, NotExpressible
from codojo.trajectories.exporters.messages import openai
from codojo.trajectories.rows import TokenExact

REWARD = "passed"
"""Name of the function in `codojo.trajectories.rewards` that makes a row's number from its verdict."""


def token_exact(row: TokenExact) -> Iterator[JsonObject]:
    """One model call."""
    source = row.source
    if source.status == "unverified":
        raise NotExpressible("no_reward")  # 0 would say that it failed
    yield {
        "rollout_id": source.rollout,
        "step_id": source.step,
        "choice": source.choice,
        "task_id": source.task_id,
        "suite": source.suite,
        "agent": source.agent,
        "model_version": source.model,
        "messages": [openai(message) for message in row.prompt],
        "response": openai(row.completion[-1]),
        "prompt_token_ids": list(row.prompt_ids),
        "completion_token_ids": list(row.completion_ids),
        "logprobs": None if row.logprobs is None else list(row.logprobs),
        "finish_reason": row.finish_reason,
        "reward": row.reward,
        "reward_name": REWARD,
        "verdict": source.status,
        "tests": source.tests,
        "isolation": source.isolation,
    }


FORMATS = (
    Format(
        name="token-exact",
        about="One model call as token ids with log-probabilities, reward and adapter, for reinforcement learning.",
        takes=TokenExact,
        records=token_exact,
        columns={
            "rollout_id": "text",
            "step_id": "text",
            "choice": "int",
            "task_id": "text",
            "suite": "text",
            "agent": "text",
            "model_version": "text",
            "messages": "json",
            "response": "json",
            "prompt_token_ids": ("int",),
            "completion_token_ids": ("int",),
            "logprobs": ("float",),
            "finish_reason": "text",
            "reward": "float",
            "reward_name": "text",
            "verdict": "text",
            "tests": "text",
            "isolation": "text",
        },
        token_exact=True,
    ),
)
