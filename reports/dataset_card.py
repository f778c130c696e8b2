"""The dataset card: what an export holds, where it comes from, and what was left out and why.

A function of the log and of what was asked for, without a clock: the same export has the same card.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import Any

from codojo.finetune.curating import CurationReport
from codojo.reports.page import plural, visible
from codojo.trajectories.exporters.formats import Column, Format
from codojo.trajectories.exporters.writing import Exported
from codojo.trajectories.rows import RowSource
from codojo.trajectories.schema import Trajectory

LICENSES = {
    "katas": "Apache-2.0 (part of codojo)",
    "humaneval": "MIT",
    "mbpp": "CC-BY-4.0",
    "smollm2": "Apache-2.0",
}
"""Licences of known suites and models, by the beginning of their name in lower case."""

REASONS = {
    "breaks_fence": "its code holds a code fence",
    "contaminated": "it holds text of a gate or held-out task",
    "cut": "the answer ended at the cap on tokens",
    "duplicate": "the same as another row of its task",
    "empty": "nothing was said",
    "infra_error": "the sandbox died twice",
    "no_origin": "the log does not say which answer it came from",
    "no_partner": "no answer of the other kind to the same prompt",
    "no_split": "of a split that was not asked for",
    "not_in_parquet": "it has tool calls, which these Parquet columns do not hold",
    "not_isolated": "judged with less isolation than asked for",
    "not_judged": "nobody judged it",
    "not_passed": "it did not pass",
    "not_sealed": "only visible or self-made tests said it passed",
    "not_token_exact": "the log does not hold its exact tokens",
    "other_model": "another model answered",
    "over_cap": "its task has enough rows",
    "passed": "it passed, and failures were asked for",
    "several_files": "it has more than one file",
    "step_not_judged": "a step of the conversation was not judged",
    "text_beside_tool_call": "the format has no place for text beside a tool call",
    "too_long": "longer than the bound",
    "tool_arguments_no_object": "a tool call's arguments are not a JSON object",
    "turns_do_not_alternate": "the format wants both sides to take turns",
    "unverified": "nothing could judge it",
}


@dataclass
class Facts:
    """Counted while an export runs."""

    rows: int = 0
    bases: Counter[str] = field(default_factory=Counter)
    """Rollouts by base model, as the run recorded it."""
    unwanted: Counter[str] = field(default_factory=Counter)
    """Rollouts that the filters ruled out, by reason."""
    unfinished: int = 0
    unguarded: list[str] = field(default_factory=list)
    """Suites whose files are gone, so that rows could not be searched for text of their tests."""
    first: float | None = None
    last: float | None = None
    _kinds: Counter[tuple[str, tuple[str | None, ...]]] = field(default_factory=Counter)

    def rollout(self, trajectory: Trajectory) -> None:
        """Count a rollout that was read."""
        base = trajectory.start.versions.get("base_model")
        if base:
            self.bases[base] += 1
        at = trajectory.at
        self.first = at if self.first is None else min(self.first, at)
        self.last = at if self.last is None else max(self.last, at)

    def count(self, source: RowSource, part: str, rows: int) -> None:
        """Count what one item became."""
        self.rows += rows
        self._kinds[part, _told(source)] += rows

    @property
    def by(self) -> dict[str, Counter[str]]:
        """Rows by each thing that a card tells, and by its value."""
        found: dict[str, Counter[str]] = {}
        for (part, values), rows in self._kinds.items():
            for name, value in zip(("part", *_TOLD.values()), (part, *values), strict=True):
                shown = value or _NOTHING.get(name, "")
                if shown:
                    found.setdefault(name, Counter())[shown] += rows
        return found


_TOLD = {
    "suite": "suite",
    "split": "split",
    "model": "model",
    "agent": "agent",
    "graph": "graph",
    "status": "verdict",
    "tests": "tests",
    "isolation": "isolation",
    "integrity": "integrity",
}
"""Fields of a row's source that a card tells, and what it calls them."""

