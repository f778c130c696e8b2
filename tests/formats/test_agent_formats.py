"""Whole rollouts for other agents' tools: by the rules of each format, by its own code, and there and back."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codojo.errors import SettingsError
from codojo.exporting import export
from codojo.filters import Filters
from codojo.folder import init
from codojo.trajectories.exporters.branches import branches, main_branch
from codojo.trajectories.importers.writing import import_files
from codojo.trajectories.log import Log
from codojo.trajectories.schema import (
    Choice,
    Message,
    RolloutEnd,
    StepRef,
    ToolCall,
    Trajectory,
    load_trajectories,
)
from tests.formats.test_consumers import ask
from tests.formats.world import make_dojo, reply, write_rollout
from tests.trajectories import foreign
from tests.trajectories.foreign import write, write_events

TEAM = "01KB0H5R9NQ2V7T3M8X4C6D1A0"
WHEELS = {"harbor": "0.25.0", "mini-swe-agent": "2.4.6", "sweagent": "0.0.1"}


def documents(dojo: Path, format: str, out: Path) -> dict[str, Any]:
    """The documents of an export by file name."""
    export(dojo, format, out, Filters.of(only="all"))
    files = [p for p in sorted((out / "train").iterdir()) if p.is_file()]
    return {p.name: json.loads(p.read_text()) for p in files}


def imported(dojo: Path, out: Path) -> list[Trajectory]:
    import_files(init(dojo).parent, sorted((out / "train").iterdir()))
    return list(load_trajectories(dojo / "log").values())


def told(trajectory: Trajectory) -> set[tuple[Message, ...]]:
    """All conversations of a rollout."""
    return {tuple(m for m, _ in branch.messages()) for branch in branches(trajectory)}


@pytest.fixture(scope="module")
def foreign_dojo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What other programs recorded."""
    folder = tmp_path_factory.mktemp("foreign")
    odd = ToolCall(id="", name="odd", arguments="{not json")
    spaced = ToolCall(id="b", name="bash", arguments='{"command":   "ls"}')
    chat = [
        {"role": "user", "content": "demo"},
        {"role": "assistant", "content": "", "tool_calls": [_raw(odd), _raw(spaced)]},
        {"role": "tool", "content": "late", "tool_call_id": "b"},
        {"role": "user", "content": "and?"},
        {"role": "tool", "content": "later", "tool_call_id": "b"},
        {"role": "assistant", "content": "so", "reasoning_content": "hm"},
        {"role": "assistant", "content": "twice"},
    ]
    paths = [
        write(folder / "a.json", foreign.ATIF),
        write(folder / "b.traj", foreign.SWE),
        write(folder / "c.traj.json", foreign.MINI),
        write(folder / "d.jsonl", foreign.CHAT, {"messages": chat}),
        write_events(folder / "events", foreign.EVENTS),
    ]
    import_files(init(folder / "dojo").parent, paths)
    return folder / "dojo"


def _raw(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}


STEP = {
    "step_id", "timestamp", "source", "model_name", "reasoning_effort", "message", "reasoning_content",
    "tool_calls", "observation", "metrics", "is_copied_context", "llm_call_count", "extra",
}  # fmt: skip
ROOT = {
    "schema_version", "session_id", "trajectory_id", "agent", "steps", "notes", "final_metrics",
    "continued_trajectory_ref", "extra", "subagent_trajectories",
}  # fmt: skip
METRICS = {
    "prompt_tokens", "completion_tokens", "cached_tokens", "cost_usd", "prompt_token_ids",
    "completion_token_ids", "logprobs", "extra",
}  # fmt: skip


