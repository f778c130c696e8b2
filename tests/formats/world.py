"""A log with what exporters meet: a repair, a pair, tools, a planner, and a task of the gate split."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from codojo.tasks.schema import Brief, Candidate, Outcome, Split, Tests, TestSource, Verdict
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.log import Log
from codojo.trajectories.schema import (
    FINISHED,
    STARTED,
    Choice,
    Message,
    Proposal,
    RolloutEnd,
    RolloutStart,
    StepInput,
    StepOutput,
    StepRef,
    ToolCall,
)

GOOD = "def add(a, b):\n    return a + b"
BAD = "def add(a, b):\n    return a - b"
TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "run_tests",
            "description": "Run the test suite.",
            "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
        },
    },
    {
        "type": "function",
        "function": {
            "name": "read_file",
            "description": "Read a file.",
            "parameters": {"type": "object", "properties": {"name": {"type": "string"}}},
        },
    },
)


def verdict(passed: bool, tests: TestSource = "sealed", **changes: Any) -> Verdict:
    status = "passed" if passed else "failed"
    return Verdict(
        status=status,
        tests=tests,
        isolation="bubblewrap",
        outcomes=(Outcome(id="case-1", status=status),),
    ).model_copy(update=changes)


def fenced(code: str) -> str:
    return f"Here you are:\n```python\n{code}\n```"


def reply(
    key: str,
    choices: Iterable[Choice],
    *messages: Message,
    agent: str = "coder",
    parent: StepRef | None = None,
    tools: Any = (),
    **output: Any,
) -> dict[str, Any]:
    """An effect as the journal writes it."""
    asked = StepInput(
        agent=agent,
        model="all-0123456789ab",
        template=f"{agent} 1a2b3c",
        parent=parent,
        messages=messages,
        sampling={"temperature": 0.8, "max_tokens": 256},
        tools=tools,
    )
    said = StepOutput(
        model="all-0123456789ab",
        choices=tuple(choices),
        prompt_tokens=20,
        completion_tokens=12,
        **output,
    )
    return {
        "key": key,
        "path": [agent, "1"],
        "nth": 0,
        "input_hash": "0" * 64,
        "effect": "reply",
        "input": asked.model_dump(mode="json"),
        "output": said.model_dump(mode="json"),
        "duration_s": 0.5,
    }


def did(effect: str, key: str, input: Any, output: Any) -> dict[str, Any]:
    """An effect that asked no model."""
    facts = {"path": ["execute", "2"], "nth": 0, "input_hash": "0" * 64, "duration_s": 0.25}
    return {"key": key, "effect": effect, "input": input, "output": output} | facts


def sampled(text: str, first: int, n: int = 3) -> Choice:
    """A choice with the tokens that made it."""
    return Choice(
        text=text,
        finish_reason="stop",
        token_ids=tuple(range(first, first + n)),
        logprobs=tuple(-0.25 * i for i in range(1, n + 1)),
    )


def write_rollout(
    log: Log,
    id: str,
    effects: Iterable[dict[str, Any]],
    end: RolloutEnd | None,
    *,
    task: str = "add-1",
    family: str = "sums",
    suite: str = "made",
    split: Split | None = "train",
    graph: str = "team",
) -> None:
    brief = Brief(
        task_id=task,
        suite=suite,
        family=family,
        split=split,
        prompt="Write add(a, b).",
        entry_point="add",
        starter="def add(a, b):",
        visible=Tests(source="visible"),
    )
    start = RolloutStart(
        run="01KB0H5R9NQ2V7T3M8X4C6D1EF",
        stage="run",
        brief=brief,
        task_hash="h" * 64,
        graph=graph,
        graph_version="v1",
        models={"all": "all-0123456789ab"},
        versions={"codojo": "0.1.0", "base_model": "smollm2-135m 0f1e2d3c4b5a"},
    )
    log.append(STARTED, start.model_dump(mode="json"), id)
    for effect in effects:
        log.append(EFFECT, effect, id)
    if end:
        log.append(FINISHED, end.model_dump(mode="json"), id).result()


def made(code: str, step: str, choice: int, judged: Verdict | None) -> Proposal:
    return Proposal(
        candidate=Candidate.of(code), origin=StepRef(step=step, choice=choice), verdict=judged
    )


def team(
    log: Log,
    id: str = "01KB0H5R9NQ2V7T3M8X4C6D1A0",
    task: str = "add-1",
    split: Split = "train",
) -> None:
    """A planner; two answers, of which one fails and is repaired."""
    system = Message(role="system", content="You write Python.")
    ask = Message(role="user", content="Write add(a, b).")
    again = Message(role="user", content="add(1, 2) gave -1. Mend it.")
    effects = [
        reply("plan", [sampled("- add both", 5)], ask, agent="planner", prompt_token_ids=(1, 2)),
        reply(
            "s1",
            [sampled(fenced(GOOD), 10), sampled(fenced(BAD), 20)],
            system,
            ask,
            prompt_token_ids=(1, 2, 3),
        ),
        reply(
            "s2",
            [sampled(fenced("def add(x, y):\n    return sum([x, y])"), 30)],
            again,
            parent=StepRef(step="s1", choice=1),
            prompt_token_ids=(7, 8),
            prompt_shared=6,
        ),
        did("recall", "r1", {"task_id": "add-1"}, "In an earlier task: ..."),
        did(
            "execution",
            "e1",
            {"files": {"solution.py": BAD}, "entry_point": "add", "tests": "visible", "cases": []},
            verdict(False, "visible").model_dump(mode="json"),
        ),
    ]
    end = RolloutEnd(
        proposals=(
            made(GOOD + "\n", "s1", 0, verdict(True)),
            made(BAD + "\n", "s1", 1, verdict(False)),
            made("def add(x, y):\n    return sum([x, y])\n", "s2", 0, verdict(True)),
        ),
        chosen=0,
        verdict=verdict(True),
    )
    write_rollout(log, id, effects, end, task=task, split=split)


def with_tools(log: Log) -> None:
    """Work without a suite, by an agent that calls tools; a person's visible tests judged it."""
    call = ToolCall(name="run_tests", arguments='{"path": "tests"}', id="call_1")
    effects = [
        reply(
            "t1",
            [Choice(text="", finish_reason="tool_calls", tool_calls=(call,))],
            Message(role="user", content="Run the tests, then write mul(a, b)."),
            agent="worker",
            tools=TOOLS,
        ),
        reply(
            "t2",
            [
                Choice(text="```python\ndef mul(a, b): return a * b\n```", finish_reason="stop"),
                Choice(text="```python\ndef mul(a, b): return a ** b\n```", finish_reason="stop"),
            ],
            Message(role="tool", content="0 passed", tool_call_id="call_1", name="run_tests"),
            agent="worker",
            parent=StepRef(step="t1"),
            tools=TOOLS,
        ),
    ]
    good, bad = verdict(True, "visible"), verdict(False, "visible")
    end = RolloutEnd(
        proposals=(
            made("def mul(a, b): return a * b", "t2", 0, good),
            made("def mul(a, b): return a ** b", "t2", 1, bad),
        ),
        chosen=0,
        verdict=good,
    )
    write_rollout(
        log,
        "01KB0H5R9NQ2V7T3M8X4C6D1A1",
        effects,
        end,
        task="chat-1",
        family="",
        suite="",
        split=None,
        graph="chat",
    )


def make_dojo(folder: Path) -> Path:
    """A dojo whose log holds all of it, and a rollout of the gate split that may not be exported."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "codojo.toml").touch()
    with Log(folder / "log") as log:
        team(log)
        with_tools(log)
        team(log, "01KB0H5R9NQ2V7T3M8X4C6D1A2", task="add-2", split="gate")
    return folder
