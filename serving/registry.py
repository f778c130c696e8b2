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
RETIRED = "adapter_retired"
"""Event of an adapter that must not serve any more."""


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

    def retired(self) -> frozenset[str]:
        """Adapters that are neither loaded nor promoted any more."""
        try:
            return frozenset(json.loads(self._retired.read_text()))
        except FileNotFoundError:
            return frozenset()

    def retire(self, name: str, log: Log, *, reason: str) -> None:
        """Let an adapter never serve again; where it is a champion, go back to the one before it.

        Its folder stays, for whoever has to say what served when.
        """
        with self._locked():
            log.put(RETIRED, {"name": name, "reason": reason})
            self._write_pointers()
        for role, champion in champions(read_log(self._log_folder)).items():
            if champion == name:
                before = [n for n in self._history(role) if n not in self.retired()]
                self.promote(
                    before[-1], log, expected=name, reason=f"rollback of {name}: retired", role=role
                )

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
        if name in self.retired():
            raise AdapterRejected(
                f"adapter '{name}' is retired: it learnt from what was forgotten; train another"
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
                log.put(PROMOTION, data)
            self._write_pointers()
            return current != name

    def rollback(self, log: Log, role: str = "all") -> str | None:
        """Go back to the champion before the current one; returns its name, None for the base.

        Raises:
            AdapterRejected: If there was no promotion to take back, or its adapter is gone.
        """
        stack = self._history(role)
        if len(stack) < 2:
            raise AdapterRejected(
                f"nothing to roll back: no adapter was ever promoted for '{role}'"
            )
        before = next(n for n in reversed(stack[:-1]) if n not in self.retired())
        self.promote(before, log, expected=stack[-1], reason=f"rollback of {stack[-1]}", role=role)
        return before

    def _history(self, role: str) -> list[str | None]:
        """The base model and the champions of a role, without those that were rolled back."""
        stack: list[str | None] = [None]
        for event in read_log(self._log_folder):
            if event.kind == PROMOTION and event.data["role"] == role:
                if event.data["reason"].startswith("rollback") and len(stack) > 1:
                    while len(stack) > 1 and stack[-1] != event.data["name"]:
                        stack.pop()
                else:
                    stack.append(event.data["name"])
        return stack

    def rebuild(self) -> None:
        """Write the pointers anew from the log."""
        with self._locked():
            self._write_pointers()

    @property
    def _retired(self) -> Path:
        return self.folder / "retired.json"

    @property
    def _pointers(self) -> Path:
        return self.folder / "champions.json"

    def _write_pointers(self) -> None:
        """Write what the log says of champions and of retired adapters."""
        events = [e for e in read_log(self._log_folder) if e.kind in (PROMOTION, RETIRED)]
        retired = sorted({e.data["name"] for e in events if e.kind == RETIRED})
        for path, said in ((self._pointers, champions(events)), (self._retired, retired)):
            aside = path.with_suffix(f".{os.getpid()}")
            aside.write_text(json.dumps(said, sort_keys=True))
            aside.replace(path)

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