def check_atif(document: dict[str, Any], *, is_root: bool = True) -> None:
    """The rules of harbor's models (0.25), of which every one forbids other fields."""
    assert document.keys() <= ROOT and document["schema_version"] == "ATIF-v1.8"
    agent = document["agent"]
    assert agent.keys() <= {"name", "version", "model_name", "tool_definitions", "extra"}
    assert agent["name"] and agent["version"]
    assert is_root or document["trajectory_id"]
    assert [s["step_id"] for s in document["steps"]] == list(range(1, len(document["steps"]) + 1))
    embedded = document.get("subagent_trajectories", [])
    ids = [inner["trajectory_id"] for inner in embedded]
    assert len(ids) == len(set(ids))
    for step in document["steps"]:
        assert step.keys() <= STEP and step["source"] in ("system", "user", "agent")
        assert isinstance(step["message"], str)
        if step["source"] != "agent":
            assert not step.keys() & {"model_name", "reasoning_content", "tool_calls", "metrics"}
        if step.get("llm_call_count") == 0:
            assert not step.keys() & {"metrics", "reasoning_content"}
        assert step.get("metrics", {}).keys() <= METRICS
        calls = step.get("tool_calls", [])
        for call in calls:
            assert call.keys() <= {"tool_call_id", "function_name", "arguments", "extra"}
            assert isinstance(call["arguments"], dict) and isinstance(call["tool_call_id"], str)
        for result in step.get("observation", {}).get("results", []):
            assert result["source_call_id"] in [call["tool_call_id"] for call in calls]
            for ref in result.get("subagent_trajectory_ref", []):
                assert ref["trajectory_id"] in ids
    for inner in embedded:
        check_atif(inner, is_root=False)


def test_atif_keeps_the_rules(dojo: Path, foreign_dojo: Path, tmp_path: Path) -> None:
    ours = documents(dojo, "atif", tmp_path / "ours")
    others = documents(foreign_dojo, "atif", tmp_path / "others")
    assert len(ours) == 2 and len(others) == 6
    for document in (*ours.values(), *others.values()):
        check_atif(document)


def test_atif_of_a_team_embeds_each_agent_and_says_what_was_learnt(
    dojo: Path, tmp_path: Path
) -> None:
    root = documents(dojo, "atif", tmp_path / "out")[f"{TEAM}.json"]
    assert root["agent"]["name"] == "codojo-team"
    inner = {d["trajectory_id"]: d for d in root["subagent_trajectories"]}
    assert {d["agent"]["name"] for d in inner.values()} == {"planner", "coder"}
    assert inner.keys() == {"plan.0", "s1.0", "s2.0"}
    repaired = [s for s in inner["s2.0"]["steps"] if s["source"] == "agent"]
    assert repaired[-1]["metrics"]["prompt_token_ids"] == [1, 2, 3, 20, 21, 22, 7, 8]
    assert repaired[-1]["metrics"]["logprobs"] == [-0.25, -0.5, -0.75]
    nodes = {s["tool_calls"][0]["function_name"]: s for s in root["steps"][1:]}
    assert {"coder", "planner", "execution", "recall"} == nodes.keys()
    assert all(s["llm_call_count"] == 0 and "metrics" not in s for s in nodes.values())
    ours = root["extra"]["codojo"]
    assert ours["rewards"] == {"passed": 1.0, "share": 1.0}
    assert ours["verdict"]["outcomes"] and ours["models"] == {"all": "all-0123456789ab"}
    assert ours["memory"] == ["In an earlier task: ..."]
    assert inner["s2.0"]["extra"]["codojo"]["rewards"]["passed"] == 1.0


def test_a_shared_beginning_is_marked_so_that_nobody_trains_on_it_twice(tmp_path: Path) -> None:
    dojo = make_dojo(tmp_path / "dojo")
    first = Message(role="user", content="Write f().")
    again = [
        reply(key, [Choice(text=key)], Message(role="user", content=key), parent=StepRef(step="a"))
        for key in ("b", "c")
    ]
    with Log(dojo / "log") as log:
        effects = [reply("a", [Choice(text="first")], first), *again]
        write_rollout(log, "01KB0H5R9NQ2V7T3M8X4C6D1B0", effects, RolloutEnd())
    root = documents(dojo, "atif", tmp_path / "out")["01KB0H5R9NQ2V7T3M8X4C6D1B0.json"]
    copies = [
        [s.get("is_copied_context", False) for s in inner["steps"] if s["source"] == "agent"]
        for inner in root["subagent_trajectories"]
    ]
    assert copies == [[False, False], [True, False]]


