"""A dojo's folder: how it is made, and whether a folder is one."""

from pathlib import Path

from codojo.errors import SettingsError
from codojo.settings import DOJO_FILE

SETTINGS_TEMPLATE = """\
# Settings of this dojo. Every value here is the default; uncomment to change it.
# 'codojo config show' prints all of them, with where each value comes from.

[engine]
# kind = "vllm"            # vllm, transformers, external
# model = "embedded"       # 135M parameters: it proves the machinery and is far too weak to be useful.
#                          # Put a folder or hub name here, for example "Qwen/Qwen2.5-Coder-1.5B-Instruct".
# url = ""                 # of an external engine, with key_env naming the variable that holds its key

[team]
# graph = "solo"           # solo: one coder, many samples; team: planner, coder, tester, critic, builder
# samples = 4              # candidates per task

[sampling]
# temperature = 0.8
# max_tokens = 256

[sandbox]
# wall_s = 10.0            # seconds for one test case
# memory_mb = 512

[memory]
# enabled = false

[train]
# rank = 16
# learning_rate = 0.0005
# epochs = 3.0

[gate]
# samples = 8
# alpha = 0.05
"""


def init(root: Path) -> Path:
    """Make a dojo folder with commented settings; an existing one is left as it is.

    Raises:
        SettingsError: If the folder cannot be made.
    """
    file = root / DOJO_FILE
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.write_text(SETTINGS_TEMPLATE, encoding="utf-8")
    except OSError as err:
        raise SettingsError(
            f"cannot make a dojo in {root}: {err.strerror}; choose another folder"
        ) from err
    return file


def require_dojo(root: Path) -> Path:
    """The folder, if it is a dojo.

    Raises:
        SettingsError: If it is none.
    """
    if not (root / DOJO_FILE).is_file():
        raise SettingsError(
            f"{root} is no dojo (it has no {DOJO_FILE}); make one with 'codojo init {root}', or name another with --dojo"
        )
    return root
