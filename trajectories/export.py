"""Exporters: rows to files that trainers read. One function for each format."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from codojo.errors import LogError
from codojo.trajectories.rows import PromptCompletion


class Exported(NamedTuple):
    """A file that was written."""

    path: Path
    rows: int
    sha256: str


def trl_sft(rows: Iterable[PromptCompletion], path: Path) -> Exported:
    """TRL's conversational prompt-completion format, one JSON object a line.

    One row for each model call, so the loss mask needs no chat template. Written aside and renamed;
    the same rows give the same bytes.
    """
    aside = path.with_name(f".{path.name}.part")
    digest = hashlib.sha256()
    count = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            for row in rows:
                record = {
                    "prompt": [m.model_dump() for m in row.prompt],
                    "completion": [m.model_dump() for m in row.completion],
                }
                line = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
                digest.update(line)
                file.write(line)
                count += 1
        aside.replace(path)
    except OSError as err:
        aside.unlink(missing_ok=True)
        raise LogError(f"cannot write {path}: {err.strerror}; choose another place") from err
    return Exported(path, count, digest.hexdigest())


EXPORTERS = {"trl-sft": trl_sft}
