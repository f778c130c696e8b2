"""Naming and finding models, without converting one."""

import json
import os
from pathlib import Path

import pytest

from codojo.errors import SettingsError
from codojo.serving.embedded import model_hash, resolve_model


def model(folder: Path, config: dict[str, object], weights: bytes) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_hash_names_what_a_model_computes(tmp_path: Path) -> None:
    first = model(tmp_path / "a", {"hidden_size": 8, "transformers_version": "5.1"}, b"weights")
    moved = model(tmp_path / "b", {"transformers_version": "5.2", "hidden_size": 8}, b"weights")
    other = model(tmp_path / "c", {"hidden_size": 8}, b"other")
    wider = model(tmp_path / "d", {"hidden_size": 16}, b"weights")
    assert model_hash(first) == model_hash(moved)
    assert len({model_hash(path) for path in (first, other, wider)}) == 3


def test_kept_hash_is_dropped_when_weights_change(tmp_path: Path) -> None:
    path = model(tmp_path / "a", {}, b"weights")
    before = model_hash(path)
    (path / "model.safetensors").write_bytes(b"WEIGHTS")
    os.utime(path / "model.safetensors", ns=(1, 1))
    assert model_hash(path) != before


def test_folder_without_a_model_is_refused_and_a_hub_name_is_not(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no config\.json"):
        resolve_model(str(tmp_path))
    with pytest.raises(SettingsError, match=r"no config\.json"):
        resolve_model("./nowhere")
    assert resolve_model("someone/some-model") == "someone/some-model"
    assert resolve_model(str(model(tmp_path / "m", {}, b""))) == tmp_path / "m"
