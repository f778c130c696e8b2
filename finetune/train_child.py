"""The training process: `python -m codojo.finetune.train_child JOB.json`, started by `train.py`.

It says what it does as one JSON object a line on standard output: `{"step", "total", "loss"}` after
each step, and at the end `{"done"}` or `{"failed"}`. What libraries print goes to standard error.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from codojo.errors import TrainingError
from codojo.finetune.train import Failed, Job, NotFinite, Say


def main(path: Path) -> int:
    """Run a job file; the exit code is 0 if an adapter was made."""
    # First of all: loading torch takes seconds, in which the parent may die too.
    end_with_parent()
    say = claim_stdout()
    job = Job.model_validate_json(path.read_bytes())
    from codojo.finetune import train_sft

    try:
        train_sft.run(job, say)
    except TrainingError as err:
        failed = Failed(kind="rows", detail=str(err))
    except NotFinite as err:
        failed = Failed(kind="not_finite", detail=str(err))
    except (MemoryError, RuntimeError) as err:
        if not train_sft.is_out_of_memory(err):
            raise
        failed = Failed(kind="memory", detail="out of memory")
    else:
        say({"done": True})
        return 0
    say({"failed": failed.model_dump()})
    return 1


def claim_stdout() -> Say:
    """Keep standard output for the protocol; whatever else prints goes to standard error."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    return say


def end_with_parent() -> None:
    """End this process when the one that started it dies and its end of standard input closes."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
