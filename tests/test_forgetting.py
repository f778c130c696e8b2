"""Forgetting and cleaning: afterwards no byte is left, and the rest is what it was."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from codojo.cleaning import clean
from codojo.errors import AdapterRejected, Busy, LogError
from codojo.finetune.recipe import MANIFEST, Manifest, Recipe
from codojo.forgetting import forget
from codojo.graphs.replay import replay
from codojo.serving.registry import AdapterRegistry
from codojo.settings import RedactionSettings
from codojo.trajectories.byte_search import search
from codojo.trajectories.forget import FORGOTTEN, without_quotes
from codojo.trajectories.log import Log, read_log
from codojo.trajectories.redact import Redactor
from codojo.trajectories.schema import load_trajectories
from codojo.trajectories.verify import verify
from tests.canaries import canaries, squeezed
from tests.scripts import run_settings

SECRET = canaries(31)[2]
OURS = "def ours(x):  # Jane Doe of 12 Example Street wrote this one"
THEIRS = "def theirs(x):  # an answer that must stay as it was said"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dojo with a run of two rollouts and a run on a request, logged with redaction off."""
    folder = tmp_path_factory.mktemp("played")
    note = f"It was made for the account {SECRET.secret} at first."
    script = {
        "rules": [
            {"match": r"\bours\(", "replies": [f"{note}\n```python\n{OURS}\n    return x\n```"]},
            {"match": r"\btheirs\(", "replies": [f"```python\n{THEIRS}\n    return x\n```"]},
            {"match": "", "replies": ["nothing of note"]},
        ]
    }
    (folder / "script.json").write_text(json.dumps(script))
    rows = [task("ours"), task("theirs")]
    (folder / "pair.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = run_settings(folder / "script.json")
    for what in (folder / "pair.jsonl", "Write ours(x) for the client Mallory Quarterstaff."):
        codojo("run", what, "--dojo", folder / "d", "--graph", "team", "--samples", 1, *settings)
    return folder / "d"


def task(name: str) -> dict[str, str]:
    return {
        "task_id": name,
        "family": name,
        "prompt": f'def {name}(x):\n    """The very particular task of {name}, at some length."""\n',
        "entry_point": name,
        "test": "def check(candidate):\n    assert candidate(2) == 2\n",
    }


def codojo(*args: object, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "codojo", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"CODOJO_REDACTION__ENABLED": "false"},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def dojo(played: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(played, tmp_path / "d"))


def rollouts(dojo: Path) -> dict[str, str]:
    """Ids by task; the request is `request`."""
    found = load_trajectories(dojo / "log")
    return {t.brief.task_id.partition("-")[0]: id for id, t in found.items()}


def events_of(dojo: Path, rollout: str) -> list[Any]:
    return [event.data for event in read_log(dojo / "log") if event.rollout == rollout]


def everything(dojo: Path) -> bytes:
    return b"\n".join(p.read_bytes() for p in dojo.rglob("*") if p.is_file())


def adapter(dojo: Path, name: str, of: tuple[str, ...]) -> AdapterRegistry:
    """An adapter that was trained on rows of those rollouts."""
    recipe = Recipe(
        base="b",
        base_hash="b",
        rows_hash="r",
        rank=8,
        alpha=16,
        learning_rate=1.0,
        epochs=1,
        max_steps=0,
        batch_size=1,
        max_length=64,
        seed=0,
    )
    made = Manifest(
        recipe=recipe,
        recipe_hash=recipe.hash,
        tokenizer_hash="t",
        weights_hash="w",
        rows=1,
        too_long=0,
        steps=1,
        tokens=1,
        label_tokens=1,
        losses=(),
        seconds=0,
        resumed_at=0,
        accumulate=1,
        versions={},
        rollouts=of,
    )
    folder = dojo / "made" / name
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text(made.model_dump_json())
    registry = AdapterRegistry(dojo / "adapters", dojo / "log")
    registry.add(folder, name)
    shutil.rmtree(dojo / "made")
    return registry


@pytest.mark.row("F17")
def test_a_forgotten_rollout_leaves_its_id_and_no_other_byte(dojo: Path) -> None:
    ids = rollouts(dojo)
    before = events_of(dojo, ids["theirs"])
    page = dojo / "reports" / load_trajectories(dojo / "log")[ids["ours"]].start.run / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f"<pre>{OURS}</pre>")
    codojo("trajectories", "list", "--dojo", dojo)  # makes the index
    planned = forget(dojo, [ids["ours"]], dry_run=True)
    assert OURS.encode() in everything(dojo), "a dry run changes nothing"
    done = forget(dojo, [ids["ours"]])
    assert done.doomed.rollouts == planned.doomed.rollouts == (ids["ours"],)
    assert done.is_proved and done.searched and done.searched.files > 3
    assert len(done.proof.lines) > 3
    left = everything(dojo)
    assert b"particular task of ours" not in left and not page.exists()
    assert events_of(dojo, ids["theirs"]) == before
    tombs = [event.data for event in read_log(dojo / "log") if event.kind == FORGOTTEN]
    assert tombs == [{"id": ids["ours"]}]
    assert verify(dojo / "log").is_sound


