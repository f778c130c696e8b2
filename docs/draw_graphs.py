"""Write `docs/graphs.md` from the compiled graphs; `--check` fails where the page is stale.

Only the shape is drawn, so the parts are placeholders that no node is ever asked to use.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from codojo.graphs.parts import Parts
from codojo.graphs.rollout import GRAPHS
from codojo.settings import Settings

PAGE = Path(__file__).with_name("graphs.md")

HEAD = """\
# The graphs

Written by `python docs/draw_graphs.py`; `--check` fails where this page is stale.

Each graph takes `{"brief": ...}` (a `Brief` as JSON) and returns `proposals` and `chosen`, `team` also
`deliverable`. Every node below is wrapped by `codojo.graphs.node.node`, which gives its effects a place of
their own in the journal. A changed picture is a new graph version: a rollout resumes only on the version
it was begun with (`codojo.graphs.rollout.graph_version`).
"""

ABOUT = {
    "solo": """\
The coder alone: n samples of one prompt, and the visible tests pick. No other agent is asked. This is the
baseline that everything else is compared with ([why](decisions/0009-solo-is-the-baseline.md)).
""",
    "team": """\
`code` and `tests` run side by side: the tester never sees a candidate. `review` and `repair` run while the
task has visible tests, no candidate passes them, and `team.repairs` are left. `prune` drops those of the
team's own tests that pass a stub, or notice no fault sown into a passing candidate; the rest only break
ties (`codojo.graphs.policies.SELF_MADE_WEIGHT`). The critic's word decides nothing. In a chat `approve` stands
between `plan` and what follows, and `clarify` takes a question of the planner back to it.
""",
    "edit": """\
Files of a folder are changed (`codojo chat --dir`). The folder's tests run on a copy in a cage; while they fail and
`team.repairs` are left, the coder goes on. In a chat `approve` waits for a person's word on the plan and `show` on the
diff; only then is anything written, by `codojo.chat.folder`.
""",
}


def page() -> str:
    """The whole page."""
    unused: Any = None
    parts = Parts(model=lambda agent: unused, judge=unused, settings=Settings())
    blocks = [HEAD]
    for name, build in GRAPHS.items():
        picture = build(parts).get_graph().draw_mermaid()
        blocks.append(f"## `{name}`\n\n{ABOUT[name]}\n```mermaid\n{picture.strip()}\n```\n")
    return "\n".join(blocks)


def main() -> int:
    """Write or check; the exit code says whether the page was as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if stale")
    text = page()
    if not parser.parse_args().check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{PAGE} is stale; run 'python {Path(__file__).name}' in docs/\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