_told = attrgetter(*_TOLD)

_NOTHING = {"suite": "none", "split": "none (work without a suite)"}


def render_card(
    facts: Facts,
    *,
    format: Format,
    exported: Exported,
    files: Mapping[str, str],
    curation: CurationReport,
    filters: Mapping[str, Any],
    adapters: Path,
) -> str:
    """The card as Markdown, with the head that the Hugging Face Hub reads.

    Args:
        files: File (or folder) of each part.
        filters: What was asked for beyond the defaults.
        adapters: Folder of the dojo's adapters, whose manifests say what they were trained on.
    """
    license = str(filters.get("license") or "")
    lines = [
        "---",
        *_head(format, exported, files, license),
        "---",
        "",
        f"# {format.name}: {plural(exported.rows, 'row')} from codojo",
        "",
        *_warning(facts),
        f"{format.about} Written by `codojo export {format.name}` (codojo {version('codojo')}).",
        "",
        "## What is in it",
        "",
        "| part | file | rows | SHA-256 |",
        "|---|---|--:|---|",
    ]
    for name, part in exported.parts.items():
        lines.append(f"| {name} | `{_cell(files[name])}` | {part.rows:,} | `{part.sha256}` |")
    lines += [
        "",
        f"{plural(curation.tasks, 'task')} in {plural(curation.rollouts, 'rollout')}"
        f"{_days(facts)}. Each row is of one model call unless the format says otherwise.",
        "",
        "| | rows |",
        "|---|---|",
    ]
    for name, counted in facts.by.items():
        told = ", ".join(f"{_cell(value)}: {n:,}" for value, n in _sorted(counted))
        lines.append(f"| {name} | {told} |")
    lines += ["", "## Models and licences", "", *_models(facts, adapters), ""]
    lines += _licenses(facts, license)
    lines += ["", "## How it was chosen", ""]
    asked = json.dumps(dict(filters), sort_keys=True, ensure_ascii=True)
    lines += [
        f"Filters beyond the defaults: `{_cell(asked)}`.",
        "",
        *_left_out(facts, curation, exported),
    ]
    lines += ["", "## Limits", "", *_limits(facts)]
    return "\n".join(lines) + "\n"


def _head(format: Format, exported: Exported, files: Mapping[str, str], license: str) -> list[str]:
    """The YAML that the Hub reads: which file is which split."""
    head = [
        f"license: {json.dumps(license) if license else 'other'}",
        "tags:",
        "- codojo",
        "- code",
        f"- {format.name}",
    ]
    if format.name_of is None:
        head += ["configs:", "- config_name: default", "  data_files:"]
        for part in (name for name, found in exported.parts.items() if found.rows):
            head += [f"  - split: {part}", f"    path: {json.dumps(files[part])}"]
        if format.columns and files["train"].endswith(".jsonl"):
            head += ["dataset_info:", "  features:", *_features(format.columns, "  ")]
    return head


def _features(columns: Mapping[str, Column], indent: str) -> list[str]:
    """Types for `datasets`, which else takes them from the first lines, where no tool may be called yet."""
    lines = []
    if {"role", "content"} <= columns.keys():
        columns = {**columns, "tool_calls": ("json",), "name": "text"}
    for name, column in columns.items():
        lines.append(f"{indent}- name: {name}")
        is_list = isinstance(column, tuple)
        inner = column[0] if isinstance(column, tuple) else column
        if isinstance(inner, Mapping):
            lines.append(f"{indent}  {'list' if is_list else 'struct'}:")
            lines += _features(inner, f"{indent}  ")
        else:
            assert isinstance(inner, str)
            lines.append(f"{indent}  {'list' if is_list else 'dtype'}: {_DTYPES[inner]}")
    return lines


_DTYPES = {"text": "string", "json": "json", "bool": "bool", "int": "int64", "float": "float64"}


