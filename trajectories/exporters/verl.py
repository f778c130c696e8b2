"""verl: Parquet of prompts with what a reward function needs, for its trainers to sample from.

The answer is not in it: the policy under training gives that. What is right is not in it either, because
sealed tests stay sealed; `reward_model.ground_truth` names the task, so that a reward function can ask
`codojo judge`, and `extra_info` holds the visible tests.
"""

import json
from collections.abc import Iterator

from codojo.canonical import content_hash
from codojo.trajectories.exporters.formats import Format, JsonObject, NotExpressible
from codojo.trajectories.schema import Message, Trajectory


def verl(trajectory: Trajectory) -> Iterator[JsonObject]:
    """The first prompt of the rollout's first agent that hands in; one row a rollout."""
    brief = trajectory.brief
    prompt = _prompt(trajectory)
    if prompt is None:
        raise NotExpressible("no_answer")
    if any(message.role == "tool" or message.tool_calls for message in prompt):
        raise NotExpressible("tools_in_prompt")
    truth = {"suite": brief.suite, "task_id": brief.task_id, "entry_point": brief.entry_point}
    visible = brief.visible.model_dump(mode="json") if len(brief.visible) else None
    yield {
        "data_source": f"codojo/{brief.suite or 'none'}",
        "prompt": [{"role": message.role, "content": message.content} for message in prompt],
        "ability": "code",
        "reward_model": {"style": "rule", "ground_truth": json.dumps(truth, ensure_ascii=False)},
        "extra_info": {
            "split": brief.split or "none",
            "index": int(content_hash([brief.suite, brief.task_id])[:12], 16),
            "task_id": brief.task_id,
            "family": brief.family,
            "rollout": trajectory.id,
            "visible_tests": "" if visible is None else json.dumps(visible, ensure_ascii=False),
        },
    }


def _prompt(trajectory: Trajectory) -> tuple[Message, ...] | None:
    makers = {p.origin.step for p in trajectory.proposals if p.origin}
    steps = trajectory.steps.values()
    agents = {step.input.agent for step in steps if step.id in makers}
    for step in steps:
        if step.input.parent is None and (not agents or step.input.agent in agents):
            return step.input.messages
    return None


FORMATS = (
    Format(
        name="verl",
        about="Prompts of tasks as Parquet, for verl's trainers; --max-per-task 1 gives one for each task.",
        takes=Trajectory,
        records=verl,
        suffix=".parquet",
        columns={
            "data_source": "text",
            "prompt": ({"role": "text", "content": "text"},),
            "ability": "text",
            "reward_model": {"style": "text", "ground_truth": "text"},
            "extra_info": {
                "split": "text",
                "index": "int",
                "task_id": "text",
                "family": "text",
                "rollout": "text",
                "visible_tests": "text",
            },
        },
    ),
)