def test_atif_there_and_back_gives_equal_messages(
    dojo: Path, foreign_dojo: Path, tmp_path: Path
) -> None:
    for name, source in {"ours": dojo, "others": foreign_dojo}.items():
        documents(source, "atif", tmp_path / name)
        before = [t for t in load_trajectories(source / "log").values() if t.brief.split != "gate"]
        after = imported(tmp_path / f"{name}-dojo", tmp_path / name)
        assert len(after) == len(before)
        by_prompt = {t.brief.task_id: told(t) for t in after}
        for trajectory in before:
            assert by_prompt[trajectory.brief.task_id] == told(trajectory)


@pytest.mark.parametrize("format", ["swe-agent", "mini-swe-agent"])
def test_conversations_there_and_back_give_equal_messages(
    format: str, dojo: Path, foreign_dojo: Path, tmp_path: Path
) -> None:
    for name, source in {"ours": dojo, "others": foreign_dojo}.items():
        documents(source, format, tmp_path / name)
        before = load_trajectories(source / "log")
        after = {t.brief.task_id: t for t in imported(tmp_path / f"{name}-dojo", tmp_path / name)}
        for path in (tmp_path / name / "train").iterdir():
            trajectory = before[path.name.partition(".")[0]]
            main, back = main_branch(trajectory), main_branch(after[trajectory.brief.task_id])
            assert main and back
            assert tuple(m for m, _ in back.messages()) == tuple(m for m, _ in main.messages())


def test_what_a_format_cannot_say_is_counted(foreign_dojo: Path, tmp_path: Path) -> None:
    report = export(foreign_dojo, "mini-swe-agent", tmp_path / "out", Filters.of(only="all"))
    assert report.exported.left_out == {"tool_call_without_id": 1}
    report = export(foreign_dojo, "verl", tmp_path / "verl.jsonl", Filters.of(only="all"))
    assert not report.exported.left_out and report.exported.rows == 6


