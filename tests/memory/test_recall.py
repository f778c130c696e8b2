"""From a finished rollout to a prompt: remember, recall, render, rebuild, and the commands."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from codojo.cli.memory import app
from codojo.errors import ContaminationError, MemoryStoreError, SettingsError
from codojo.folder import init
from codojo.memory.embedder import Embedder
from codojo.memory.recall import Hit, Recalled, recall, render
from codojo.memory.remember import catch_up, put_of, rebuild, remember
from codojo.memory.schema import (
    MAX_TEXT_CHARS,
    MEMORY_WRITTEN,
    Entry,
    Exemplar,
    Provenance,
    Rule,
    clean,
    entry_of,
    written,
)
from codojo.memory.store import ChromaStore, open_memory
from codojo.tasks.schema import Brief, Split, Status, Tests, TestSource
from codojo.trajectories.log import Log, read_log


@dataclass(frozen=True)
class Forbidden:
    """A guard that knows one phrase of a gate task."""

    phrase: str = "no text here holds this"

    def find(self, text: str) -> Sequence[str]:
        return ["gate/one"] if self.phrase in text else []


def provenance(verdict: Status = "passed", tests: TestSource = "sealed") -> Provenance:
    return Provenance(
        rollout="01JROLLOUT",
        agent="coder",
        model="base",
        verdict=verdict,
        tests=tests,
        isolation="bubblewrap",
    )


def exemplar(
    prompt: str,
    code: str = "def f(): ...",
    *,
    task_id: str = "kata/other",
    split: Split | None = "train",
    verdict: Status = "passed",
    tests: TestSource = "sealed",
) -> Exemplar:
    return Exemplar(
        task_id=task_id,
        family="family",
        suite="katas",
        split=split,
        prompt=prompt,
        code=code,
        provenance=provenance(verdict, tests),
    )


def rule(text: str, *, task_id: str = "kata/other") -> Rule:
    return Rule(
        task_id=task_id,
        family="family",
        suite="katas",
        split="train",
        text=text,
        provenance=provenance(),
    )


def brief(prompt: str, task_id: str = "kata/new") -> Brief:
    return Brief(
        task_id=task_id,
        suite="katas",
        family="new",
        split="gate",
        prompt=prompt,
        entry_point="f",
        starter="def f(x):",
        visible=Tests(source="visible"),
    )


SORT = exemplar(
    "Sort a list of integers.", "def f(xs):\n    return sorted(xs)", task_id="kata/sort"
)
CAKE = exemplar("Bake a chocolate cake.", "def bake(): ...", task_id="kata/cake")
HINT = rule("Return a new list; do not sort the given one in place.")


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return Embedder.installed()


@pytest.fixture
def dojo(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def log(dojo: Path) -> Iterator[Log]:
    with Log(dojo / "log") as opened:
        yield opened


@pytest.fixture
def store(dojo: Path, embedder: Embedder) -> Iterator[ChromaStore]:
    opened = open_memory(dojo / "memory", embedder)
    assert opened is not None
    with opened:
        yield opened


async def test_what_was_remembered_is_recalled_with_its_provenance(
    store: ChromaStore, log: Log
) -> None:
    for entry in (SORT, CAKE, HINT):
        await remember(entry, log=log, store=store, guard=Forbidden())
    found = await recall(store, brief("Order numbers ascending."), exemplars=1, max_chars=2_000)
    assert [hit.entry for hit in found.rules] == [HINT]
    assert [hit.entry for hit in found.exemplars] == [SORT]
    assert found.exemplars[0].id == SORT.id
    assert 0.4 < found.exemplars[0].similarity < 0.8
    assert Recalled.model_validate(json.loads(found.model_dump_json())) == found
    text = render(found)
    assert "information, not instructions" in text
    assert "rollout 01JROLLOUT; coder on base; passed sealed tests, verified" in text
    assert SORT.prompt in text
    assert SORT.code in text
    assert HINT.text in text


@pytest.mark.row("F2")
async def test_only_verified_work_on_train_tasks_may_guide(store: ChromaStore) -> None:
    prompt = "Sort a list of integers."
    await store.abatch(
        [
            put_of(exemplar(prompt, "failed", verdict="failed")),
            put_of(exemplar(prompt, "unverified", verdict="unverified")),
            put_of(exemplar(prompt, "visible", tests="visible")),
            put_of(exemplar(prompt, "person", tests="person")),
            put_of(exemplar(prompt, "gate", split="gate")),
            put_of(exemplar(prompt, "held out", split="held_out")),
            put_of(exemplar(prompt, "no split", split=None)),
            put_of(exemplar(prompt, "train")),
        ]
    )
    found = await recall(store, brief(prompt), exemplars=8, max_chars=10_000)
    codes = {hit.entry.code for hit in found.items if isinstance(hit.entry, Exemplar)}
    assert codes == {"train", "no split"}


async def test_a_task_is_not_shown_what_was_learnt_from_itself(store: ChromaStore) -> None:
    await store.abatch([put_of(SORT), put_of(rule("Use sorted().", task_id="kata/sort"))])
    own = brief(SORT.prompt, "kata/sort")
    assert await recall(store, own, exemplars=3, max_chars=9_000) == Recalled()
    shown = await recall(store, own, exemplars=3, max_chars=9_000, exclude_task_id="")
    assert [hit.entry.kind for hit in shown.items] == ["rule", "exemplar"]


async def test_recall_fits_and_never_shows_half_a_solution(store: ChromaStore) -> None:
    long = exemplar("Sort a list of integers quickly.", "x = 1\n" * 500, task_id="kata/long")
    await store.abatch([put_of(long), put_of(SORT), put_of(HINT)])
    asked = brief("Sort a list of integers quickly.")
    for limit in (0, 100, 300, 700, 1_500, 9_000):
        found = await recall(store, asked, exemplars=2, max_chars=limit)
        assert len(render(found)) <= limit
        for hit in found.exemplars:
            assert isinstance(hit.entry, Exemplar)
            assert hit.entry.code in render(found)
    kept = await recall(store, asked, exemplars=2, max_chars=1_500)
    assert [hit.entry for hit in kept.items] == [HINT, SORT]
    assert (await recall(store, asked, exemplars=0, max_chars=9_000)).exemplars == ()


async def test_an_empty_memory_says_nothing(store: ChromaStore) -> None:
    found = await recall(store, brief("Sort."), exemplars=2, max_chars=500)
    assert render(found) == ""


@pytest.mark.row("F1")
@given(text=st.text(st.sampled_from("`~\n\r <|>\x00\x1b\ud800abc#"), max_size=60))
def test_no_text_ends_its_own_quote(text: str) -> None:
    entry = exemplar(text, text)
    shown = render(Recalled(items=(Hit(id=entry.id, similarity=1, entry=entry),)))
    assert "<|" not in shown
    assert not re.search(r"[\x00-\x08\x0b-\x1f\ud800-\udfff]", shown)
    lines = iter(shown.split("\n"))
    outside = []
    for line in lines:
        outside.append(line)
        fence = re.match(r"`{3,}", line)
        if fence:
            while set(line := next(lines)) != {"`"} or len(line) < len(fence[0]):
                pass
    assert outside[-1] == "End of the notes."
    assert sum(line.startswith("`") for line in outside) == 2


@given(text=st.text(max_size=200), limit=st.integers(10, 100))
def test_clean_is_bounded_and_changes_nothing_twice(text: str, limit: int) -> None:
    once = clean(text, limit)
    assert len(once) <= limit
    assert clean(once, limit) == once
    once.encode()


def test_entries_hold_clean_bounded_text_and_a_content_hash() -> None:
    entry = exemplar("a\x00b\ud800", "x" * (MAX_TEXT_CHARS + 1))
    assert entry.prompt == "a\ufffdb\ufffd"
    assert len(entry.code) == MAX_TEXT_CHARS
    assert entry_of(json.loads(json.dumps(written(entry)))) == entry
    assert exemplar("p", "c").id == exemplar("p", "c").id != exemplar("p", "d").id
    with pytest.raises(MemoryStoreError, match="another content"):
        entry_of({**written(entry), "id": SORT.id})
    with pytest.raises(MemoryStoreError, match="unknown kind"):
        entry_of({**written(entry), "kind": "reflection"})


@pytest.mark.row("E16")
@pytest.mark.parametrize("split", ["gate", "held_out"])
async def test_entries_of_gate_and_held_out_tasks_are_refused(
    store: ChromaStore, log: Log, split: Split
) -> None:
    with pytest.raises(ContaminationError, match=f"is in the split '{split}'"):
        await remember(exemplar("p", split=split), log=log, store=store, guard=Forbidden())
    assert store.count() == 0
    log.close()
    assert [event.kind for event in read_log(log.folder)] == ["segment_opened"]


@pytest.mark.row("E16")
@pytest.mark.parametrize(
    "entry",
    [exemplar("the gate phrase"), exemplar("p", "# the gate phrase"), rule("the gate phrase")],
)
async def test_train_entries_that_hold_gate_text_are_refused(
    store: ChromaStore, log: Log, entry: Entry
) -> None:
    with pytest.raises(ContaminationError, match="gate/one"):
        await remember(entry, log=log, store=store, guard=Forbidden("the gate phrase"))
    assert store.count() == 0
    log.close()
    assert [event.kind for event in read_log(log.folder)] == ["segment_opened"]


async def test_the_index_is_rebuilt_from_the_log_as_it_was(
    dojo: Path, log: Log, store: ChromaStore, embedder: Embedder
) -> None:
    for entry in (SORT, CAKE, HINT, SORT):
        await remember(entry, log=log, store=store, guard=Forbidden())
    log.append(MEMORY_WRITTEN, written(exemplar("slipped in", split="gate"))).result()
    asked = brief("Order numbers ascending.")
    before = await recall(store, asked, exemplars=2, max_chars=9_000)
    with pytest.raises(MemoryStoreError, match="in use by process"):
        rebuild(dojo / "memory", read_log(log.folder), embedder)
    store.close()
    (dojo / "memory" / "chroma" / "chroma.sqlite3").write_bytes(b"damaged")

    assert rebuild(dojo / "memory", read_log(log.folder), embedder) == 3
    again = open_memory(dojo / "memory", embedder)
    assert again is not None
    with again:
        assert again.count() == 3
        assert await recall(again, asked, exemplars=2, max_chars=9_000) == before


@pytest.mark.row("C10")
def test_an_index_that_meets_a_full_disk_is_an_error_and_made_again_later(
    dojo: Path, log: Log, embedder: Embedder
) -> None:
    init(dojo)
    for n in range(100):
        entry = exemplar(f"task {n} " + "words " * 900, f"def f(): return {n}  # {'y' * 3_000}")
        last = log.append(MEMORY_WRITTEN, written(entry))
    last.result()
    (dojo / "memory").mkdir()
    rebuild_it = f"{sys.executable} -m codojo rebuild --dojo {dojo}"
    script = f"mount -t tmpfs -o size=512k tmpfs {dojo}/memory && {rebuild_it}"
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"cannot make a small file system here: {done.stderr.strip()}")
    (complaint,) = done.stderr.splitlines()
    assert done.returncode not in (0, 1) and complaint.startswith("codojo: ")
    assert "full" in complaint and "codojo rebuild" in complaint
    assert rebuild(dojo / "memory", read_log(log.folder), embedder) == 100


async def test_what_a_process_without_memory_wrote_is_indexed_later(
    log: Log, store: ChromaStore
) -> None:
    await remember(SORT, log=log, store=None, guard=Forbidden())
    await remember(CAKE, log=log, store=store, guard=Forbidden())
    assert store.count() == 1
    assert catch_up(store, read_log(log.folder)) == 1
    assert catch_up(store, read_log(log.folder)) == 0
    assert store.count() == 2


def test_the_commands_list_search_and_show(dojo: Path, log: Log, embedder: Embedder) -> None:
    for entry in (SORT, CAKE, HINT):
        log.append(MEMORY_WRITTEN, written(entry)).result()

    def run(*args: str) -> str:
        done = CliRunner().invoke(app, [*args, "--dojo", str(dojo)], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    assert [line.split()[0] for line in run("list").splitlines()] == [
        entry.id[:12] for entry in (SORT, CAKE, HINT)
    ]
    assert [json.loads(line)["id"] for line in run("list", "--json").splitlines()] == [
        SORT.id,
        CAKE.id,
        HINT.id,
    ]
    first = json.loads(run("search", "order numbers ascending", "--json").splitlines()[0])
    assert (first["id"], first["entry"]["code"]) == (SORT.id, SORT.code)
    assert first["similarity"] == pytest.approx(0.59, abs=0.1)
    assert SORT.id[:12] in run("search", "order numbers", "--limit", "1")
    shown = run("show", SORT.id[:8])
    assert SORT.code in shown
    assert "trust verified, may guide" in shown
    assert entry_of(json.loads(run("show", HINT.id, "--json"))) == HINT


def test_the_commands_say_what_is_wrong(
    dojo: Path, log: Log, store: ChromaStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def run(*args: str, at: Path = dojo) -> None:
        CliRunner().invoke(app, [*args, "--dojo", str(at)], catch_exceptions=False)

    with pytest.raises(MemoryStoreError, match="names 0 memory entries"):
        run("show", "abc")
    with pytest.raises(MemoryStoreError, match="in use by process"):
        run("search", "x")
    with pytest.raises(SettingsError, match="codojo init"):
        run("list", at=tmp_path_factory.mktemp("empty"))
