"""Write the tables of `docs/reliability.md` from the tests' row markers; `--check` fails where it is stale.

A row's sentence is its one line in `PROMISES`; a marker without one, or a promise without a test, is an error.
Rows about what codojo does not have are in `NOT_APPLICABLE`, with the reason.
"""

import argparse
import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path(__file__).with_name("reliability.md")
BEGIN, END = "<!-- rows -->\n", "<!-- /rows -->\n"
BEGIN_REASONS, END_REASONS = "<!-- not applicable -->\n", "<!-- /not applicable -->\n"
ID = re.compile(r"[A-H]\d{1,2}")

PROMISES = {
    "A1": "A fork bomb is stopped at the process cap, within the wall limit",
    "A2": "The limits hold as root and as a user without rights",
    "A3": "One process that takes too much memory is killed at the cap",
    "A4": "Memory is capped for the whole process tree",
    "A5": "Memory that belongs to no process (files, segments, pipes, sockets) is refused or counted",
    "A6": "Filling the workspace fills nothing else",
    "A7": "Very many small files count as memory and are bounded",
    "A8": "A sparse file is held to the size of a file, and collected by its cap",
    "A9": "A flood of output is cut at the cap and its writer killed",
    "A10": "Output of any bytes is kept as it was, and a terminal shows it inert",
    "A11": "An endless loop is killed at its limit",
    "A12": "Sleeping past the limit is killed by the clock",
    "A13": "Ignoring signals does not help: the whole tree gets SIGKILL",
    "A14": "Threads count as processes do",
    "A15": "A daemonised grandchild does not survive its step",
    "A16": "A grandchild that holds stdout open does not hang the step",
    "A17": "Links in a workspace are never followed, for reading or for writing",
    "A18": "A file swapped for a link while it is collected is read whole or refused",
    "A19": "Pipes, sockets and devices are left out and never waited for",
    "A20": "Secrets of the host cannot be read",
    "A21": "Other processes and their environment cannot be seen",
    "A22": "The environment holds nothing of ours",
    "A23": "Only standard descriptors are open",
    "A24": "No kind of network or socket reaches out",
    "A25": "Services on loopback cannot be reached",
    "A27": "Neither our processes nor another cage's can be traced or read",
    "A28": "Signals reach only the cage itself",
    "A29": "Set-user-id programs and file capabilities give no right",
    "A30": "Every system call on the list is refused, and every call newer than it",
    "A31": "No new user namespace can be made",
    "A32": "Nothing can be typed into our terminal",
    "A33": "Interpreter, packages and configuration cannot be written",
    "A34": "Nothing that one step or execution plants is run by the next",
    "A35": "A collection has caps of size and number; an archive unpacked inside meets the cage's own",
    "A36": "Pickled results are never loaded",
    "A37": "Forged or oversized frames are no pass",
    "A38": "A candidate that stops clocks is timed all the same",
    "A39": "Greedy programs get no priority, and one beside them is less than three times as slow",
    "A40": "Without a working backend codojo refuses to run candidates",
    "A41": "A wall that is silently missing fails the self-test",
    "A42": "A cage that is killed is replaced once; a second death is an error, never a pass",
    "A43": "Very many executions at once: every verdict right, nothing left",
    "A44": "Killing codojo with SIGKILL leaves no caged process behind",
    "C1": "After SIGKILL a resumed run ends as an uninterrupted one",
    "C2": "A logged effect is not performed again on resume",
    "C3": "A run that was killed as soon as it was accepted is listed as such and can be resumed",
    "C4": "Whatever a power cut leaves of what was not synced, the log opens and holds what was acknowledged",
    "C5": "A torn last record is cut, reported, and the next append is readable",
    "C6": "The same when it is torn inside a character",
    "C7": "Damage in the middle is an error that names the offset; repair saves what is on both sides",
    "C8": "A full disk is an error to the caller; partial bytes are taken back",
    "C9": "After a failed sync nothing is acknowledged any more",
    "C10": "A disk that is full or read-only keeps no index and no part of an export; the log is read, and all is made again",
    "C11": "Of two processes that resume one run, the second is told who holds it",
    "C12": "A lock ends with the process that held it, whatever process id is written down",
    "C13": "A reader beside writers sees every record once, and never half of one",
    "C14": "An index that another process holds is waited for, within a bound, and then named",
    "C15": "A damaged index is noticed, set aside and made again from the log",
    "C16": "Nothing stored, in the log or in a paused graph's memory, revives an object",
    "C17": "No filter, value or search text of a caller becomes SQL",
    "C18": "Logs of every version are read; a newer one is refused with both versions",
    "C19": "Order is by number, whatever the clock said",
    "C20": "SIGTERM lets what is under way end within the grace; exit code 143",
    "C21": "An export killed midway leaves the old file or the new one, never a part",
    "C22": "The same log is exported to the same bytes",
    "C23": "A log of a million records opens from its index within two seconds, a run of 100,000 goes on within one, and the check streams",
    "C24": "A log folder that cannot be written is an error before any model call; one on a read-only disk can be read",
    "C25": "The log grows by what is new in each step",
    "E1": "Out of memory: a smaller batch once, then a clean failure",
    "E2": "A loss or weight that is no number stops training",
    "E3": "Too few rows are refused with the reason",
    "E4": "Training killed with SIGKILL goes on as if it had not been",
    "E5": "A finished training is not done again, and its folder never changes",
    "E6": "An adapter that changes nothing is rejected",
    "E7": "An adapter for another base, tokenizer, rank or layers is rejected",
    "E8": "Truncated, altered or pickled adapter files are rejected",
    "E9": "An adapter's name follows its content, not its place",
    "E12": "Of many promoters one wins by compare-and-swap, with one event in the log",
    "E13": "The pointers of the champions follow the log after a crash in between",
    "E14": "A worse adapter is refused by the gate",
    "E15": "A lucky adapter is promoted no more often than alpha allows",
    "E22": "An adapter that is gone cannot become champion; the current one stays",
    "E16": "Gate and held-out text is kept out of rows, training and memory",
    "E18": "Answers that did not pass honestly are left out of exports and counted",
    "E19": "Duplicates are left out, and one task gives only so many rows",
    "E20": "What is trained on is, token for token, what is served",
    "F1": "A poisoned entry is rendered as quoted data",
    "F2": "What comes from failed or unverified rollouts does not guide",
    "F4": "Namespaces are enforced in the query",
    "F5": "Huge texts are cut or refused",
    "F6": "Text that is not clean is made so or refused",
    "F7": "A second process finds the index owned, and by whom",
    "F8": "After SIGKILL every acknowledged entry is found by its own vector",
    "F9": "The same after an exit below Chroma's sync threshold",
    "F13": "An index of another embedding model is refused",
    "F14": "Vectors that no search could find are refused",
    "F17": "What is forgotten is in no byte of the dojo, and the search that says so finds what is left",
    "F18": "A filtered search equals an exact one",
    "G1": "Exiting early is no pass",
    "G2": "Ending or replacing the process is no pass",
    "G3": "Objects that claim to be equal are no pass",
    "G4": "Patching modules, builtins or tracing is no pass",
    "G5": "A candidate's conftest, plugins and settings do not reach the test runner",
    "G6": "Test files that a candidate changes or removes spoil its run",
    "G7": "Expected values are nowhere in the cage",
    "G8": "A table of the visible cases fails the sealed ones",
    "G9": "Nothing is carried from one case to the next",
    "G10": "Printed results are ignored",
    "G11": "What happens after the return changes nothing",
    "G12": "A self-made test counts only if it notices a stub and a fault of a passing candidate",
    "G13": "What only the agents' own tests passed is no training row",
    "G14": "Running out of time is no pass",
    "G15": "Answers in git history or caches cannot be found",
    "G16": "A critic that is talked round cannot make a pass",
    "G17": "Tests that a candidate changes, empties or removes count as the suite has them",
    "G18": "An answer that passes only sometimes has not passed, and is marked flaky",
    "G19": "What looked like tricks is counted, and above 2 % it is said",
    "H1": "What a model, task, file or memory wrote is inert in pages and in the browser",
    "H2": "Whatever is shown, the browser asks nobody but the server, and a listener hears nothing",
    "H3": "Nothing is told without a token, which is made at the first start, kept as a hash, and in no address; the cookie is out of reach of scripts; the server listens on loopback",
    "H4": "A login changes the cookie, logging out ends it, and guesses are slowed down",
    "H5": "Other origins, other host names and forms of other sites are refused",
    "H6": "Another person's session, run, rollout or answer is not found, on every route",
    "H7": "A path that a model wrote cannot leave the working folder, nor one of a request what is served",
    "H8": "No address that a client sends is ever asked",
    "H9": "Requests that are too large, endless or slow end, and cost no memory",
    "H10": "Readers that leave, come in hundreds or are slow hold up nobody and leak nothing",
    "H11": "The same in a page that is opened from disk",
    "H12": "What a model or task wrote cannot drive a terminal",
    "H13": "No byte of a secret is in a dojo or its exports; without redaction the same search finds them all",
    "H14": "No token is on a command line or in a file, and a crash leaves no core",
    "H15": "Text with newlines or JSON in it stays one record",
}

