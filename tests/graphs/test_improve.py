"""The loop, with a scripted engine that has a known chance of success and a real trainer on a tiny model."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from codojo.graphs.improve_report import REPORT
from codojo.graphs.policies import spread
from codojo.serving.registry import PROMOTION
from codojo.tasks.katas import load_katas
from codojo.trajectories.journal import ASKED, EFFECT
from codojo.trajectories.log import Event, read_log
from codojo.trajectories.schema import load_trajectories
from tests.scripts import kata_script, run_settings

CODOJO = [sys.executable, "-m", "codojo"]
SIZES = ("--train-tasks", "6", "--gate-tasks", "24", "--held-out-tasks", "6", "--samples", "4")
SHORT = (
    *("--held-out-samples", "2", "--set", "gate.samples=2", "--set", "gate.guard_samples=1"),
    *(
        "--set",
        "gate.guard_questions=4",
        "--set",
        "train.max_steps=3",
        "--set",
        "train.batch_size=2",
    ),
    *("--set", "train.max_length=2048"),
)


def script(path: Path, tiny: Path, *, adapter: float) -> Path:
    """A base that passes 30 % of its answers, and adapters with a chance of their own."""
    katas = load_katas()
    tasks = [
        *spread(katas.split("train"), 6),
        *spread(katas.split("gate"), 24),
        *spread(katas.split("held_out"), 6),
    ]
    kata_script(path, tasks, p_pass=0.3, model_path=str(tiny))
    data = json.loads(path.read_text())
    for rule in data["rules"]:
        if "p_pass" in rule:
            rule["p_pass_by_model"] = {"all-": adapter}
    path.write_text(json.dumps(data))
    return path


def improve(dojo: Path, script: Path, *more: str) -> list[str]:
    return [
        *CODOJO,
        *("improve", "--suite", "katas", "--dojo", str(dojo), "--json"),
        *SIZES,
        *SHORT,
        *run_settings(script),
        *more,
    ]


def run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def of_kind(dojo: Path, kind: str) -> list[Event]:
    return [event for event in read_log(dojo / "log") if event.kind == kind]


def test_a_better_adapter_is_promoted_measured_and_can_be_rolled_back(
    tmp_path: Path, tiny: Path
) -> None:
    dojo = tmp_path / "d"
    report = run(
        improve(
            dojo, script(tmp_path / "s.json", tiny, adapter=0.95), "--set", "memory.enabled=true"
        )
    )
    (done,) = report["rounds"]
    assert done["outcome"] == "promoted" and report["champion"] == done["adapter"]
    assert (
        done["gate"]["p"] <= done["gate"]["alpha"] == pytest.approx(0.05 * 6 / 3.14159**2, rel=1e-3)
    )
    assert all(check[1] for check in done["checks"]), done["checks"]
    assert done["rehearsed"] > 0 and done["training"]["rows"] == done["rows"] + done["rehearsed"]
    assert done["memory"]["entries"] > 0
    after = sum(score["passed"] for score in report["after"]["scores"])
    assert after > sum(score["passed"] for score in report["before"]["scores"])
    page = Path(report["page"]).read_text()
    assert done["adapter"] in page and "bubblewrap" in page
    assert len(of_kind(dojo, PROMOTION)) == 1
    rollouts = load_trajectories(dojo / "log")
    replayed = run(
        [*CODOJO, "trajectories", "replay", report["run"], "--dojo", str(dojo), "--json"]
    )
    assert len(replayed["replayed"]) == len(rollouts) and not replayed["diverged"]
    by_adapter = next(t for t in rollouts.values() if t.start.stage == "round-1/gate-candidate")
    fork = [
        *CODOJO,
        "trajectories",
        "fork",
        by_adapter.id,
        "--at",
        "1",
        "--dojo",
        str(dojo),
        "--json",
    ]
    for model, name in (("base", "scripted"), (done["adapter"], done["adapter"])):
        id = run([*fork, "--model", model])["id"]
        forked = load_trajectories(dojo / "log")[id]
        assert forked.start.models == {"all": name} and forked.brief == by_adapter.brief
    rolled = subprocess.run(
        [*CODOJO, "models", "rollback", "--dojo", str(dojo)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "the base model" in rolled.stdout
    again = subprocess.run(
        [*CODOJO, "models", "rollback", "--dojo", str(dojo)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode != 0 and "nothing to roll back" in again.stderr


@pytest.mark.row("E14")
def test_a_worse_adapter_is_refused_with_reasons(tmp_path: Path, tiny: Path) -> None:
    report = run(improve(tmp_path / "d", script(tmp_path / "s.json", tiny, adapter=0.1)))
    (done,) = report["rounds"]
    assert done["outcome"] == "refused" and report["champion"] is None
    assert report["after"] is None and done["reason"]
    assert not of_kind(tmp_path / "d", PROMOTION)


@pytest.mark.row("C1")
@pytest.mark.parametrize(
    "stage",
    [
        pytest.param("round-1/solve", marks=pytest.mark.slow),
        "round-1/train",
        pytest.param("round-1/gate-candidate", marks=pytest.mark.slow),
    ],
)
def test_kill_9_of_the_loop_and_resume_repeats_nothing(
    tmp_path: Path, tiny: Path, stage: str
) -> None:
    dojo = tmp_path / "d"
    command = improve(dojo, script(tmp_path / "s.json", tiny, adapter=0.95))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not _reached(dojo, stage):
            time.sleep(0.05)
        process.kill()
    before = {e.data["key"] for e in of_kind(dojo, EFFECT)}
    assert not of_kind(dojo, REPORT), "it was killed before it had finished"
    report = run([*CODOJO, "improve", "--resume", "last", "--dojo", str(dojo), "--json"])
    assert report["rounds"][0]["outcome"] == "promoted"
    keys = Counter(e.data["key"] for e in of_kind(dojo, EFFECT))
    assert max(keys.values()) == 1 and before <= set(keys)
    asked = Counter(e.data["key"] for e in of_kind(dojo, ASKED))
    assert not before & {key for key, count in asked.items() if count > 1}
    assert len(of_kind(dojo, PROMOTION)) == 1


def _reached(dojo: Path, stage: str) -> bool:
    """Whether a stage has begun: a rollout of it, or for the training the effect's question."""
    for event in read_log(dojo / "log"):
        if event.kind == "rollout_started" and event.data["stage"] == stage:
            return True
        if stage.endswith("train") and event.kind == ASKED and event.data["effect"] == "train":
            return True
    return False
