"""The scripted engine's script: what it answers, as a pure function of what it is asked.

A script is a JSON file of rules. It serves tests and benchmarks that need a known truth: rules with
a success law (`p_pass`) make a model that solves a task with a known chance, and adapters that are
better or worse by a known amount. `scripted_server` is the process that speaks it;
`scripted_engine.start_scripted` starts one for a test, and `engine.kind = "scripted"` for a whole command.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from codojo.errors import SettingsError

ADAPTER_FILE = "scripted.json"
"""A file of this name in an adapter's folder holds an `Effect`."""


class Part(BaseModel):
    """A part of a script."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Rule(Part):
    """What is answered to requests of one sort; the first rule that matches counts."""

    match: str = ""
    """Regular expression searched in the last user message."""
    system: str = ""
    """Regular expression searched in the system message."""
    model: str = ""
    """Regular expression that the model's name must match from its start."""
    replies: list[str] = []
    """One is chosen by hash, or in order of asking."""
    order: Literal["hash", "sequence"] = "hash"
    p_pass: float | None = Field(None, ge=0, le=1)
    """Chance that a reply comes from `passing` rather than from `failing`."""
    passing: list[str] = []
    failing: list[str] = []
    p_pass_by_model: dict[str, float] = {}
    """Regular expression of a model's name, and its chance instead of `p_pass`."""


class Fault(Part):
    """What goes wrong, and at which chat requests."""

    requests: list[int]
    """Numbers of the chat requests it strikes, counted from 1."""
    kind: Literal["status", "cut", "hang", "wrong_model", "malformed", "die"]
    status: int = 500
    message: str = "a fault of the script"
    """What a status says; `{authorization}` in it is what the request was authorized with."""
    retry_after_s: float | None = None


class Script(Part):
    """All that a scripted engine knows."""

    model: str = "scripted"
    """Name of its base model."""
    model_path: str = ""
    """Folder of a real model that trainers train in its place; empty: there is nothing to train."""
    rules: list[Rule] = []
    faults: list[Fault] = []
    latency_ms: float = 0
    """Before every answer."""
    token_ms: float = 0
    """Before every piece of a streamed answer."""
    max_model_len: int = 100_000
    """Requests with more prompt tokens are refused, as engines do."""
    seed: int = 0


class Effect(Part):
    """What an adapter changes; without a file, only the scores of given texts change."""

    p_pass: float | None = Field(None, ge=0, le=1)
    """Its chance under every rule that has one."""
    changes_scores: bool = True


class Asked(NamedTuple):
    """One choice of one request."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    choice: int
    ask: int
    """How often the same messages were asked of the same model before; 0 when greedy."""


def read_script(path: Path) -> Script:
    """A script from its file.

    Raises:
        SettingsError: If the file cannot be read or holds no script.
    """
    try:
        return Script.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as err:
        raise SettingsError(f"engine.model names the script {path}: {err}") from err


def read_effect(adapter: Path) -> Effect:
    """What an adapter's folder says that it changes."""
    try:
        return Effect.model_validate_json((adapter / ADAPTER_FILE).read_bytes())
    except OSError:
        return Effect()


def reply_to(asked: Asked, script: Script, effect: Effect | None = None) -> str | None:
    """The reply; None when no rule matches. The same question gets the same reply."""
    rule = next((rule for rule in script.rules if _applies(rule, asked)), None)
    if rule is None:
        return None
    key = json.dumps([script.seed, asked.model, list(map(dict, asked.messages))], sort_keys=True)
    chance = _chance(rule, asked.model, effect)
    if chance is None:
        pool = rule.replies
    else:
        passes = _unit(key, asked.choice, asked.ask, "pass") < chance
        pool = rule.passing if passes else rule.failing
    if not pool:
        return ""
    if rule.order == "sequence":
        return pool[(asked.ask + asked.choice) % len(pool)]
    return pool[int(_unit(key, asked.choice, asked.ask, "which") * len(pool))]


def tokens_of(text: str) -> list[str]:
    """A text in pieces that join to it again: this engine's tokens."""
    return re.findall(r"\s*\w+|\s*[^\w\s]|\s+$", text)


def token_id(token: str) -> int:
    """A number for a token, below 50,000."""
    return int(_unit("token", token) * 50_000)


def score(model: str, tokens: Sequence[str], position: int) -> float:
    """A log-probability of a token, between -4 and 0, that depends on the model."""
    return -4 * _unit("score", model, position, tokens[position])


def content_of(messages: Sequence[Mapping[str, Any]], role: str) -> str:
    """The last message of a role."""
    for message in reversed(messages):
        if message.get("role") == role:
            return str(message.get("content") or "")
    return ""


def _applies(rule: Rule, asked: Asked) -> bool:
    return bool(
        re.search(rule.match, content_of(asked.messages, "user"))
        and re.search(rule.system, content_of(asked.messages, "system"))
        and re.match(rule.model, asked.model)
    )


def _chance(rule: Rule, model: str, effect: Effect | None) -> float | None:
    if rule.p_pass is None:
        return None
    for pattern, chance in rule.p_pass_by_model.items():
        if re.match(pattern, model):
            return chance
    return effect.p_pass if effect and effect.p_pass is not None else rule.p_pass


def _unit(*parts: object) -> float:
    """A number in [0, 1) that looks random and depends on the parts only."""
    digest = hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6]) / 2**48
