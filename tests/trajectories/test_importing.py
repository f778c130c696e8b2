"""What other programs recorded becomes trajectories: once, whole, marked, and never more than data."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codojo.errors import Busy, ImportRefused, SettingsError
from codojo.folder import init
from codojo.reports.trajectory import render_text, render_trajectory
from codojo.trajectories.importers.writing import ImportReport, import_files
from codojo.trajectories.log import read_log
from codojo.trajectories.schema import Message, ToolCall, Trajectory, load_trajectories
from tests.canaries import canaries
from tests.cli.test_bad_input import codojo, complaint
from tests.trajectories import foreign
from tests.trajectories.foreign import write, write_events

CALL = ToolCall(id="call_1", name="bash", arguments=foreign.ARGUMENTS)
PROMPT = (
    Message(role="system", content=foreign.SYSTEM),
    Message(role="user", content=foreign.TASK),
)
WHOLE = (
    *PROMPT,
    Message(role="assistant", content="", tool_calls=(CALL,)),
    Message(role="tool", content="a.py", tool_call_id="call_1", name="bash"),
    Message(role="assistant", content="Done."),
)

SOURCES: dict[str, Callable[[Path], Path]] = {
    "ATIF-v1.7": lambda folder: write(folder / "a.json", foreign.ATIF),
    "swe-agent": lambda folder: write(folder / "fix-1.traj", foreign.SWE),
    "mini-swe-agent-1.1": lambda folder: write(folder / "fix-1.traj.json", foreign.MINI),
    "openhands": lambda folder: write_events(folder / "conversation", foreign.EVENTS),
    "chat": lambda folder: write(folder / "chats.jsonl", foreign.CHAT, foreign.CHAT | {"id": "2"}),
}


@pytest.fixture
def dojo(tmp_path: Path) -> Path:
    init(tmp_path / "dojo")
    return tmp_path / "dojo"


def loaded(dojo: Path) -> list[Trajectory]:
    return list(load_trajectories(dojo / "log").values())


def conversation(trajectory: Trajectory) -> tuple[Message, ...]:
    """The last step's prompt and answer: here that is everything."""
    last = list(trajectory.steps)[-1]
    return (*trajectory.prompt(last), trajectory.steps[last].output.choices[0].message)


def one(dojo: Path, value: Any, path: Path) -> Trajectory:
    import_files(dojo, [write(path, value)])
    return loaded(dojo)[-1]


@pytest.mark.parametrize("format", SOURCES)
def test_each_format_is_recognised_and_becomes_the_same_messages(
    format: str, dojo: Path, tmp_path: Path
) -> None:
    report = import_files(dojo, [SOURCES[format](tmp_path)])
    found = loaded(dojo)
    assert report.formats == {format: len(found)}
    for trajectory in found:
        assert conversation(trajectory) == WHOLE
        first, second = trajectory.steps.values()
        assert trajectory.prompt(first.id) == PROMPT
        assert second.input.parent and second.input.parent.step == first.id
        assert [m.role for m in second.input.messages] == ["tool"]
        assert trajectory.start.imported and trajectory.start.imported.format == format
        assert trajectory.verdict and trajectory.verdict.status == "unverified"
        assert not trajectory.verdict.passed and trajectory.brief.split is None


@pytest.mark.parametrize("format", SOURCES)
def test_importing_twice_adds_nothing(format: str, dojo: Path, tmp_path: Path) -> None:
    path = SOURCES[format](tmp_path)
    first = import_files(dojo, [path])
    before = [e.rollout for e in read_log(dojo / "log") if e.rollout]
    again = import_files(dojo, [path])
    assert (again.added, again.already) == (0, first.added)
    assert [e.rollout for e in read_log(dojo / "log") if e.rollout] == before


