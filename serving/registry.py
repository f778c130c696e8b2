"""The adapters of a dojo: immutable folders named by their content, and which one serves.

The log's `promotion` events are the truth; `champions.json` beside the adapters is read in their place
and can be rebuilt from them. A promotion is a compare-and-swap: it names the champion it replaces.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from codojo.errors import AdapterRejected
from codojo.trajectories.log import Event, Log, read_log

PROMOTION = "promotion"


class AdapterRegistry:
    """Adapters under `folder`; promotions go to `log`."""

    def __init__(self, folder: Path, log_folder: Path) -> None:
        self.folder = folder
        self._log_folder = log_folder

    def add(self, source: Path, name: str) -> Path:
        """Copy a finished adapter folder to its immutable place; the same content is kept once."""
        target = self.path(name)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = target.with_name(f".{name}.{os.getpid()}")
            shutil.copytree(source, aside)
            aside.rename(target)
        return target

    def path(self, name: str) -> Path:
        """Where the adapter of that name lies, or would lie."""
        if not name or name.startswith(".") or "/" in name:
            raise AdapterRejected(f"'{name}' is no adapter name; see 'codojo models list'")
        return self.folder / name

    def names(self) -> list[str]:
        """The adapters that are here."""
        if not self.folder.is_dir():
            return []
        return sorted(p.name for p in self.folder.iterdir() if p.is_dir() and p.name[0] != ".")

    def champion(self, role: str = "all") -> str | None:
        """The adapter in use for a role; None: the base model."""
        try:
            pointers: dict[str, str | None] = json.loads(self._pointers.read_text())
        except FileNotFoundError:
            return None
        return pointers.get(role)

    def promote(
        self, name: str | None, log: Log, *, expected: str | None, reason: str, role: str = "all"
    ) -> bool:
        """Make an adapter the champion, if the champion still is the expected one.

        Args:
            name: The adapter; None goes back to the base model.
            expected: The champion it replaces (compare-and-swap).

        Returns:
            False where it was the champion already.

        Raises:
            AdapterRejected: If it is not here, or another promotion came first.
        """
        if name is not None and not self.path(name).is_dir():
            raise AdapterRejected(
                f"adapter '{name}' is not in {self.folder}; 'codojo models list' shows those that are"
            )
        with self._locked():
            current = champions(read_log(self._log_folder)).get(role)
            if current != name:
                if current != expected:
                    raise AdapterRejected(
                        f"the champion for '{role}' is {current or 'the base model'}, not "
                        f"{expected or 'the base model'}: another promotion came first; test against it again"
                    )
                data = {"role": role, "name": name, "previous": current, "reason": reason}
                log.append(PROMOTION, data).result()
            self._write_pointers(champions(read_log(self._log_folder)))
            return current != name

    def rollback(self, log: Log, role: str = "all") -> str | None:
        """Go back to the champion before the current one; returns its name, None for the base.

        Raises:
            AdapterRejected: If there was no promotion to take back, or its adapter is gone.
        """
        history = [
            e.data
            for e in read_log(self._log_folder)
            if e.kind == PROMOTION and e.data["role"] == role
        ]
        stack: list[str | None] = [None]
        for promotion in history:
            if promotion["reason"].startswith("rollback") and len(stack) > 1:
                stack.pop()
            else:
                stack.append(promotion["name"])
        if len(stack) < 2:
            raise AdapterRejected(
                f"nothing to roll back: no adapter was ever promoted for '{role}'"
            )
        self.promote(
            stack[-2], log, expected=stack[-1], reason=f"rollback of {stack[-1]}", role=role
        )
        return stack[-2]

    def rebuild(self) -> None:
        """Write the pointers anew from the log."""
        with self._locked():
            self._write_pointers(champions(read_log(self._log_folder)))

    @property
    def _pointers(self) -> Path:
        return self.folder / "champions.json"

    def _write_pointers(self, pointers: dict[str, str | None]) -> None:
        aside = self._pointers.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps(pointers, sort_keys=True))
        aside.replace(self._pointers)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def champions(events: Iterable[Event]) -> dict[str, str | None]:
    """The champion by role, folded from promotions."""
    found: dict[str, str | None] = {}
    for event in events:
        if event.kind == PROMOTION:
            found[event.data["role"]] = event.data["name"]
    return found
