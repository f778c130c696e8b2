"""Fail where `docs/limits.md` names a setting or a default that `codojo/settings.py` does not have.

Every numeric setting must be on the page.
"""

import re
import sys
from pathlib import Path

from codojo.settings import Settings

PAGE = Path(__file__).with_name("limits.md")
ROW = re.compile(r"^\| `([a-z]+\.[a-z_]+)` \| `([^`]+)` \|", re.MULTILINE)


def problems(text: str) -> list[str]:
    """What is wrong with the page."""
    defaults = {
        f"{section}.{name}": value
        for section, values in Settings().model_dump(mode="json").items()
        for name, value in values.items()
    }
    shown = dict(ROW.findall(text))
    numeric = {
        name
        for name, value in defaults.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    wrong = [f"{name} is missing" for name in sorted(numeric - shown.keys())]
    for name, default in shown.items():
        if name not in defaults:
            wrong.append(f"{name} is no setting")
        elif str(defaults[name]) != default:
            wrong.append(f"{name} has the default {defaults[name]}, not {default}")
    return wrong


if __name__ == "__main__":
    found = problems(PAGE.read_text(encoding="utf-8"))
    sys.stderr.write("".join(f"{PAGE}: {line}\n" for line in found))
    sys.exit(bool(found))