def _warning(facts: Facts) -> list[str]:
    tested = {
        name: n for name, n in facts.by.get("split", {}).items() if name in ("gate", "held_out")
    }
    if not tested:
        return []
    told = " and ".join(f"{n:,} of the `{name}` split" for name, n in sorted(tested.items()))
    return [
        f"> **Not for training.** {told} stand in here, asked for by name. Whoever trains on them can no longer "
        "measure on that split.",
        "",
    ]


def _models(facts: Facts, adapters: Path) -> list[str]:
    lines = []
    for name, n in _sorted(facts.by.get("model", Counter())):
        lines.append(f"- `{_cell(name)}`: {n:,} rows{_adapter(adapters, name)}")
    for base, n in _sorted(facts.bases):
        lines.append(f"- base model `{_cell(base)}`: {plural(n, 'rollout')}")
    return lines or ["The log does not name a model."]


def _adapter(adapters: Path, name: str) -> str:
    """What an adapter was made from, where it is one of the dojo's."""
    if "/" in name or name.startswith("."):
        return ""
    try:
        manifest = json.loads((adapters / name / "manifest.json").read_bytes())
        base, rows = manifest["recipe"]["base_hash"], manifest["rows"]
        return f", an adapter on base `{_cell(str(base)[:12])}`, trained on {int(rows):,} rows"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _licenses(facts: Facts, license: str) -> list[str]:
    names = [*facts.by.get("suite", ()), *(base.split(" ")[0] for base in facts.bases)]
    lines = [f"- `{_cell(name)}`: {_license_of(name)}" for name in sorted(set(names) - {"none"})]
    stated = (
        f"The exporter states: {_cell(license)}."
        if license
        else (
            "No licence was stated (`--license`). Answers of a model fall under that model's terms, prompts under "
            "those of their suite: check both before you publish."
        )
    )
    return [*lines, "", stated]


def _license_of(name: str) -> str:
    short = name.rsplit("/", 1)[-1].casefold()
    return next((said for known, said in LICENSES.items() if short.startswith(known)), "unknown")


def _left_out(facts: Facts, curation: CurationReport, exported: Exported) -> list[str]:
    lines = [
        f"Of {curation.considered:,} answers or rollouts {curation.passed:,} had the verdict asked for, and "
        f"{curation.kept:,} were kept.",
        "",
        "| left out | why |",
        "|--:|---|",
    ]
    for reason, n in sorted(facts.unwanted.items()):
        lines.append(f"| {plural(n, 'rollout')} | {reason} |")
    if facts.unfinished:
        lines.append(f"| {plural(facts.unfinished, 'rollout')} | unfinished |")
    for reason, n in sorted((Counter(curation.left_out) + Counter(exported.left_out)).items()):
        lines.append(f"| {n:,} | {REASONS.get(reason, _cell(reason.replace('_', ' ')))} |")
    return lines if len(lines) > 4 else lines[:1]


def _limits(facts: Facts) -> list[str]:
    lines = [
        "- A model wrote these texts. They are untrusted: running the code needs a sandbox.",
        "- Reasoning that an engine returned apart from its answer is left out, unless the format has a place for it.",
        "- Secrets are redacted when the log is written, by patterns; look before you publish.",
    ]
    return lines + [
        f"- The suite `{_cell(name)}` could not be loaded, so rows were not searched for text of its tests."
        for name in facts.unguarded
    ]


def _days(facts: Facts) -> str:
    if facts.first is None or facts.last is None:
        return ""
    days = [datetime.fromtimestamp(at, UTC).date().isoformat() for at in (facts.first, facts.last)]
    return f", {days[0]} to {days[1]}" if days[0] != days[1] else f", {days[0]}"


def _sorted(counted: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counted.items(), key=lambda item: (-item[1], item[0]))


def _cell(text: str) -> str:
    """One cell of a table, whatever a name holds."""
    return (
        visible(text).replace("\n", " ").replace("|", "\\|").replace("`", "'").replace("<", "&lt;")
    )
