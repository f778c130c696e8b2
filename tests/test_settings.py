"""Settings: five sources, one order, and a clear word about what is wrong."""

import os
from pathlib import Path

import pytest

from codojo.errors import SettingsError
from codojo.settings import EngineSettings, load, secrets_of_environment


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


def test_values_of_the_environment_that_are_secret_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    (tmp_path / "key.pem").write_text("")
    environment = {
        "GITHUB_TOKEN": "g1thub-t0ken",
        "MYAPIKEY": "k3y-of-mine",
        "AWS_SECRET_ACCESS_KEY_PROD": "aws/s3cret",
        "DB_PASSWORD": "correcthorsebattery",
        "TOKENIZERS_PARALLELISM": "false-as-ever1",
        "SSH_KEY": str(tmp_path / "key.pem"),
        "SECRET_SANTA_TOKEN": "yes",
        "TOKEN_LIMIT": "100000",
        "SIGNING_KEY": "username",
        "PWD": "/here/2",
        "OUTSIDE": "the-engines-own-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    engine = EngineSettings(url="https://me:p%40ss-w0rd@host/v1", key_env="OUTSIDE")
    assert set(secrets_of_environment(engine)) == {
        "g1thub-t0ken",
        "k3y-of-mine",
        "aws/s3cret",
        "correcthorsebattery",
        "the-engines-own-1",
        "p%40ss-w0rd",
        "p@ss-w0rd",
    }