NOT_APPLICABLE = {
    "A26": (
        "An allow-list proxy parses and dials the same address",
        "There is no proxy: a cage has no network at all",
    ),
    "A35 (host)": (
        "Archives are unpacked safely",
        "The host unpacks no archive that a candidate or a user hands in; what a program unpacks in its cage is row A35",
    ),
    "H18": (
        "A worker's port is not open without a token",
        "There are no remote workers; engines are bound to 127.0.0.1",
    ),
    "H19, H20": ("Lost, repeated or forged results of remote workers", "The same"),
}
"""Rows about what codojo does not have: the promise, and why there is nothing to test."""


def markers() -> Iterator[tuple[str, str]]:
    """Row and `file::test` of every marked test."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = path.relative_to(ROOT).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tables = {
            target.id: set(_row_strings(node))
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for row in _rows_of(node, tables):
                yield row, f"{name}::{node.name}"


def _rows_of(
    test: ast.FunctionDef | ast.AsyncFunctionDef, tables: dict[str, set[str]]
) -> Iterator[str]:
    """Rows in a test's decorators; of a parametrised one, those of the table it names."""
    for decorator in test.decorator_list:
        for node in ast.walk(decorator):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.row"):
                continue
            (argument,) = node.args
            if isinstance(argument, ast.Constant):
                yield str(argument.value)
            else:
                named = {n.id for n in ast.walk(decorator) if isinstance(n, ast.Name)}
                yield from sorted(row for table in named & tables.keys() for row in tables[table])


