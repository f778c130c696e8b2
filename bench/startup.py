"""`codojo bench startup`: what `import codojo` and `codojo --help` cost over bare Python."""

import subprocess
import sys
import time
from statistics import median

WAYS = {
    "python -c pass": ["-c", "pass"],
    "import codojo": ["-c", "import codojo"],
    "codojo --help": ["-m", "codojo", "--help"],
}
TARGETS_S = {"import codojo": 0.3, "codojo --help": 0.5}


def measure(rounds: int = 9) -> dict[str, float]:
    """Median seconds of each way, in interleaved rounds after one unmeasured."""
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for number in range(rounds + 1):
        for name, arguments in WAYS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            if number:
                times[name].append(time.perf_counter() - began)
    return {name: median(found) for name, found in times.items()}


def main() -> dict[str, object]:
    """Print the table; returns it for `--json`."""
    found = measure()
    bare = found["python -c pass"]
    table: dict[str, object] = {}
    for name, seconds in found.items():
        over = seconds - bare
        target = TARGETS_S.get(name)
        kept = (
            ""
            if target is None
            else f"  target {target:.1f} s: {'kept' if over <= target else 'MISSED'}"
        )
        print(f"{name:<16} {seconds:6.3f} s  {over:+.3f} s over bare Python{kept}", file=sys.stderr)
        table[name] = {"seconds": round(seconds, 4), "over_s": round(over, 4), "target_s": target}
    return table