@pytest.mark.row("F17")
def test_what_was_asked_in_words_goes_with_its_rollout(dojo: Path) -> None:
    forget(dojo, [rollouts(dojo)["request"]])
    assert b"Quarterstaff" not in everything(dojo)
    assert "2 of 2 rollouts" in codojo("trajectories", "list", "--dojo", dojo)


@pytest.mark.row("F17")
def test_every_rollout_that_holds_a_text_is_forgotten(dojo: Path) -> None:
    ids = rollouts(dojo)
    said = codojo("trajectories", "forget", "--match", "Jane Doe of 12", "--yes", "--dojo", dojo)
    assert "nothing is left" in said
    assert b"Jane Doe" not in everything(dojo)
    assert set(rollouts(dojo)) == {"theirs"} and ids["theirs"] in load_trajectories(dojo / "log")


def test_nothing_is_forgotten_without_a_yes(dojo: Path) -> None:
    before = everything(dojo)
    codojo("trajectories", "forget", rollouts(dojo)["ours"], "--dojo", dojo, code=2)
    assert everything(dojo) == before
    with pytest.raises(LogError, match="no rollouts or runs start with 'nobody'"):
        forget(dojo, ["nobody"])
    with pytest.raises(LogError, match="too short"):
        forget(dojo, match="x")


def test_forgetting_waits_for_no_writer_and_changes_nothing_then(dojo: Path) -> None:
    with Log(dojo / "log"):
        before = everything(dojo)
        with pytest.raises(Busy, match=str(os.getpid())):
            forget(dojo, [rollouts(dojo)["ours"]])
        assert everything(dojo) == before


def test_a_file_that_nobody_knows_of_is_named(dojo: Path) -> None:
    copy = dojo / "my-notes.txt"
    copy.write_text(f"look at this: {OURS}\n")
    ids = rollouts(dojo)
    done = forget(dojo, [ids["ours"], ids["request"]])
    assert not done.is_proved
    assert done.searched and list(done.searched.left) == [copy]


def test_adapters_that_learnt_from_it_are_retired_and_the_champion_rolled_back(dojo: Path) -> None:
    ids = rollouts(dojo)
    registry = adapter(dojo, "all-clean", (ids["theirs"],))
    adapter(dojo, "all-learnt", (ids["ours"], ids["theirs"]))
    with Log(dojo / "log") as log:
        registry.promote("all-clean", log, expected=None, reason="gate")
        registry.promote("all-learnt", log, expected="all-clean", reason="gate")
    done = forget(dojo, [ids["ours"]])
    assert done.adapters == ("all-learnt",) and done.champion == "all-clean"
    assert registry.champion() == "all-clean" and registry.retired() == {"all-learnt"}
    (dojo / "adapters" / "retired.json").unlink()
    registry.rebuild()
    with Log(dojo / "log") as log, pytest.raises(AdapterRejected, match="retired"):
        registry.promote("all-learnt", log, expected="all-clean", reason="again")


def test_an_adapter_of_an_older_codojo_counts_where_its_run_had_the_rollout(dojo: Path) -> None:
    ids = rollouts(dojo)
    run = load_trajectories(dojo / "log")[ids["ours"]].start.run
    adapter(dojo, "all-older", ())
    with Log(dojo / "log") as log:
        made = {"key": "k", "path": [], "nth": 0, "effect": "train", "input": 1}
        log.append("effect", made | {"output": {"name": "all-older"}}, run).result()
    assert forget(dojo, [ids["ours"]], dry_run=True).adapters == ("all-older",)
    assert forget(dojo, [ids["request"]], dry_run=True).adapters == ()


