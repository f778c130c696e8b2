"""Rollouts replayed without a model, forked at a step, and compared."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codojo.dojo import Dojo
from codojo.errors import LogEnds, LogError, ReplayDiverged, SettingsError
from codojo.graphs.policies import spread
from codojo.graphs.replay import replay
from codojo.reports.diff import render_difference
from codojo.reports.trajectory import render_text
from codojo.tasks.katas import load_katas
from codojo.trajectories.diff import diff
from codojo.trajectories.fork import EDITED, effect_at
from codojo.trajectories.journal import ASKED, EFFECT
from codojo.trajectories.log import Event, read_log
from codojo.trajectories.places import recorded_key
from codojo.trajectories.schema import FINISHED, STARTED, Trajectory, load_trajectories
from tests.graphs.test_run import CODOJO, codojo, run_katas

TASK = spread(load_katas().split("train"), 1)[0]
RIGHT = f"```python\n{TASK.reference}\n```"
WRONG = f"```python\n{TASK.starter}\n    return None\n```"


def write_script(path: Path, **more: object) -> Path:
    """A team that is wrong at first, and right after its critic has spoken."""
    rules = [
        {"match": "That is not right yet", "replies": [RIGHT]},
        {
            "match": "Review this attempt",
            "replies": ['{"diagnosis": "d", "advice": "count them", "confidence": 1}'],
        },
        {"match": "Complete this Python function", "replies": [WRONG]},
        {"match": "", "replies": ["nonsense"]},
    ]
    path.write_text(json.dumps({"rules": rules, **more}))
    return path


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A dojo with one run of `team` on one task."""
    folder = tmp_path_factory.mktemp("time-travel")
    script = write_script(folder / "script.json")
    options = ("--graph", "team", "--tasks", "1", "--samples", "2", "--unsafe-no-sandbox")
    codojo(*run_katas(folder / "d", script, *options))
    yield folder / "d"


def first(dojo: Path) -> Trajectory:
    return next(iter(load_trajectories(dojo / "log").values()))


def events_of(dojo: Path, id: str) -> list[Event]:
    return [event for event in read_log(dojo / "log") if event.rollout == id]


def opened(dojo: Path, **engine: Any) -> Dojo:
    script = dojo.parent / "script.json"
    overrides = {
        "engine.kind": "scripted",
        "engine.model": str(script),
        "sandbox.backend": "none",
        "sandbox.unsafe_no_sandbox": True,
    }
    return Dojo.open(dojo, overrides=overrides | engine)


def test_a_finished_run_is_replayed_without_engine_or_sandbox(played: Path) -> None:
    """Its script is gone, so no engine could start; and not a byte of the dojo changes."""
    found = first(played)
    before = {path: path.read_bytes() for path in (played / "log").iterdir()}
    script = played.parent / "script.json"
    script.rename(script.with_suffix(".away"))
    try:
        for id in (found.start.run, found.id):
            done = codojo("trajectories", "replay", id, "--dojo", played, "--json")
    finally:
        script.with_suffix(".away").rename(script)
    said = json.loads(done.stdout)
    (only,) = said["replayed"]
    assert only["finished"] and only["verdict"] == "passed" and not said["diverged"]
    assert only["keys"] == sum(only["effects"].values()) == len(found.effects) > 8
    assert {path: path.read_bytes() for path in (played / "log").iterdir()} == before


async def test_every_beginning_of_a_rollout_replays_to_where_it_ends(played: Path) -> None:
    """Any prefix of the records is a valid history: what a crash leaves behind."""
    id = first(played).id
    events = events_of(played, id)
    ends = [n for n, event in enumerate(events, 1) if event.kind in (STARTED, EFFECT)]
    for end in ends[:-1]:
        done = await replay(id, events[:end])
        assert not done.finished and "the log holds no" in done.stopped_at
        assert sum(done.effects.values()) == sum(e.kind == EFFECT for e in events[:end])
    assert (await replay(id, events)).finished
    with pytest.raises(ReplayDiverged, match="finish it with --resume"):
        await replay(id, [event for event in events if event.kind != FINISHED])


def changed(event: Event, **data: Any) -> Event:
    return replace(event, data={**event.data, **data})


