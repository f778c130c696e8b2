"""Ids of runs and rollouts."""

from ulid import ULID


def new_id() -> str:
    """A fresh ULID: 26 characters that sort by the time they were made."""
    return str(ULID())