def test_token_exact_rows_hold_what_the_engine_said(dojo: Path, tmp_path: Path) -> None:
    report = export(dojo, "token-exact", tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    by_call = {(r["step_id"], r["choice"]): r for r in rows}
    assert {call: r["reward"] for call, r in by_call.items()} == {
        ("plan", 0): 1.0,
        ("s1", 0): 1.0,
        ("s1", 1): 0.0,
        ("s2", 0): 1.0,
    }
    repaired = by_call["s2", 0]
    assert repaired["prompt_token_ids"] == [1, 2, 3, 20, 21, 22, 7, 8]
    assert len(repaired["completion_token_ids"]) == len(repaired["logprobs"]) == 3
    assert (repaired["model_version"], repaired["reward_name"]) == ("all-0123456789ab", "passed")
    assert report.curation.left_out["not_token_exact"] == 3


def test_an_import_has_no_reward_so_it_has_no_token_exact_row(
    foreign_dojo: Path, tmp_path: Path
) -> None:
    filters = Filters.of(
        role="all", only="all", dedupe="none", integrity="any", min_isolation="none"
    )
    with pytest.raises(SettingsError, match="no_reward"):
        export(foreign_dojo, "token-exact", tmp_path / "rows.jsonl", filters)


READ = """
import json, sys
from datasets import load_dataset
found = []
for path in sys.argv[2:]:
    rows = load_dataset("parquet", data_files=path, split="train", cache_dir=sys.argv[1])
    found.append(list(rows))
print(json.dumps(found))
"""


def test_parquet_is_what_verl_and_datasets_read(dojo: Path, tmp_path: Path) -> None:
    export(dojo, "verl", tmp_path / "verl.parquet", Filters.of(max_per_task=1))
    export(dojo, "token-exact", tmp_path / "tokens.parquet")
    verl, tokens = ask(READ, tmp_path / "c", tmp_path / "verl.parquet", tmp_path / "tokens.parquet")
    # What verl's RLHFDataset and its reward manager look up in a row (verl 0.9).
    for row in verl:
        assert all(m["role"] and isinstance(m["content"], str) for m in row["prompt"])
        assert row["reward_model"]["style"] == "rule" and row["data_source"].startswith("codojo/")
        assert json.loads(row["reward_model"]["ground_truth"])["task_id"]
        assert isinstance(row["extra_info"]["index"], int) and row["ability"] == "code"
    assert len({row["extra_info"]["index"] for row in verl}) == len(verl) == 2
    assert [len(r["completion_token_ids"]) for r in tokens] == [3, 3, 3, 3]
    assert json.loads(tokens[1]["messages"])[0]["role"] == "system"


def test_otlp_json_is_read_by_the_protocols_own_parser(dojo: Path, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.proto")
    from google.protobuf import json_format  # type: ignore[import-untyped]  # ships no stubs
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    export(dojo, "otel", tmp_path / "spans.jsonl")
    for line in (tmp_path / "spans.jsonl").read_text().splitlines():
        request = json_format.Parse(
            json.dumps(_as_protobuf(json.loads(line))), ExportTraceServiceRequest()
        )
        (resource,) = request.resource_spans
        (scope,) = resource.scope_spans
        root, *rest = scope.spans
        assert {len(s.span_id) for s in scope.spans} == {8}
        assert {s.trace_id for s in scope.spans} == {root.trace_id} and len(root.trace_id) == 16
        assert all(s.parent_span_id == root.span_id for s in rest) and not root.parent_span_id
        assert all(s.start_time_unix_nano <= s.end_time_unix_nano for s in scope.spans)
        assert root.start_time_unix_nano <= min(s.start_time_unix_nano for s in rest)
        for span in scope.spans:
            told = {a.key: a.value for a in span.attributes}
            operation = told["gen_ai.operation.name"].string_value
            assert span.name.split(" ")[0] == operation
            if operation == "chat":
                parts = json.loads(told["gen_ai.output.messages"].string_value)
                assert parts[0]["parts"] and told["gen_ai.usage.input_tokens"].int_value == 20


def _as_protobuf(value: Any) -> Any:
    """OTLP writes ids in hexadecimal where Protobuf's JSON has base64: the one difference of the two."""
    if isinstance(value, list):
        return [_as_protobuf(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        k: base64.b64encode(bytes.fromhex(v)).decode()
        if k in ("traceId", "spanId", "parentSpanId")
        else _as_protobuf(v)
        for k, v in value.items()
    }


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The consumers' packages, unpacked: their dependencies stay away."""
    folder = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--ignore-requires-python"]
    named = [f"{name}=={version}" for name, version in WHEELS.items()]
    done = subprocess.run(
        [*pip, "--only-binary=:all:", "-d", str(folder), *named],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"cannot download the consumers: {done.stderr.strip().splitlines()[-1]}")
    for wheel in folder.glob("*.whl"):
        unpack = [sys.executable, "-m", "zipfile", "-e", str(wheel), str(folder)]
        subprocess.run(unpack, check=True)
    return folder


HARBOR = """
import json, sys, types
from pathlib import Path
for name in ("harbor", "harbor.models"):  # not their __init__, which want Python 3.12 and all dependencies
    module = types.ModuleType(name)
    module.__path__ = [f"{sys.argv[1]}/{name.replace('.', '/')}"]
    sys.modules[name] = module
from harbor.models.trajectories import Trajectory
for path in Path(sys.argv[2]).rglob("*.json"):
    if path.name != "export.json":
        Trajectory.model_validate_json(path.read_text())
        print(path)
document = json.loads(path.read_text()) if path.name != "export.json" else {}
try:
    Trajectory.model_validate(document | {"steps": []})
except ValueError:
    print("refused")
"""
READERS = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
source = Path(sys.argv[1], "minisweagent/run/utilities/inspector.py").read_text()
start = source.index("def _messages_to_steps")
namespace = {}
exec(source[start : source.index("app = typer")], namespace)
from inspector.server import load_content
for path in Path(sys.argv[2]).rglob("*.traj.json"):
    data = json.loads(path.read_text())
    steps = namespace["_messages_to_steps"](data["messages"])
    assert len(steps) == 1 + sum(m["role"] == "assistant" for m in data["messages"]), path
    print("mini", path)
for path in Path(sys.argv[3]).rglob("*.traj"):
    assert load_content(path, {}, {})["history"]
    print("swe", path)
"""


@pytest.mark.slow
def test_the_consumers_own_code_reads_the_files(
    dojo: Path, foreign_dojo: Path, wheels: Path, tmp_path: Path
) -> None:
    for name, source in {"ours": dojo, "others": foreign_dojo}.items():
        for format in ("atif", "swe-agent", "mini-swe-agent"):
            documents(source, format, tmp_path / format / name)
    read = list(_lines(HARBOR, wheels, tmp_path / "atif"))
    assert len(read) == 9 and read[-1] == "refused"
    shutil.copytree(
        tmp_path / "swe-agent", wheels / "read"
    )  # its inspector reads only below itself
    read = list(_lines(READERS, wheels, tmp_path / "mini-swe-agent", wheels / "read"))
    assert sum(line.startswith("mini") for line in read) == 7
    assert sum(line.startswith("swe") for line in read) == 7


MINI = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from minisweagent.agents.default import DefaultAgent
from minisweagent.environments.local import LocalEnvironment
from minisweagent.models.test_models import DeterministicToolcallModel, make_toolcall_output
def call(n, command):
    arguments = json.dumps({"command": command})
    made = {"id": f"call_{n}", "type": "function", "function": {"name": "bash", "arguments": arguments}}
    return make_toolcall_output(None, [made], [{"command": command, "tool_call_id": f"call_{n}"}])
commands = ("echo hello", "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT")
model = DeterministicToolcallModel(outputs=[call(n, c) for n, c in enumerate(commands)])
templates = {"system_template": "You are a coder.", "instance_template": "{{task}}"}
agent = DefaultAgent(model, LocalEnvironment(), **templates, output_path=Path(sys.argv[2]))
print(agent.run("Fix a.py")["exit_status"])
"""


@pytest.mark.slow
def test_what_mini_swe_agent_itself_wrote_is_imported(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSWEA_SILENT_STARTUP", "1")
    monkeypatch.setenv("MSWEA_GLOBAL_CONFIG_DIR", str(tmp_path / "settings"))
    try:
        assert list(_lines(MINI, wheels, tmp_path / "a.traj.json")) == ["Submitted"]
    except AssertionError as err:
        if "ModuleNotFoundError" in str(err):
            pytest.skip("a dependency of mini-swe-agent is not installed")
        raise
    import_files(init(tmp_path / "dojo").parent, [tmp_path / "a.traj.json"])
    (trajectory,) = load_trajectories(tmp_path / "dojo" / "log").values()
    roles = [m.role for m, _ in next(iter(branches(trajectory))).messages()]
    assert roles == ["system", "user", "assistant", "tool", "assistant"]
    imported = trajectory.start.imported
    assert imported and imported.claims["exit_status"] == "Submitted"


def _lines(script: str, *arguments: object) -> Iterator[str]:
    command = [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    yield from done.stdout.splitlines()