async def test_a_replay_notices_whatever_was_changed(played: Path) -> None:
    id = first(played).id
    events = events_of(played, id)
    spot = next(n for n, e in enumerate(events) if e.kind == EFFECT and e.data["effect"] == "reply")
    asked = {**events[spot].data["input"], "agent": "somebody"}
    with pytest.raises(ReplayDiverged, match="has not the key that its content gives"):
        await replay(id, [*events[:spot], changed(events[spot], input=asked), *events[spot + 1 :]])
    with pytest.raises(LogEnds, match="the log holds no 'reply'"):
        await replay(id, [*events[:spot], *events[spot + 1 :]])
    start = next(n for n, e in enumerate(events) if e.kind == STARTED)
    with pytest.raises(ReplayDiverged, match="the graph 'team' or a prompt of it"):
        await replay(id, [changed(events[start], graph_version="other"), *events[start + 1 :]])
    end = next(n for n, e in enumerate(events) if e.kind == FINISHED)
    with pytest.raises(ReplayDiverged, match="came to other chosen"):
        await replay(id, [*events[:end], changed(events[end], chosen=1)])


def step_of_agent(found: Trajectory, agent: str) -> str:
    """The first step of an agent, by key."""
    return next(key for key, step in found.steps.items() if step.input.agent == agent)


def taken_over(found: Trajectory) -> int:
    return sum(effect.origin is not None for effect in found.effects)


async def test_a_fork_takes_over_what_was_before_and_goes_its_own_way(played: Path) -> None:
    parent = first(played)
    before = events_of(played, parent.id)
    critic = step_of_agent(parent, "critic")
    number = next(n for n, effect in enumerate(parent.effects) if effect.key == critic)
    async with opened(played) as dojo:
        plain = await dojo.fork(parent.id, at=critic)
        edited = await dojo.fork(
            parent.id, at=step_of_agent(parent, "coder"), edit=f"Here it is:\n{RIGHT}"
        )
        other = await dojo.fork(parent.id, at=critic, team__repairs=0, sampling__temperature=0.1)
        with pytest.raises(SettingsError, match=r"cannot change 'team\.graph'"):
            await dojo.fork(parent.id, at=critic, team__graph="solo")
        with pytest.raises(SettingsError, match="nor has this dojo such an adapter"):
            await dojo.fork(parent.id, at=critic, model="all-123")
        execution = next(e for e in parent.effects if e.effect == "execution")
        with pytest.raises(SettingsError, match="cannot be edited"):
            await dojo.fork(parent.id, at=execution.key, edit="passed")
        with pytest.raises(LogError, match="has no step '99'"):
            await dojo.fork(parent.id, at=99)
    assert events_of(played, parent.id) == before, "the parent stays as it was"

    assert taken_over(plain) == number and plain.start.parent is not None
    assert plain.start.parent.rollout == parent.id and plain.start.parent.key == critic
    assert plain.start.stage == "fork" and plain.verdict and plain.verdict.passed
    assert plain.end and parent.end and plain.end.cost.tokens < parent.end.cost.tokens
    repair = list(plain.steps.values())[-1] if plain.steps else None
    assert repair is not None
    coder = step_of_agent(plain, "coder")
    asked = [s for s in plain.steps.values() if s.input.parent and s.input.parent.step == coder]
    assert asked, "the conversation goes on from the step that was taken over, under its new key"
    assert plain.prompt(asked[0].id)[0] == parent.prompt(step_of_agent(parent, "coder"))[0]

    step = edited.steps[step_of_agent(edited, "coder")]
    assert step.output.model == EDITED and step.output.choices[0].text.startswith("Here it is")
    assert edited.verdict and edited.verdict.passed and len(edited.proposals) == 1
    assert not [s for s in edited.steps.values() if s.input.agent == "critic"], "nothing to mend"
    origin = next(e.origin for e in edited.effects if e.key == step.id)
    assert origin is not None and origin.edited
    shown = render_text(edited)
    assert f"forked from {parent.id} at step" in shown and "edited by a person" in shown

    assert other.start.settings["sampling"] == {**dict_of(parent, "sampling"), "temperature": 0.1}
    late = [s for s in other.steps.values() if s.input.sampling["temperature"] == 0.1]
    assert len(late) == len(other.steps) - sum(
        e.origin is not None and e.effect == "reply" for e in other.effects
    )
    for found in (plain, edited, other):
        records = [e.data for e in events_of(played, found.id) if e.kind == EFFECT]
        assert all(recorded_key(found.id, record) == record["key"] for record in records)


