"""The check that an adapter must pass before any engine is asked to load it.

Nothing is unpickled and no tensor library is loaded: the safetensors header is read and bounded by
hand, and the numbers by NumPy.
"""

import json
import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codojo.errors import AdapterRejected
from codojo.finetune.recipe import (
    CONFIG,
    MANIFEST,
    WEIGHTS,
    Manifest,
    Recipe,
    file_hash,
    tokenizer_hash,
)

MAX_HEADER = 16 * 2**20
MAX_JSON = 2**20
UNSERVED_LAYERS = {"lm_head", "embed_tokens", "wte", "score"}
"""Output and embedding layers: vLLM drops what an adapter adds to them from prompt log-probabilities."""

SERVED_INITS = (True, False, "gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""What vLLM 0.32 accepts as `init_lora_weights`."""

UNSERVED_FEATURES = (
    "use_dora",
    "use_rslora",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
)
"""What vLLM refuses, or what would change the adapter's rank or scale behind the recipe's back."""

TENSOR = re.compile(r"\.(\w+)\.lora_([AB])\.weight$")

MIN_LOGPROB_CHANGE = 1e-4


class CheckResult(NamedTuple):
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


class Unsound(Exception):
    """An adapter file is not what it has to be."""


def check_files(
    folder: Path, base_path: Path | str, base_hash: str, recipe: Recipe
) -> list[CheckResult]:
    """What can be known of an adapter without loading it.

    Args:
        base_path: Folder of the base model that the engine serves, or its hub name.
        base_hash: What `codojo.serving.embedded.model_hash` says of it.
        recipe: What the adapter should have been trained with.

    Returns:
        One result for each of `files`, `manifest`, `base`, `tokenizer`, `config`, `weights`, in this
        order; `ok` for all is needed.
    """
    manifest = _manifest(folder)
    return [
        _result("files", _files, folder),
        _result("manifest", _made_as_said, folder, manifest, recipe),
        _result("base", _base, manifest, base_hash),
        _result("tokenizer", _tokenizer, manifest, base_path),
        _result("config", _config, folder, recipe),
        _result("weights", _weights, folder, recipe),
    ]


def probe_changed(base_logprobs: Sequence[float], adapter_logprobs: Sequence[float]) -> CheckResult:
    """Whether the engine answers otherwise with the adapter than without it.

    Args:
        base_logprobs: Log-probabilities that the base model gives to the tokens of a fixed text.
        adapter_logprobs: Those that the adapter gives to the same tokens.
    """
    if not base_logprobs or len(base_logprobs) != len(adapter_logprobs):
        sizes = f"{len(base_logprobs)} tokens of the base, {len(adapter_logprobs)} of the adapter"
        return CheckResult(
            "probe", False, f"the engine returned {sizes}; need the same, at least 1"
        )
    if not all(map(math.isfinite, (*base_logprobs, *adapter_logprobs))):
        return CheckResult(
            "probe", False, "the engine returned log-probabilities that are no numbers"
        )
    change = max(abs(a - b) for a, b in zip(base_logprobs, adapter_logprobs, strict=True))
    if change < MIN_LOGPROB_CHANGE:
        return CheckResult(
            "probe", False, "the engine answers with the adapter exactly as without it"
        )
    return CheckResult("probe", True, f"log-probabilities change by up to {change:.3g}")


def require(results: Sequence[CheckResult], name: str) -> None:
    """Pass, or say everything that is wrong with the adapter of that name.

    Raises:
        AdapterRejected: With all the reasons at once.
    """
    bad = [f"{result.name}: {result.detail}" for result in results if not result.ok]
    if bad:
        raise AdapterRejected(
            f"adapter '{name}' may not be loaded; {'; '.join(bad)}. Train it again, or remove it"
        )


def _result(name: str, check: Any, *args: Any) -> CheckResult:
    try:
        return CheckResult(name, True, check(*args))
    except (Unsound, OSError, ValueError, KeyError, TypeError, RecursionError) as err:
        return CheckResult(name, False, str(err) or type(err).__name__)


def _manifest(folder: Path) -> Manifest | None:
    try:
        return Manifest.model_validate(_read_json(folder / MANIFEST))
    except (Unsound, OSError, ValueError, RecursionError):
        return None


def _files(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    if missing := {WEIGHTS, CONFIG, MANIFEST} - set(names):
        raise Unsound(f"{', '.join(sorted(missing))} missing")
    if extra := set(names) - {WEIGHTS, CONFIG, MANIFEST}:
        raise Unsound(
            f"{', '.join(sorted(extra))} does not belong here; only safetensors is loaded"
        )
    if links := [name for name in names if (folder / name).is_symlink()]:
        raise Unsound(f"{', '.join(links)} is a link and may change later")
    return ", ".join(names)


def _made_as_said(folder: Path, manifest: Manifest | None, recipe: Recipe) -> str:
    if manifest is None:
        raise Unsound(f"{MANIFEST} is missing or cannot be read")
    if not manifest.recipe_hash == manifest.recipe.hash == recipe.hash:
        raise Unsound(f"made by recipe {manifest.recipe_hash[:12]}, expected {recipe.hash[:12]}")
    if file_hash(folder / WEIGHTS) != manifest.weights_hash:
        raise Unsound("the weights are not the ones that were trained: their hash differs")
    if manifest.steps < 1:
        raise Unsound("trained for no steps")
    return f"recipe {recipe.hash[:12]}, {manifest.steps} steps"


def _base(manifest: Manifest | None, base_hash: str) -> str:
    trained_on = manifest.recipe.base_hash if manifest else "an unknown base"
    if trained_on != base_hash:
        raise Unsound(
            f"trained on base {trained_on[:12]} but the engine serves {base_hash[:12]}; start the "
            "engine with that base or pick another adapter"
        )
    return base_hash[:12]


def _tokenizer(manifest: Manifest | None, base_path: Path | str) -> str:
    served = tokenizer_hash(base_path)
    trained_with = manifest.tokenizer_hash if manifest else "an unknown tokenizer"
    if trained_with != served:
        raise Unsound(f"trained with tokenizer {trained_with[:12]}, the base has {served[:12]}")
    return served[:12]


def _config(folder: Path, recipe: Recipe) -> str:
    """The rules of vLLM 0.32 for adapters, and those of the recipe."""
    config = _read_json(folder / CONFIG)
    wanted: dict[str, Any] = {"peft_type": "LORA", "r": recipe.rank, "lora_alpha": recipe.alpha}
    wrong = [
        f"{key} is {config.get(key)!r}, must be {value!r}"
        for key, value in wanted.items()
        if config.get(key) != value
    ]
    # Values that are None, empty or false leave a feature off; engines refuse each of these.
    wrong += [f"{key} is not supported" for key in UNSERVED_FEATURES if config.get(key)]
    if config.get("bias", "none") != "none":
        wrong.append("bias must be 'none'")
    if config.get("init_lora_weights", True) not in SERVED_INITS:
        wrong.append(f"init_lora_weights {config['init_lora_weights']!r} is not served")
    targets = config.get("target_modules")
    if not isinstance(targets, list) or not targets or UNSERVED_LAYERS & set(map(_layer, targets)):
        wrong.append(f"target_modules {targets!r} are no list of inner layers")
    if wrong:
        raise Unsound("; ".join(wrong))
    return f"rank {recipe.rank} on {', '.join(sorted(set(map(_layer, targets or ()))))}"


def _layer(target: object) -> str:
    """The layer's own name: PEFT names targets by it, or in small models by their whole path."""
    return str(target).rpartition(".")[2]


def _weights(folder: Path, recipe: Recipe) -> str:
    targets = {_layer(target) for target in _read_json(folder / CONFIG)["target_modules"]}
    square = 0.0
    found: dict[str, set[str]] = {"A": set(), "B": set()}
    for name, tensor in read_tensors(folder / WEIGHTS):
        kind = TENSOR.search(name)
        if kind is None or kind[1] not in targets:
            raise Unsound(f"{name} belongs to none of the target modules")
        if tensor.ndim != 2 or tensor.shape[kind[2] == "B"] != recipe.rank:
            raise Unsound(
                f"{name} has shape {list(tensor.shape)}, which is not of rank {recipe.rank}"
            )
        if not np.isfinite(tensor).all():
            raise Unsound(f"{name} holds numbers that are not finite")
        found[kind[2]].add(name[: kind.start(2)])
        if kind[2] == "B":
            square += float(np.square(tensor, dtype=np.float64).sum())
    if lone := found["A"] ^ found["B"]:
        raise Unsound(f"{min(lone)}... has no partner")
    if square == 0:
        raise Unsound("all of lora_B is zero or missing, so the adapter changes nothing")
    return f"{len(found['B'])} layers, norm of lora_B {math.sqrt(square):.3g}"


def read_tensors(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Each tensor of a safetensors file, after its header was found to describe exactly the file.

    Raises:
        Unsound: If the file is truncated, is no safetensors file, or its header claims what the
            file does not hold.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if length > min(MAX_HEADER, size - 8):
            raise Unsound(f"{path.name} is no safetensors file: header of {length} bytes in {size}")
        header = json.loads(stream.read(length))
        if not isinstance(header, dict):
            raise Unsound(f"the header of {path.name} is no table")
        header.pop("__metadata__", None)
        end = 0
        for name, entry in sorted(header.items(), key=lambda item: _span(item[1])):
            start, stop = _span(entry)
            dtype = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}.get(entry["dtype"])
            if dtype is None:
                raise Unsound(f"{name} has type {entry['dtype']}, which no adapter has")
            count = math.prod(entry["shape"])
            if start != end or stop - start != count * np.dtype(dtype).itemsize:
                raise Unsound(f"{name} does not lie where the header of {path.name} says")
            if 8 + length + stop > size:
                raise Unsound(f"{path.name} is cut off: {name} ends beyond it")
            raw = np.frombuffer(stream.read(stop - start), dtype).reshape(entry["shape"])
            end = stop
            yield name, _float32(raw) if entry["dtype"] == "BF16" else raw
        if 8 + length + end != size:
            raise Unsound(f"{path.name} has bytes that its header does not name")


def _span(entry: Any) -> tuple[int, int]:
    match entry:
        case {"dtype": str(), "shape": list(shape), "data_offsets": [int(start), int(stop)]}:
            if 0 <= start <= stop and all(isinstance(n, int) and n >= 0 for n in shape):
                return start, stop
    raise Unsound(f"the header holds {str(entry)[:80]}, which describes no tensor")


def _float32(bfloat16: NDArray[Any]) -> NDArray[Any]:
    return (bfloat16.astype(np.uint32) << 16).view(np.float32)


def _read_json(path: Path) -> Mapping[str, Any]:
    if path.stat().st_size > MAX_JSON:
        raise Unsound(f"{path.name} is larger than {MAX_JSON} bytes")
    found = json.loads(path.read_bytes())
    if not isinstance(found, dict):
        raise Unsound(f"{path.name} holds no table")
    return found
