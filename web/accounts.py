"""Who may log in, and who is: one token a person and one cookie a login, made by us, kept as hashes."""

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import time
from collections import defaultdict, deque
from dataclasses import asdict, dataclass
from pathlib import Path

from codojo.errors import SettingsError

FILE, LOGINS_FILE = "web-users.json", "web-logins.json"
UNUSED_S, LIFETIME_S = 12 * 3600.0, 7 * 24 * 3600.0
"""A login has ended that nobody used for so long, or that is so old."""
NOTED_S = 300.0
"""How far the use of a login may be ahead of what is written down."""
FAILURES, WINDOW_S = 10, 60.0
"""Wrong tokens that one address may send within so many seconds."""
MAX_LOGINS = 1_000


class Accounts:
    """The people of a dojo. The file holds hashes; a token is shown once, when it is made."""

    def __init__(self, dojo: Path) -> None:
        self._path = dojo / FILE
        self._read()

    @property
    def names(self) -> list[str]:
        """Everybody who has a token."""
        return sorted(self._read())

    def make(self, name: str) -> str:
        """A new token for a person; an earlier one of theirs is void.

        Raises:
            SettingsError: For a name that cannot be one, or a file that cannot be written.
        """
        if not name or len(name) > 60 or not name.isprintable():
            raise SettingsError(
                f"{name[:60]!r} is no name; give one of 1 to 60 printable characters"
            )
        token = secrets.token_urlsafe(32)
        _write(self._path, self._read() | {name: _hash(token)})
        return token

    def who(self, token: str) -> str | None:
        """Whose token it is. Takes the same time for every wrong one."""
        found, given = None, _hash(token)
        for name, known in self._read().items():
            if hmac.compare_digest(given, known):
                found = name
        return found

    def _read(self) -> dict[str, str]:
        try:
            read = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as err:
            raise SettingsError(
                f"cannot read {self._path} ({err}); remove it, and new tokens will be made"
            ) from err
        if not isinstance(read, dict):
            raise SettingsError(f"{self._path} holds no names; remove it to begin anew")
        return {str(name): str(known) for name, known in read.items()}


@dataclass
class _Login:
    user: str
    began: float
    seen: float
    """Both in seconds since 1970, since they outlive the process."""

    def has_ended(self, now: float) -> bool:
        return not (now - UNUSED_S < self.seen and now - LIFETIME_S < self.began)


class Logins:
    """Who is logged in: in a file of hashes, so that a restart logs nobody out, and another process can."""

    def __init__(self, dojo: Path) -> None:
        self._path = dojo / LOGINS_FILE
        self._known: dict[str, _Login] = {}
        self._stamp: tuple[int, int] | None = None
        self._failures: defaultdict[str, deque[float]] = defaultdict(deque)

    def open(self, user: str, before: str = "") -> str:
        """A new secret for a cookie; whatever the browser brought along ends with it.

        Raises:
            SettingsError: If it cannot be written down.
        """
        known, now = self._read(), time.time()
        known.pop(_hash(before), None)
        for old in [key for key, login in known.items() if login.has_ended(now)]:
            del known[old]
        if len(known) >= MAX_LOGINS:
            del known[min(known, key=lambda key: known[key].seen)]
        cookie = secrets.token_urlsafe(32)
        known[_hash(cookie)] = _Login(user, now, now)
        self._keep()
        return cookie

    def who(self, cookie: str) -> str | None:
        """Who has that cookie."""
        login, now = self._read().get(_hash(cookie)), time.time()
        if login is None or login.has_ended(now):
            return None
        noted, login.seen = login.seen, now
        if now - noted > NOTED_S:
            with contextlib.suppress(SettingsError):  # it ends the sooner, no more
                self._keep()
        return login.user

    def close(self, cookie: str) -> None:
        """Log out."""
        if self._read().pop(_hash(cookie), None) is not None:
            self._keep()

    def close_all(self, user: str = "") -> int:
        """Log everybody out, or one person wherever they are; returns how many logins that were."""
        known = self._read()
        ended = [key for key, login in known.items() if user in ("", login.user)]
        for key in ended:
            del known[key]
        if ended:
            self._keep()
        return len(ended)

    def _read(self) -> dict[str, _Login]:
        """As the file has it; nobody is logged in where it cannot be read."""
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp != self._stamp:
                read = json.loads(self._path.read_bytes())
                self._known = {key: _Login(**login) for key, login in read.items()}
                self._stamp = stamp
        except (OSError, ValueError, TypeError, AttributeError):
            self._known, self._stamp = {}, None
        return self._known

    def _keep(self) -> None:
        _write(self._path, {key: asdict(login) for key, login in self._known.items()})
        found = self._path.stat()
        self._stamp = (found.st_mtime_ns, found.st_ino)

    def wait_s(self, address: str) -> float:
        """Seconds until that address may try again; 0: now."""
        failures, now = self._failures[address], time.monotonic()
        while failures and now - failures[0] > WINDOW_S:
            failures.popleft()
        return WINDOW_S - (now - failures[0]) if len(failures) >= FAILURES else 0.0

    def failed(self, address: str) -> None:
        """That address sent a wrong token."""
        if len(self._failures) > MAX_LOGINS:
            self._failures.clear()
        self._failures[address].append(time.monotonic())


def _write(path: Path, value: object) -> None:
    """Readable by its owner alone, and whole or not at all."""
    aside = path.with_suffix(".new")
    try:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "w") as file:  # noqa: PTH123  # a descriptor
            json.dump(value, file)
        aside.replace(path)
    except OSError as err:
        raise SettingsError(f"cannot write {path}: {err.strerror}") from err


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