def _row_strings(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        value = inner.value if isinstance(inner, ast.Constant) else None
        if isinstance(value, str) and ID.fullmatch(value):
            yield value


def table() -> str:
    """The rows in order, each with its promise and its tests."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row, test in markers():
        if test not in found[row]:
            found[row].append(test)
    if odd := sorted(found.keys() ^ PROMISES.keys()):
        raise SystemExit(f"rows with a test but no promise here, or the reverse: {', '.join(odd)}")
    lines = ["| row | promise | tests |", "|---|---|---|"]
    for row in sorted(found, key=lambda row: (row[0], int(row[1:]))):
        tests = "<br>".join(f"`{test}`" for test in found[row])
        lines.append(f"| {row} | {PROMISES[row]} | {tests} |")
    return "\n".join(lines) + "\n"


def not_applicable() -> str:
    """The rows without a test, each with the reason."""
    lines = ["| row | promise | why there is nothing to test |", "|---|---|---|"]
    lines += [f"| {row} | {promise} | {why} |" for row, (promise, why) in NOT_APPLICABLE.items()]
    return "\n".join(lines) + "\n"


def replaced(page: str, begin: str, end: str, content: str) -> str:
    """The page with new content between two marks."""
    head, _, rest = page.partition(begin)
    return head + begin + content + end + rest.partition(end)[2]


def main() -> int:
    """Write or check; the exit code says whether the page was as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if stale")
    old = PAGE.read_text(encoding="utf-8")
    new = replaced(old, BEGIN, END, table())
    new = replaced(new, BEGIN_REASONS, END_REASONS, not_applicable())
    if not parser.parse_args().check:
        PAGE.write_text(new, encoding="utf-8")
    elif new != old:
        sys.stderr.write(f"{PAGE} is stale; run 'python {Path(__file__).name}' in docs/\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
