"""What is told of an engine that died."""

from pathlib import Path

import pytest

from codojo.serving.keeper import last_words

DEAD_CORE = """\
(EngineCore pid=9) Traceback (most recent call last):
(EngineCore pid=9) MemoryError: cannot allocate 2 GiB for the key-value cache
(APIServer pid=8)   File "core_client.py", line 800
(APIServer pid=8) RuntimeError: Engine core initialization failed. See root cause above.
INFO: the end
"""

BAD_SETTING = """\
pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, User-specified max_model_len (100000) is greater than 8192
    For further information visit https://errors.pydantic.dev
"""


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (DEAD_CORE, "cannot allocate 2 GiB"),
        (BAD_SETTING, "max_model_len (100000) is greater than 8192"),
        ("starting\nlast line\n\n", "last line"),
        ("", "nothing was logged"),
    ],
)
def test_cause_of_death_is_found_in_the_log(tmp_path: Path, log: str, told: str) -> None:
    path = tmp_path / "engine.log"
    path.write_text(log)
    assert told in last_words(path)
