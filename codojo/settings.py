"""Settings: one frozen model, read once at the entrance, handed down section by section.

Order, strongest first: command line, `CODOJO_<SECTION>__<NAME>` environment variables, the dojo's
`codojo.toml`, the user's file, the defaults below. `load` also says where each value came from.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from codojo.errors import SettingsError

DOJO_FILE = "codojo.toml"


class Section(BaseModel):
    """A named group of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class EngineSettings(Section):
    """What serves the models."""

    kind: Literal["vllm", "transformers", "external", "scripted"] = "vllm"
    """`vllm` and `transformers` are started by codojo; `external` is a URL of yours."""
    model: str = "embedded"
    """`embedded` (135M parameters: proves the machinery, far too weak to be useful), or a folder or
    hub name of any causal language model. This is the one setting to change."""
    url: str = ""
    """Base URL of an `external` engine, for example `http://127.0.0.1:8000/v1`."""
    key_env: str = ""
    """Name of the environment variable that holds the key of an `external` engine."""
    venv: str = ""
    """Python environment that holds vLLM; empty: `.venv-serve` beside the one that runs codojo."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: float32 on a CPU, whose AVX2 has no bfloat16; the model's own type on a GPU."""
    max_model_len: int = Field(2048, ge=256)
    """Tokens of prompt and answer together."""
    max_num_seqs: int = Field(32, ge=1)
    """Sequences decoded at once; also how many requests codojo keeps in flight."""
    max_lora_rank: int = Field(8, ge=1)
    """Of the adapters it serves. On a CPU an adapter answers the slower the higher this is."""
    max_loras: int = Field(4, ge=1)
    """Adapters resident at once; one more evicts the oldest, so keep it above those in use."""
    kv_cache_gb: int = Field(2, ge=1)
    """Memory for the key-value cache on a CPU."""
    gpu_memory: float = Field(0.5, gt=0, le=1)
    """Share of a GPU's memory that the engine takes; training needs the rest."""
    ready_timeout_s: float = Field(600, gt=0)
    request_timeout_s: float = Field(600, gt=0)


class SandboxSettings(Section):
    """Limits of the cage that candidates run in; for the whole process tree where nothing else is said."""

    backend: str = "bubblewrap"
    """`bubblewrap`; `warm`: the same walls, forked instead of started, at a fraction of the time;
    `docker`; or one that an installed package adds. `none` runs candidates without walls and is
    refused without `unsafe_no_sandbox`."""
    image: str = "codojo-sandbox"
    """Image of the backend `docker`: a name or an id that its engine has."""
    unsafe_no_sandbox: bool = False
    wall_s: float = Field(10, gt=0, le=600)
    """Seconds that one case, or one check, may take by the clock."""
    total_s: float = Field(60, gt=0, le=3600)
    """Seconds that all cases of one candidate may take together."""
    cpu_s: int = Field(20, ge=1)
    """Processor seconds of one process; `wall_s` bounds the tree."""
    memory_mb: int = Field(512, ge=64)
    processes: int = Field(32, ge=4)
    tmp_mb: int = Field(32, ge=1)
    """Size of `/tmp`, and again of `/dev/shm`."""
    output_kb: int = Field(256, ge=1)
    """Of each of stdout and stderr, and of one answer."""
    parallel: int = Field(2, ge=1)
    """Cages at once; the number of cores is a good value."""