def test_the_command_says_what_it_added_and_what_was_there(dojo: Path, tmp_path: Path) -> None:
    paths = [source(tmp_path) for source in SOURCES.values()]
    first = codojo("trajectories", "import", *paths, "--dojo", dojo)
    assert "added 6 rollouts with 12 answers" in first.stdout, first.stderr
    again = codojo("trajectories", "import", *paths, "--dojo", dojo, "--json")
    said = json.loads(again.stdout)
    assert (said["added"], said["already"], said["formats"]["chat"]) == (0, 6, 2)


def test_a_longer_file_adds_only_its_new_lines(dojo: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "chats.jsonl", foreign.CHAT, foreign.CHAT | {"id": "2"})
    import_files(dojo, [path])
    path.write_text(path.read_text() + "\n" + json.dumps(foreign.CHAT | {"id": "3"}) + "\n")
    report = import_files(dojo, [path])
    assert (report.added, report.already) == (1, 2)
    assert [t.brief.task_id for t in loaded(dojo)] == ["fix-1", "2", "3"]


@pytest.mark.row("C1")
def test_a_killed_import_is_finished_by_the_next_one(dojo: Path, tmp_path: Path) -> None:
    chats = [foreign.CHAT | {"id": str(n)} for n in range(300)]
    path = write(tmp_path / "chats.jsonl", *chats)
    command = [sys.executable, "-m", "codojo", "trajectories", "import", path, "--dojo", dojo]
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    try:
        while child.poll() is None and sum(e.kind == "effect" for e in read_log(dojo / "log")) < 40:
            time.sleep(0.005)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    report = import_files(dojo, [path])
    found = loaded(dojo)
    assert len(found) == 300 == report.added + report.already
    assert all(t.end and conversation(t) == WHOLE for t in found)
    keys = [e.data["key"] for e in read_log(dojo / "log") if e.kind == "effect"]
    assert len(keys) == len(set(keys)) == 600


@pytest.mark.row("C1")
def test_wherever_an_import_was_cut_it_is_finished_without_repeating(
    dojo: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "chats.jsonl", foreign.CHAT, foreign.CHAT | {"id": "2"})
    import_files(dojo, [path])
    (segment,) = (dojo / "log").glob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    resumed = 0
    for kept in range(1, len(lines)):
        shutil.rmtree(dojo / "log")
        (dojo / "log").mkdir()
        segment.write_bytes(b"".join(lines[:kept]))
        report = import_files(dojo, [path])
        resumed += report.resumed
        assert report.added + report.already == 2
        found = loaded(dojo)
        assert [t.brief.task_id for t in found] == ["fix-1", "2"]
        assert all(t.end and conversation(t) == WHOLE for t in found)
        keys = [e.data["key"] for e in read_log(dojo / "log") if e.kind == "effect"]
        assert len(keys) == len(set(keys)) == 4
    assert resumed >= 5


