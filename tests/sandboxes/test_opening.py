"""From the setting `sandbox.backend` to a sandbox, with and without what it needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from codojo.errors import SandboxError, SettingsError
from codojo.sandboxes import Sandbox, open_sandbox
from codojo.sandboxes.plain import Plain
from codojo.settings import SandboxSettings

ROOT = Path(__file__).parents[2]
PROVIDER = """
from codojo.sandboxes import Limits
from codojo.sandboxes.plain import Plain
def provided(settings):
    opened = Plain(Limits.of(settings))
    opened.provided = True
    return opened
"""


def install(place: Path, entry_points: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution that has these entry points, found from now on."""
    metadata = place / "provider-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: provider\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[codojo.sandboxes]\n{entry_points}\n")
    (place / "codojo_provider.py").write_text(PROVIDER)
    monkeypatch.syspath_prepend(str(place))


def test_unknown_backend_is_told_which_there_are() -> None:
    with pytest.raises(SettingsError, match="'bubblewarp', and there is only: bubblewrap, docker"):
        open_sandbox(SandboxSettings(backend="bubblewarp"))


def test_backend_of_another_package_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "theirs = codojo_provider:provided", monkeypatch)
    opened: Sandbox = open_sandbox(SandboxSettings(backend="theirs", wall_s=3))
    assert getattr(opened, "provided", False)
    assert opened.limits.wall_s == 3
    with pytest.raises(SettingsError, match="none, theirs"):
        open_sandbox(SandboxSettings(backend="others"))


def test_nobody_takes_over_a_name_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "none = codojo_provider:provided", monkeypatch)
    opened = open_sandbox(SandboxSettings(backend="none", unsafe_no_sandbox=True))
    assert isinstance(opened, Plain)
    assert not hasattr(opened, "provided")


def test_backend_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "broken = codojo_provider_2:provided", monkeypatch)
    with pytest.raises(SandboxError, match=r"'broken'.*codojo_provider_2.*reinstall"):
        open_sandbox(SandboxSettings(backend="broken"))


@pytest.mark.row("A40")
def test_machine_without_a_container_engine_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    with pytest.raises(SandboxError, match=f"no container engine answers.*{tmp_path}.*DOCKER_HOST"):
        open_sandbox(SandboxSettings(backend="docker"))


@pytest.mark.row("A40")
def test_installation_without_the_package_docker_is_told_what_to_do() -> None:
    code = (
        "import sys; sys.modules['docker'] = None\n"
        "from codojo.sandboxes import open_sandbox\n"
        "from codojo.settings import SandboxSettings\n"
        "open_sandbox(SandboxSettings(backend='docker'))"
    )
    path = os.pathsep.join([str(ROOT), *sys.path])
    ran = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True
    )
    assert b'pip install "codojo[docker]"' in ran.stderr