class SamplingSettings(Section):
    """How models are sampled when a task is solved."""

    temperature: float = Field(0.8, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(256, ge=16)
    """Cap on one answer, in tokens; what hits the cap is recorded as cut."""
    logprobs: bool = True
    """Keep token ids and log-probabilities where the engine returns them."""


class TeamSettings(Section):
    """The graphs."""

    graph: str = "solo"
    samples: int = Field(4, ge=1, le=64)
    """Candidates per task."""
    repairs: int = Field(1, ge=0, le=8)
    """Rounds of critique and repair of the `team` graph."""
    parallel: int = Field(16, ge=1)
    """Rollouts in flight at once; enough to fill the engine when each asks for one choice."""
    grace_s: float = Field(8, ge=0)
    """Seconds that calls and executions under way get to end after SIGTERM. Container engines wait 10."""


class MemorySettings(Section):
    """The team's memory."""

    enabled: bool = False
    """Off by default: examples in the prompt hurt the embedded model until shown otherwise."""
    exemplars: int = Field(1, ge=0, le=8)
    """Past solutions shown to the coder."""
    max_chars: int = Field(1500, ge=100)
    """Length that everything recalled may have together."""


class BudgetSettings(Section):
    """What one run may spend; 0 means no limit."""

    tokens: int = Field(0, ge=0)
    calls: int = Field(0, ge=0)
    seconds: float = Field(0, ge=0)


class RedactionSettings(Section):
    """What counts as a secret and is replaced before it is logged or used."""

    enabled: bool = True
    """Off, everything is logged as it comes: for benchmarks, and for data known to hold none."""
    patterns: tuple[str, ...] = ()
    """Further regular expressions of secrets, for example of tokens that only your company has."""
    allow: tuple[str, ...] = ()
    """Regular expressions of texts that are no secrets although they look like it: test vectors."""

    @field_validator("patterns", "allow")
    @classmethod
    def _compile(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as err:
                raise ValueError(f"no regular expression: {err}") from err
        return patterns


class TrainSettings(Section):
    """The recipe `sft`. Defaults: what worked for the embedded model on two cores."""

    rank: int = Field(8, ge=1, le=256)
    """Of the adapter; not above `engine.max_lora_rank`."""
    learning_rate: float = Field(5e-4, gt=0)
    epochs: float = Field(3, gt=0)
    max_steps: int = Field(0, ge=0)
    """Upper bound on optimiser steps; 0: as many as the epochs have."""
    batch_size: int = Field(8, ge=1)
    max_length: int = Field(512, ge=64)
    """Tokens of a row; longer rows are left out and counted."""
    per_task: int = Field(4, ge=1)
    """Rows of one task at most."""
    rehearsal: int = Field(48, ge=0)
    """Plain questions whose answers by the base model become rows too, so that an adapter forgets
    less; 0: none."""
    seed: int = 0


class GateSettings(Section):
    """The test that a candidate adapter must win."""

    samples: int = Field(8, ge=2)
    """Answers per gate task, for the champion and for the candidate adapter each."""
    guard_samples: int = Field(8, ge=1)
    guard_questions: int = Field(0, ge=0)
    """Questions of the guard suite that are asked; 0: all."""
    alpha: float = Field(0.05, gt=0, lt=0.5)
    """One-sided error over the life of the dojo; look n spends 6/(pi^2 n^2) of it."""
    max_guard_drop: float = Field(0.05, ge=0, le=1)
    """Drop on the guard suite, as a share, that refuses an adapter whatever the interval says."""


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="CODOJO_", env_nested_delimiter="__"
    )

    engine: EngineSettings = EngineSettings()
    sandbox: SandboxSettings = SandboxSettings()
    sampling: SamplingSettings = SamplingSettings()
    team: TeamSettings = TeamSettings()
    memory: MemorySettings = MemorySettings()
    budget: BudgetSettings = BudgetSettings()
    redaction: RedactionSettings = RedactionSettings()
    train: TrainSettings = TrainSettings()
    gate: GateSettings = GateSettings()

    @classmethod
    def settings_customise_sources(cls, *_args: Any, **_kwargs: Any) -> tuple[Any, ...]:
        """Nothing is read behind the back of `load`, which reads each source once and names it."""
        return (_args[1] if len(_args) > 1 else _kwargs["init_settings"],)


def secrets_of_environment(engine: EngineSettings | None = None) -> tuple[str, ...]:
    """Values that must never be logged: what variables with a secret's name hold, and the engine's own.

    Left out: short or ordinary values, which stand everywhere, and paths.
    """
    found = {
        value for name, value in os.environ.items() if _names_secret(name) and _is_telling(value)
    }
    if engine is not None:
        address = urlsplit(engine.url) if "://" in engine.url else None
        key = os.environ.get(engine.key_env, "") if engine.key_env else ""
        password = address.password if address else None
        found |= {part for part in (key, password, unquote(password or "")) if part}
    return tuple(sorted(found))


def _names_secret(name: str) -> bool:
    words = re.split(r"[^A-Z0-9]+", name.upper())
    return any(_SECRET_WORD.search(word) for word in words)


_SECRET_WORD = re.compile(
    r"(?:KEYS?|TOKENS?|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|CREDENTIALS?)\Z|\A(?:PASS|PAT|PSK)\Z"
)


def _is_telling(value: str) -> bool:
    if value.startswith(("/", "~", "./")) and Path(value).expanduser().exists():
        return False
    plain = (value.islower() and value.isalpha()) or value.isdigit()
    return len(value) >= (12 if plain else 6) and value.lower() not in ("enabled", "disabled")


class Loaded(NamedTuple):
    """The settings, and for every `section.name` the source its value came from."""

    settings: Settings
    sources: dict[str, str]


def load(
    dojo: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    user_file: Path | None = None,
) -> Loaded:
    """Merge all sources.

    Args:
        dojo: Folder that may hold a `codojo.toml`.
        overrides: `{"section.name": value}` from the command line or a caller.
        user_file: Settings of the person, for all dojos; default: the platform's place for them.

    Raises:
        SettingsError: For an unreadable file, an unknown name or a value out of range.
    """
    import platformdirs

    user = user_file or Path(platformdirs.user_config_dir("codojo")) / "config.toml"
    merged: dict[str, dict[str, object]] = {}
    sources: dict[str, str] = {}
    files = [user] + ([dojo / DOJO_FILE] if dojo else [])
    layers = [(str(path), _read_file(path)) for path in files if path.is_file()]
    layers.append(("environment", _read_environment()))
    layers.append(("command line", _nested(overrides or {})))
    for source, data in layers:
        for section, values in data.items():
            if not isinstance(values, dict):
                raise SettingsError(
                    f"'{section}' in {source} is no section; write [{section}] and its values below"
                )
            for name, value in values.items():
                merged.setdefault(section, {})[name] = value
                sources[f"{section}.{name}"] = source
    try:
        settings = Settings(**merged)  # type: ignore[arg-type]  # pydantic validates the sections
    except ValidationError as err:
        first = err.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        origin = sources.get(place, "the settings")
        raise SettingsError(
            f"{place} from {origin}: {first['msg']}; see 'codojo config show'"
        ) from err
    return Loaded(settings, sources)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return TomlConfigSettingsSource(Settings, toml_file=path)()
    except (OSError, ValueError) as err:
        raise SettingsError(f"cannot read settings file {path}: {err}; fix or remove it") from err


def _read_environment() -> dict[str, Any]:
    for name in os.environ:
        section = name.removeprefix("CODOJO_").lower().partition("__")[0]
        if name.startswith("CODOJO_") and "__" in name and section not in Settings.model_fields:
            raise SettingsError(
                f"the variable {name} names no section; the sections are {', '.join(Settings.model_fields)}"
            )
    return EnvSettingsSource(Settings)()


def _nested(flat: Mapping[str, object]) -> dict[str, dict[str, object]]:
    nested: dict[str, dict[str, object]] = {}
    for dotted, value in flat.items():
        section, _, name = dotted.partition(".")
        nested.setdefault(section, {})[name] = value
    return nested
