"""Settings: five sources, one order, and a clear word about what is wrong."""

from pathlib import Path

import pytest

from codojo.errors import SettingsError
from codojo.settings import load


def test_the_stronger_source_wins_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = tmp_path / "user.toml"
    user.write_text("[team]\nsamples = 2\nrepairs = 2\n[gate]\nsamples = 5\n")
    (tmp_path / "codojo.toml").write_text("[team]\nsamples = 3\n")
    settings, sources = load(tmp_path, user_file=user)
    assert (settings.team.samples, settings.team.repairs, settings.gate.samples) == (3, 2, 5)
    monkeypatch.setenv("CODOJO_TEAM__SAMPLES", "4")
    settings, sources = load(tmp_path, user_file=user)
    assert settings.team.samples == 4 and sources["team.samples"] == "environment"
    settings, sources = load(tmp_path, {"team.samples": "5"}, user_file=user)
    assert settings.team.samples == 5 and sources["team.samples"] == "command line"
    assert sources["team.repairs"] == str(user) and "sampling.top_p" not in sources


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[team]\nsample = 3\n", "team.sample"),
        ("[teem]\nsamples = 3\n", "teem"),
        ("[team]\nsamples = 0\n", "team.samples"),
        ("team = 3\n", "no section"),
        ("[team\n", "cannot read"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_place(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "codojo.toml").write_text(text)
    with pytest.raises(SettingsError, match=said):
        load(tmp_path, user_file=tmp_path / "none.toml")


def test_a_variable_of_no_section_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODOJO_TAEM__SAMPLES", "4")
    with pytest.raises(SettingsError, match="CODOJO_TAEM__SAMPLES"):
        load(tmp_path)