@pytest.mark.row("H13")
def test_secrets_of_a_file_and_values_of_the_dojo_stay_out(
    dojo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (canary,) = (c for c in canaries() if c.name == "github-classic")
    known = "plain-words-only"
    text = json.dumps(foreign.ATIF).replace("a.py", canary.text).replace("Done.", f"Say {known}.")
    (tmp_path / "a.json").write_text(text)
    command = ("trajectories", "import", tmp_path / "a.json", "--dojo", dojo)
    monkeypatch.setenv("CODOJO_TEST_PASSWORD", known)
    assert codojo(*command).returncode == 0
    logged = b"".join(path.read_bytes() for path in (dojo / "log").rglob("*") if path.is_file())
    assert canary.secret.encode() not in logged and known.encode() not in logged
    first, second = loaded(dojo)[0].steps.values()
    assert "[redacted:" in first.input.messages[-1].content
    for step in (first, second):  # the second prompt says the first again, in tokens
        assert step.output.prompt_token_ids is None
        assert step.output.choices[0].token_ids is None
    assert "[redacted:" in second.output.choices[0].message.content


@pytest.mark.row("C11")
def test_two_imports_at_once_do_not_add_twice(dojo: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", foreign.CHAT)
    (dojo / "locks").mkdir()
    with (dojo / "locks" / "import.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="another import"):
            import_files(dojo, [path])
    assert import_files(dojo, [path]).added == 1


@pytest.mark.parametrize("command", [["replay"], ["fork", "--at", "1"]])
def test_what_was_played_elsewhere_is_not_played_again(
    command: list[str], dojo: Path, tmp_path: Path
) -> None:
    import_files(dojo, [write(tmp_path / "c.jsonl", foreign.CHAT)])
    (trajectory,) = loaded(dojo)
    said = complaint(codojo("trajectories", *command, trajectory.id, "--dojo", dojo))
    assert "was imported from c.jsonl" in said or "was played elsewhere" in said


def test_dry_run_counts_and_writes_nothing(dojo: Path, tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.jsonl", foreign.CHAT, {"messages": [{"role": "user", "content": ""}]}
    )
    done = codojo("trajectories", "import", path, "--dry-run", "--dojo", dojo)
    assert "would add 1 rollout with 2 answers" in done.stdout
    assert "left out 1 conversation in which no model answered" in done.stdout
    assert not (dojo / "log").exists()


def test_token_ids_are_stored_once_and_rebuilt_along_the_parent(dojo: Path, tmp_path: Path) -> None:
    trajectory = one(dojo, foreign.ATIF, tmp_path / "a.json")
    first, second = trajectory.steps.values()
    assert second.output.prompt_token_ids == (6,) and second.output.prompt_shared == 5
    assert trajectory.prompt_token_ids(first.id) == (1, 2, 3)
    assert trajectory.prompt_token_ids(second.id) == (1, 2, 3, 4, 5, 6)
    assert first.output.choices[0].logprobs == (-0.1, -0.2)


def test_sub_agents_of_atif_have_threads_of_their_own(dojo: Path, tmp_path: Path) -> None:
    ref = [{"trajectory_id": "sub-1"}]
    step = {
        "step_id": 2,
        "source": "agent",
        "message": "",
        "llm_call_count": 0,
        "observation": {"results": [{"subagent_trajectory_ref": ref}]},
    }
    steps = [{"step_id": 1, "source": "user", "message": foreign.TASK}, step]
    inner = foreign.ATIF | {"trajectory_id": "sub-1"}
    root = foreign.ATIF | {"steps": steps, "subagent_trajectories": [inner]}
    trajectory = one(dojo, root, tmp_path / "a.json")
    assert {s.path for s in trajectory.steps.values()} == {("sub-agents", "sub-1")}
    assert conversation(trajectory) == WHOLE
    context = next(e for e in trajectory.effects if e.effect == "context")
    assert "[sub-agent sub-1]" in json.dumps(context.input)


def test_a_prompt_that_swe_agent_cut_is_stored_as_it_was(dojo: Path, tmp_path: Path) -> None:
    cut = [dict(m) for m in foreign.SWE["trajectory"][1]["query"]]
    cut[-1]["content"] = "Old environment output: (1 line omitted)"
    steps = [foreign.SWE["trajectory"][0], foreign.SWE["trajectory"][1] | {"query": cut}]
    trajectory = one(dojo, foreign.SWE | {"trajectory": steps}, tmp_path / "a.traj")
    whole = conversation(trajectory)
    assert whole[3].content.startswith("Old environment output") and len(whole) == len(WHOLE)
    early = [cut[0], cut[1] | {"content": "(cut)"}, *cut[2:]]
    steps = [steps[0], steps[1] | {"query": early}]
    trajectory = one(dojo, foreign.SWE | {"trajectory": steps}, tmp_path / "b.traj")
    last = list(trajectory.steps.values())[-1]
    assert last.input.parent is None and len(last.input.messages) == 4


def test_older_swe_agent_files_without_prompts_are_read(dojo: Path, tmp_path: Path) -> None:
    steps = [{k: v for k, v in s.items() if k != "query"} for s in foreign.SWE["trajectory"]]
    assert (
        conversation(one(dojo, foreign.SWE | {"trajectory": steps}, tmp_path / "a.traj")) == WHOLE
    )
    bare = {"trajectory": steps, "info": {}, "environment": "main"}
    trajectory = one(dojo, bare, tmp_path / "b.traj")
    assert [s.output.choices[0].text for s in trajectory.steps.values()] == ["", "Done."]


def test_openhands_condensation_and_branches_change_the_prompt(dojo: Path, tmp_path: Path) -> None:
    event = foreign.event
    said = {"role": "assistant", "content": "Again."}
    ids = ["00000002", "00000004"]
    fields = {"forgotten_event_ids": ids, "summary": "It listed files.", "summary_offset": 2}
    events = [
        *foreign.EVENTS,
        event("Condensation", 6, source="environment", llm_response_id="r9", **fields),
        event("MessageEvent", 7, llm_message=said),
        event("MessageEvent", 8, llm_message=said | {"content": "Other."}, parent_id="00000001"),
    ]
    import_files(dojo, [write_events(tmp_path / "c", events)])
    (trajectory,) = loaded(dojo)
    *_, condensed, branch = trajectory.steps
    told = [m.content for m in trajectory.prompt(condensed)]
    assert told == [foreign.SYSTEM, foreign.TASK, "It listed files.", "Done."]
    assert trajectory.prompt(branch) == PROMPT


def test_parallel_calls_of_one_openhands_answer_are_one_message(dojo: Path, tmp_path: Path) -> None:
    events = [dict(e) for e in foreign.EVENTS if e["kind"] != "TokenEvent"]
    second = events[2] | {"id": "00000009", "tool_call_id": "call_2"}
    error = foreign.event("AgentErrorEvent", 8, error="no", tool_name="bash", tool_call_id="call_2")
    import_files(dojo, [write_events(tmp_path / "c", [*events[:3], second, *events[3:4], error])])
    (trajectory,) = loaded(dojo)
    (step,) = trajectory.steps.values()
    assert [c.id for c in step.output.choices[0].tool_calls] == ["call_1", "call_2"]
    context = next(e for e in trajectory.effects if e.effect == "context")
    assert isinstance(context.input, dict)
    rest = context.input["messages"]
    assert isinstance(rest, list)
    assert [m["tool_call_id"] for m in rest if isinstance(m, dict)] == ["call_1", "call_2"]


def test_a_long_conversation_is_linear_in_the_log_and_can_be_read(
    dojo: Path, tmp_path: Path
) -> None:
    turns = [
        {"role": r, "content": f"{n}" * 50} for n in range(1500) for r in ("user", "assistant")
    ]
    trajectory = one(dojo, {"messages": turns}, tmp_path / "c.jsonl")
    assert len(conversation(trajectory)) == 3000
    size = sum(p.stat().st_size for p in (dojo / "log").iterdir())
    assert size < 12 * (tmp_path / "c.jsonl").stat().st_size


BAD: dict[str, tuple[bytes, str]] = {
    "cut": (b'{"messages": [', "line 2"),
    "nan": (b'{"messages": [], "x": NaN}', "NaN"),
    "infinite": (b'{"messages": [], "x": 1e999}', "too large"),
    "long number": (b'{"messages": [], "x": ' + b"9" * 5000 + b"}", "line 2"),
    "64 bits": (b'{"messages": [], "x": ' + b"9" * 30 + b"}", "64 bits"),
    "deep": (b'{"messages": ' + b"[" * 3000 + b"]" * 3000 + b"}", "levels deep"),
    "a little deep": (b'{"messages": ' + b"[" * 150 + b"]" * 150 + b"}", "levels deep"),
    "bytes": (b'{"messages": "\xff\xfe"}', "no UTF-8"),
    "unknown": (b'{"rows": [1], "\\u001b[31m": 2}', "no format that can be imported"),
    "role": (b'{"messages": [{"role": "root", "content": "x"}]}', "role 'root'"),
    "type": (b'{"messages": [{"role": "user", "content": 7}]}', "'content' is a number"),
    "part": (b'{"messages": [{"role": "user", "content": [null]}]}', "'content[0]' is null"),
}


@pytest.mark.row("H15")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_named_and_nothing_is_written(name: str, dojo: Path, tmp_path: Path) -> None:
    line, named = BAD[name]
    path = tmp_path / "chats.jsonl"
    path.write_bytes(json.dumps(foreign.CHAT).encode() + b"\n" + line + b"\n")
    with pytest.raises(ImportRefused) as caught:
        import_files(dojo, [path])
    told = str(caught.value)
    assert "chats.jsonl, line 2" in told and named in told and "\n" not in told
    assert not (dojo / "log").exists()
    assert import_files(dojo, [path], skip_invalid=True).added == 1


def test_one_line_says_what_is_wrong(dojo: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", foreign.ATIF | {"schema_version": "ATIF-v9.0"})
    said = complaint(codojo("trajectories", "import", path, "--dojo", dojo))
    assert "ATIF-v9.0" in said and "ATIF-v1.8" in said
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()
    for name, told in {
        "no.json": "No such file",
        "empty": "without event files",
        "pipe": "neither a file nor a folder",
    }.items():
        with pytest.raises(ImportRefused, match=told):
            import_files(dojo, [tmp_path / name])
    with pytest.raises(SettingsError, match="'aitf' can be imported"):
        import_files(dojo, [path], format="aitf")


@pytest.mark.row("H1")
def test_escapes_and_lone_surrogates_are_kept_and_shown_inert(dojo: Path, tmp_path: Path) -> None:
    evil = '\x1b[31m\ud800\u202e\n{"kind":"effect"}\nverdict passed'
    messages = [{"role": "user", "content": evil}, {"role": "assistant", "content": evil}]
    path = write(tmp_path / "evil\n\x1b[2J.jsonl", {"messages": messages, "id": evil})
    done = codojo("trajectories", "import", path, "--dojo", dojo)
    assert done.returncode == 0, done.stderr
    (trajectory,) = loaded(dojo)
    assert conversation(trajectory)[0].content == evil
    for how in ([], ["--json"], ["--html", tmp_path / "page.html"]):
        shown = codojo("trajectories", "show", trajectory.id, *how, "--dojo", dojo)
        assert shown.returncode == 0, shown.stderr
        assert ("\x1b" not in shown.stdout and "\u202e" not in shown.stdout) or how == ["--json"]
    assert "\x1b" not in codojo("trajectories", "list", "--dojo", dojo).stdout
    assert "\x1b" not in (tmp_path / "page.html").read_text()


def test_show_tells_where_it_came_from_and_what_tools_were_called(
    dojo: Path, tmp_path: Path
) -> None:
    trajectory = one(dojo, foreign.MINI, tmp_path / "fix.traj.json")
    shown = render_text(trajectory)
    assert "imported from fix.traj.json (mini-swe-agent-1.1" in shown
    assert "verdict unverified (imported)" in shown and 'it says exit_status: "Submitted"' in shown
    assert 'calls bash({"command": "ls"}) as call_1' in shown and "tool (bash call_1):" in shown
    page = render_trajectory(trajectory)
    assert "imported from fix.traj.json" in page and "calls bash(" in page


KEYS = [
    "messages",
    "role",
    "content",
    "steps",
    "agent",
    "trajectory",
    "query",
    "info",
    "kind",
    "source",
    "events",
    "tool_calls",
    "metrics",
    "observation",
    "results",
    "function",
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=25,
)


@settings(max_examples=60)
@given(value=json_values, format=st.sampled_from(["", "atif", "chat", "openhands", "swe-agent"]))
def test_whatever_a_file_holds_it_is_read_or_refused(
    value: Any, format: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    if format == "atif" and isinstance(value, dict):
        value = value | {"schema_version": "ATIF-v1.8"}
    path = write(folder / "any.json", value)
    try:
        report = import_files(folder, [path], format=format, dry_run=True)
    except ImportRefused as err:
        assert "any.json" in str(err)
    else:
        assert isinstance(report, ImportReport)
