"""From the log to a training file: a curator chooses the rows, an exporter writes them."""

import logging
from pathlib import Path

from codojo.errors import SettingsError, TaskError
from codojo.finetune.curators import CurationReport, rft
from codojo.tasks.contamination import ContaminationGuard
from codojo.tasks.loaders import load_suite
from codojo.trajectories.export import EXPORTERS, Exported
from codojo.trajectories.schema import load_trajectories

logger = logging.getLogger(__name__)


def export(
    log: Path, format: str, path: Path, *, suite: str = "", per_task: int = 1_000_000
) -> tuple[Exported, CurationReport]:
    """Write what passed sealed tests in isolation on `train` tasks.

    Rows that hold text of a gate or held-out task of their own suite are left out.

    Args:
        suite: Only rollouts of that suite.
        per_task: Upper bound on the rows of one task.

    Raises:
        SettingsError: For an unknown format, or if there is nothing to write.
    """
    if format not in EXPORTERS:
        raise SettingsError(f"unknown format '{format}'; choose one of {', '.join(EXPORTERS)}")
    found = load_trajectories(log).values()
    chosen = [
        t for t in found if t.end and t.brief.split == "train" and suite in ("", t.brief.suite)
    ]
    names = sorted({t.brief.suite for t in chosen})
    curated = rft(chosen, guard=_guard(names), per_task=per_task)
    if not curated.rows:
        raise SettingsError(
            f"{log} holds nothing to export: {curated.report.considered} candidates on train tasks, none "
            "passed its sealed tests; solve some first with 'codojo run --suite katas'"
        )
    return EXPORTERS[format](curated.rows, path), curated.report


def _guard(names: list[str]) -> ContaminationGuard:
    """A guard of the suites that can still be loaded; a file that has moved cannot be asked."""
    loaded = []
    for name in names:
        try:
            loaded.append(load_suite(name))
        except TaskError:
            logger.warning(
                "suite '%s' cannot be loaded: its rows are not searched for test text", name
            )
    return ContaminationGuard.of(*loaded)