def dict_of(found: Trajectory, section: str) -> Mapping[str, Any]:
    values = found.start.settings[section]
    assert isinstance(values, dict)
    return values


async def test_a_fork_of_a_fork_can_be_replayed_as_well(played: Path) -> None:
    parent = first(played)
    async with opened(played) as dojo:
        child = await dojo.fork(parent.id, at=step_of_agent(parent, "critic"))
        grandchild = await dojo.fork(child.id, at=list(child.steps)[-1])
        for found in (child, grandchild):
            done = await dojo.replay(found.id)
            assert done.finished and done.copied == taken_over(found) > 0
    difference = diff(child, grandchild)
    assert difference.related == "fork" and difference.parts_at is None


@pytest.mark.row("C1")
@pytest.mark.row("C2")
def test_a_killed_fork_goes_on_without_repeating_anything(played: Path) -> None:
    parent = first(played)
    slow = write_script(played.parent / "script.json", latency_ms=700)
    command = [*CODOJO, "trajectories", "fork", parent.id, "--at", step_of_agent(parent, "tester")]
    log = played / "log"
    known = set(load_trajectories(log))
    try:
        with subprocess.Popen([*command, "--dojo", str(played)]) as process:
            while process.poll() is None:
                new = [t for id, t in load_trajectories(log).items() if id not in known]
                if new and sum(e.origin is None for e in new[0].effects) >= 1:
                    break
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
    finally:
        write_script(slow)
    (killed,) = (t for id, t in load_trajectories(log).items() if id not in known)
    assert killed.end is None
    codojo("trajectories", "fork", "--resume", "last", "--dojo", played)
    whole = load_trajectories(log)[killed.id]
    assert whole.end and whole.verdict and whole.verdict.passed
    events = events_of(played, killed.id)
    keys = [e.data["key"] for e in events if e.kind == EFFECT]
    assert len(keys) == len(set(keys)) and {e.key for e in killed.effects} <= set(keys)
    asked = [e.data["key"] for e in events if e.kind == ASKED]
    assert len(asked) - len(set(asked)) == whole.end.reasked
    assert not {e.key for e in killed.effects} & {k for k in asked if asked.count(k) > 1}


def test_steps_can_be_named_as_they_are_shown(played: Path) -> None:
    found = first(played)
    shown = codojo("trajectories", "show", found.id, "--dojo", played).stdout
    for number, key in enumerate((e.key for e in found.effects), 1):
        assert effect_at(found, key[:10]).key == key
        if f"\n{number}. coder asks" in shown:
            assert effect_at(found, str(number)).effect == "reply"
    with pytest.raises(LogError, match="has no step ''"):
        effect_at(found, "")
    digits = found.model_copy(
        update={"effects": [e.model_copy(update={"key": f"99{e.key}"}) for e in found.effects[:1]]}
    )
    with pytest.raises(LogError, match="has no step '99'"):
        effect_at(digits, "99")


def test_a_comparison_says_where_two_part_and_is_inert(played: Path) -> None:
    parent = first(played)
    evil = "\x1b[2J" + RIGHT
    reply = step_of_agent(parent, "coder")
    effects = []
    for effect in parent.effects:
        if effect.key == reply:
            output: Any = effect.output
            choice = {**output["choices"][0], "text": evil}
            effect = effect.model_copy(update={"output": {**output, "choices": [choice]}})
        effects.append(effect)
    other = parent.model_copy(update={"id": "OTHER\x1b[31m", "effects": tuple(effects[:-1])})
    same = diff(parent, parent)
    assert same.parts_at is None and same.same_code
    difference = diff(parent, other)
    parted = difference.pairs[difference.parts_at or 0]
    assert parted.outcome == "answered_differently" and parted.who == "coder"
    assert [pair.outcome for pair in difference.pairs].count("only_first") == 1
    text = render_difference(difference)
    assert (
        "\x1b" not in text and f"they part here, at step {(difference.parts_at or 0) + 1}" in text
    )
    done = codojo("trajectories", "diff", parent.id, parent.id, "--dojo", played)
    assert f"all {len(same.pairs)} steps are the same" in done.stdout
