"""Prompt templates: Jinja files in `prompts/`, rendered in a sandbox, named by their hash."""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from codojo.tasks.cases import render as render_case
from codojo.tasks.schema import Brief


class Prompt(NamedTuple):
    """A rendered prompt and the template it came from."""

    text: str
    template: str
    """Name and first 12 digits of the hash of its source, for example `coder@9f0c...`."""


def inert(text: str) -> str:
    """Text that cannot act as a chat template's special token (`<|im_end|>` and its like)."""
    return text.replace("<|", "<\u200b|")


@cache
def _load(name: str) -> tuple[Template, str]:
    source = (files("codojo.agents") / "prompts" / f"{name}.j2").read_text(encoding="utf-8")
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # prompts are plain text; `inert` is the escaping they need
    )
    environment.filters["inert"] = inert
    return environment.from_string(source), hashlib.sha256(source.encode()).hexdigest()[:12]


def render(name: str, **values: object) -> Prompt:
    """The prompt of that name, filled in.

    Raises:
        jinja2.UndefinedError: If the template needs a value that is not given.
    """
    template, digest = _load(name)
    return Prompt(template.render(**values).strip(), f"{name}@{digest}")


def examples(brief: Brief) -> Sequence[str]:
    """The visible cases as a person would write them."""
    return [render_case(case, brief.entry_point) for case in brief.visible.cases]


def all_hash() -> str:
    """One hash over all templates: part of a graph's version."""
    folder = files("codojo.agents") / "prompts"
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".j2"))
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + b"\0" + (folder / name).read_bytes() + b"\0")
    return digest.hexdigest()[:12]