def test_what_memory_learnt_and_what_others_quoted_from_it_goes_too(dojo: Path) -> None:
    ids = rollouts(dojo)
    quoted = (
        "Recalled.\n\nAn earlier task and its solution (rollout {id}; coder on m; similarity 0.9):\n"
        f"```text\nthe task of {{id}}\n```\n````python\n{OURS}\n```\nx\n````\n"
        "\nA rule of the team's manual (rollout other; coder on m):\n```text\nKeep this rule.\n```\n"
    ).format(id=ids["ours"])
    with Log(dojo / "log") as log:
        entry = {"provenance": {"rollout": ids["ours"]}, "code": OURS}
        log.append("memory_written", {"kind": "exemplar", "id": "e" * 64, "entry": entry}).result()
        record = events_of(dojo, ids["theirs"])[2]
        log.append("effect", {**record, "key": "q", "input": quoted}, ids["theirs"]).result()
    done = forget(dojo, [ids["ours"], ids["request"]])
    assert done.memories == ("exemplar eeeeeeeeeeee",)
    left = everything(dojo)
    assert OURS.encode() not in left and b"Keep this rule." in left
    assert without_quotes(quoted, "nobody") == quoted


def test_a_second_call_after_a_crash_finishes_what_the_first_began(dojo: Path) -> None:
    ids = rollouts(dojo)
    with Log(dojo / "log") as log:  # as far as a crash before the rewrite leaves it
        log.append(FORGOTTEN, {"id": ids["ours"]}).result()
    assert forget(dojo, [ids["ours"]]).is_proved
    again = forget(dojo, [ids["ours"]])
    assert again.is_proved and not again.events
    assert sum(event.kind == FORGOTTEN for event in read_log(dojo / "log")) == 1


@pytest.mark.row("H13")
async def test_secrets_that_were_logged_are_cleaned_and_the_rollout_can_still_be_replayed(
    dojo: Path,
) -> None:
    ids = rollouts(dojo)
    assert SECRET.secret.encode() in everything(dojo)
    planned = clean(dojo, Redactor(), dry_run=True)
    assert SECRET.secret.encode() in everything(dojo), "a dry run changes nothing"
    untouched = events_of(dojo, ids["theirs"])
    done = clean(dojo, Redactor())
    assert done.findings == planned.findings and set(done.findings) == {"github-token"}
    assert set(done.rollouts) == {ids["ours"], ids["request"]} and not done.left
    assert SECRET.secret not in squeezed(everything(dojo).decode("utf-8", "replace"))
    assert events_of(dojo, ids["theirs"]) == untouched
    trajectory = load_trajectories(dojo / "log")[ids["ours"]]
    choices = [c for step in trajectory.steps.values() for c in step.output.choices]
    assert all(c.token_ids is None and not c.token_exact for c in choices)
    events = [event for event in read_log(dojo / "log") if event.rollout == ids["ours"]]
    replayed = await replay(ids["ours"], events)
    assert replayed.verdict == "passed" and replayed.keys > 3
    assert clean(dojo, Redactor()).events == 0
    assert verify(dojo / "log").is_sound


def test_cleaning_says_what_it_needs(dojo: Path) -> None:
    said = codojo("trajectories", "clean", "--dojo", dojo, code=2)
    assert not said, "redaction is off in this environment"
    off = Redactor(RedactionSettings(enabled=False))
    assert clean(dojo, off).events == 0


def test_a_search_finds_a_text_however_it_is_written(tmp_path: Path) -> None:
    from base64 import b64encode
    from html import escape

    import zstandard

    text = 'He said "no", & left <early> for Zürich'
    ways = {
        "plain": text.encode(),
        "json": json.dumps({"x": text}).encode(),
        "html": escape(text, quote=False).replace('"', "&#34;").encode(),
        "packed.zst": zstandard.ZstdCompressor().compress(text.encode()),
        **{f"base64-{n}": b64encode(b"-" * n + text.encode() + b"!?") for n in range(3)},
    }
    for name, data in ways.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "other").write_bytes(b"nothing of it")
    found = search(tmp_path, [text], base64=[text])
    assert {path.name for path in found.left} == set(ways)
    assert found.files == len(ways) + 1
