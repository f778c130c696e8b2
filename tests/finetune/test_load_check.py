"""Adapters that must never reach an engine, one fault each."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from codojo.errors import AdapterRejected
from codojo.finetune.load_check import CheckResult, check_files, probe_changed, require
from codojo.finetune.recipe import Manifest, Recipe, adapter_name, file_hash, tokenizer_hash

RECIPE = Recipe(
    base="models/tiny",
    base_hash="ba5e" * 16,
    rows_hash="a0" * 32,
    rank=4,
    alpha=8,
    learning_rate=1e-3,
    epochs=1,
    max_steps=0,
    batch_size=4,
    max_length=64,
    seed=0,
)
LAYER = "base_model.model.model.layers.0.self_attn.q_proj"

Mutation = Callable[[Path], None]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    source = np.random.default_rng(0)
    write_weights(
        folder,
        {
            f"{LAYER}.lora_A.weight": source.normal(size=(4, 16)).astype(np.float32),
            f"{LAYER}.lora_B.weight": source.normal(size=(16, 4)).astype(np.float32),
        },
    )
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps({**config, "bias": "none"}))
    manifest = Manifest(
        recipe=RECIPE,
        recipe_hash=RECIPE.hash,
        tokenizer_hash=tokenizer_hash(base),
        weights_hash="",
        rows=4,
        too_long=0,
        steps=1,
        tokens=100,
        label_tokens=20,
        losses=(1.0,),
        seconds=1,
        resumed_at=0,
        accumulate=1,
        versions={},
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    sign(folder)
    return folder


def write_weights(folder: Path, tensors: dict[str, Any]) -> None:
    save_file(tensors, folder / "adapter_model.safetensors")


def sign(folder: Path) -> None:
    """Make the manifest agree with the weights, so that only the other checks can object."""
    path = folder / "manifest.json"
    digest = file_hash(folder / "adapter_model.safetensors")
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "weights_hash": digest}))


def checked(folder: Path, base: Path, recipe: Recipe = RECIPE) -> list[CheckResult]:
    return check_files(folder, base, RECIPE.base_hash, recipe)


def failing(folder: Path, base: Path) -> set[str]:
    return {result.name for result in checked(folder, base) if not result.ok}


def config(**changes: object) -> Mutation:
    def mutate(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))

    return mutate


def tensors(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Mutation:
    def mutate(folder: Path) -> None:
        write_weights(folder, change(load_file(folder / "adapter_model.safetensors")))
        sign(folder)

    return mutate


def header(make: Callable[[dict[str, Any]], Any], length: int | None = None) -> Mutation:
    """Rewrite the header of the weights, whose own length may be a lie."""

    def mutate(folder: Path) -> None:
        path = folder / "adapter_model.safetensors"
        raw = path.read_bytes()
        (size,) = struct.unpack("<Q", raw[:8])
        made = json.dumps(make(json.loads(raw[8 : 8 + size]))).encode()
        path.write_bytes(struct.pack("<Q", length or len(made)) + made + raw[8 + size :])
        sign(folder)

    return mutate


def test_a_sound_adapter_passes(adapter: Path, base: Path) -> None:
    results = checked(adapter, base)
    assert all(result.ok for result in results), results
    require(results, "all-1")


@pytest.mark.row("E6")
@pytest.mark.parametrize(
    ("mutate", "name"),
    [
        (tensors(lambda t: {k: v * ("lora_A" in k) for k, v in t.items()}), "weights"),
        (config(r=0), "config"),
        (config(lora_alpha=0), "config"),
    ],
)
def test_an_adapter_that_changes_nothing_is_rejected(
    adapter: Path, base: Path, mutate: Mutation, name: str
) -> None:
    mutate(adapter)
    assert failing(adapter, base) == {name}


@pytest.mark.row("E7")
@pytest.mark.parametrize(
    "change",
    [
        {"r": 8},
        {"lora_alpha": 16},
        {"peft_type": "IA3"},
        {"use_dora": True},
        {"use_rslora": True},
        {"bias": "all"},
        {"lora_bias": True},
        {"modules_to_save": ["norm"]},
        {"rank_pattern": {"q_proj": 32}},
        {"init_lora_weights": "pissa"},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": "all-linear"},
    ],
)
def test_what_engines_refuse_or_the_recipe_did_not_ask_for_is_rejected(
    adapter: Path, base: Path, change: dict[str, object]
) -> None:
    config(**change)(adapter)
    assert "config" in failing(adapter, base)


@pytest.mark.row("E7")
def test_another_base_tokenizer_or_recipe_is_rejected(adapter: Path, base: Path) -> None:
    names = {r.name for r in check_files(adapter, base, "0" * 64, RECIPE) if not r.ok}
    assert names == {"base"}
    (base / "chat_template.jinja").write_text("{{ messages }}")
    assert failing(adapter, base) == {"tokenizer"}
    other = RECIPE.model_copy(update={"seed": 1})
    assert "manifest" in {r.name for r in checked(adapter, base, other) if not r.ok}


@pytest.mark.row("E8")
@pytest.mark.parametrize(
    "mutate",
    [
        tensors(lambda t: {**t, "extra": np.ones(3, np.float32)}),
        tensors(lambda t: dict(list(t.items())[:1])),
        tensors(lambda t: {k: v.T.copy() for k, v in t.items()}),
        tensors(lambda t: {k: np.where(v == v.max(), np.nan, v) for k, v in t.items()}),
        tensors(lambda t: {k: np.where(v == v.max(), np.inf, v) for k, v in t.items()}),
        tensors(lambda t: {k: v.astype(np.float64) for k, v in t.items()}),
        header(lambda h: h, length=10**12),
        header(lambda h: [1, 2]),
        header(lambda h: {**h, "x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 8]}}),
        header(lambda h: {k: {**v, "data_offsets": [0, 256]} for k, v in h.items()}),
        header(lambda h: {k: {**v, "data_offsets": [-4, 252]} for k, v in h.items()}),
        header(lambda h: dict.fromkeys(h, 7)),
    ],
)
def test_damaged_weights_are_rejected_even_if_their_hash_agrees(
    adapter: Path, base: Path, mutate: Mutation
) -> None:
    mutate(adapter)
    assert failing(adapter, base) == {"weights"}


@pytest.mark.row("E8")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_a_flipped_bit_or_a_cut_anywhere_is_rejected(
    adapter: Path, base: Path, data: st.DataObject
) -> None:
    path = adapter / "adapter_model.safetensors"
    raw = path.read_bytes()
    at = data.draw(st.integers(0, len(raw) - 1))
    flipped = bytearray(raw)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        for damaged in (bytes(flipped), raw[:at]):
            path.write_bytes(damaged)
            assert "manifest" in failing(adapter, base)
        sign(adapter)
        assert "weights" in failing(adapter, base)
    finally:
        path.write_bytes(raw)
        sign(adapter)


@pytest.mark.row("E8")
@pytest.mark.parametrize("name", ["adapter_model.bin", "optimizer.pt", "x.py"])
def test_other_files_beside_the_weights_are_rejected(adapter: Path, base: Path, name: str) -> None:
    (adapter / name).write_bytes(b"\x80\x04N.")
    assert failing(adapter, base) == {"files"}


def test_links_and_missing_files_are_rejected(adapter: Path, base: Path, tmp_path: Path) -> None:
    weights = adapter / "adapter_model.safetensors"
    shutil.move(weights, tmp_path / "elsewhere")
    assert failing(adapter, base) == {"files", "manifest", "weights"}
    weights.symlink_to(tmp_path / "elsewhere")
    assert failing(adapter, base) == {"files"}
    assert failing(tmp_path / "nothing", base) == {
        "files",
        "manifest",
        "base",
        "tokenizer",
        "config",
        "weights",
    }


def test_all_reasons_are_told_at_once(adapter: Path, base: Path) -> None:
    config(r=8, use_dora=True)(adapter)
    (adapter / "x.bin").touch()
    with pytest.raises(AdapterRejected, match=r"'all-1'.*x\.bin.*r is 8.*use_dora"):
        require(checked(adapter, base), "all-1")


@pytest.mark.parametrize(
    ("base_logprobs", "adapter_logprobs", "ok"),
    [
        ([-1.0, -2.0], [-1.0, -2.5], True),
        ([-1.0, -2.0], [-1.0, -2.0], False),
        ([-1.0, -2.0], [-1.00001, -2.0], False),
        ([-1.0], [-1.0, -2.0], False),
        ([], [], False),
        ([-1.0], [float("nan")], False),
        ([-1.0], [float("-inf")], False),
    ],
)
def test_the_probe_wants_a_change_it_can_see(
    base_logprobs: list[float], adapter_logprobs: list[float], ok: bool
) -> None:
    assert probe_changed(base_logprobs, adapter_logprobs).ok is ok


@pytest.mark.row("E9")
def test_the_name_follows_weights_and_config_but_not_the_place(adapter: Path, base: Path) -> None:
    name = adapter_name(adapter, "coder")
    assert name.startswith("coder-")
    assert len(name) == len("coder-") + 12
    copy = shutil.copytree(adapter, adapter.with_name("copy"))
    assert adapter_name(copy, "coder") == name
    config(lora_alpha=4)(copy)
    assert adapter_name(copy, "coder") != name
    tensors(lambda t: {k: v * 2 for k, v in t.items()})(adapter)
    assert adapter_name(adapter, "coder") != name
