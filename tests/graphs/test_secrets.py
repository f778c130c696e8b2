"""Secrets planted wherever text comes from: none of their bytes is in anything that a run leaves."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pytest

from codojo.errors import SettingsError
from codojo.exporting import export
from codojo.filters import Filters
from codojo.serving.scripted import token_id, tokens_of
from codojo.serving.scripted_engine import ScriptedEngine
from codojo.trajectories.exporters.formats import formats
from codojo.trajectories.journal import EFFECT
from codojo.trajectories.log import read_log
from codojo.trajectories.schema import load_trajectories
from tests.canaries import BASE64, Canary, canaries, squeezed

IN_PROMPT, IN_CODE, IN_TEXT, IN_TEST, IN_RESULT, IN_ERROR = (canaries(n) for n in range(11, 17))
ENVIRONMENT = Canary("environment", "%s", "Envir0nment-" + canaries(17)[1].secret[:20])
ADDRESS = Canary("address", "%s", "Addr3ss" + canaries(18)[2].secret[-16:])
EVERYWHERE = [*IN_PROMPT, *IN_CODE, *IN_TEXT, *IN_TEST, *IN_RESULT, *IN_ERROR, ENVIRONMENT]


@pytest.mark.row("H13")
def test_no_byte_of_a_secret_is_in_anything_that_runs_leave(tmp_path: Path) -> None:
    dojo = tmp_path / "d"
    said = run_all(tmp_path, dojo)
    assert leaks(dojo, tmp_path / "exports", EVERYWHERE) == []
    assert [c.name for c in EVERYWHERE if c.secret in said] == []
    assert re.search(r"\d+ secrets redacted", said)
    found = load_trajectories(dojo / "log")
    marked = [c for t in found.values() for s in t.steps.values() for c in s.output.choices]
    assert any(not c.token_exact and c.token_ids is None for c in marked)
    counts = [t.end.redacted for t in found.values() if t.end]
    assert all(sum(count.values()) > 25 for count in counts if count)


@pytest.mark.row("H13")
def test_the_same_search_finds_every_secret_where_nothing_is_redacted(tmp_path: Path) -> None:
    dojo = tmp_path / "d"
    run_all(tmp_path, dojo, CODOJO_REDACTION__ENABLED="false")
    leaked = leaks(dojo, tmp_path / "exports", EVERYWHERE)
    assert set(leaked) == {canary.name for canary in EVERYWHERE} | {"token ids"}


def run_all(tmp_path: Path, dojo: Path, **environment: str) -> str:
    """A run on a suite with memory, one on a request, one that is refused; all that they print."""
    given = environment | {"CANARY_API_TOKEN": ENVIRONMENT.secret}
    suite, script = tmp_path / "planted.jsonl", tmp_path / "script.json"
    suite.write_text("\n".join(json.dumps(row) for row in tasks()))
    script.write_text(json.dumps(the_script()))
    engine = ("--set", "engine.kind=scripted", "--set", f"engine.model={script}")
    more = ("--set", "sampling.max_tokens=200000", "--dojo", dojo)
    said = codojo(
        "run", "--suite", suite, "--memory", "--samples", 2, *engine, *more, environment=given
    )
    request = f"Write mirror(x) that gives x back. {plain(IN_TEXT)}"
    tests = [f"assert mirror({c.text!r}) == {c.text!r}" for c in IN_TEST]
    asserts = [part for test in tests for part in ("--test", test)]
    said += codojo("run", request, *asserts, "--graph", "team", *engine, *more, environment=given)
    refusing = the_script() | {"faults": [refusal(IN_ERROR)]}
    script.write_text(json.dumps(refusing))
    said += codojo("run", "Write refused(x)", "--samples", 1, *engine, *more, environment=given)
    return said


def tasks() -> list[dict[str, str]]:
    """Tasks of the suite: enough that some are in `train`."""
    return [
        {
            "task_id": f"planted/{n}",
            "family": f"family {n}",
            "prompt": f'def add{n}(x):\n    """Add {n}.\n{plain(IN_PROMPT)}\n"""\n',
            "entry_point": f"add{n}",
            "test": f"def check(candidate):\n    assert candidate(2) == {2 + n}\n",
        }
        for n in range(4)
    ]


def the_script() -> dict[str, Any]:
    """Answers that hold secrets in code, in base64, added together; a result that holds some; a refusal."""
    hidden = base64.b64encode(plain(IN_CODE).encode()).decode()
    added = "\n".join(
        f"K{n} = {c.secret[:9]!r} + {c.secret[9:]!r}"
        for n, c in enumerate(IN_CODE)
        if c.around == "%s"
    )
    notes = (
        f"NOTES = '''\n{plain(IN_CODE)}\n{ENVIRONMENT.secret}\n'''\nHIDDEN = '{hidden}'\n{added}\n"
    )
    solved = [
        {
            "match": rf"\badd{n}\(",
            "replies": [f"```python\n{notes}def add{n}(x):\n    return x + {n}\n```"],
        }
        for n in range(4)
    ]
    given = f"```python\ndef mirror(x):\n    return {plain(IN_RESULT)!r}\n```"
    return {
        "rules": [
            *solved,
            {"match": r"mirror\(", "replies": [given]},
            {"match": "", "replies": [plain(IN_RESULT)]},
        ],
        "max_model_len": 10_000_000,
    }


def refusal(planted: list[Canary]) -> dict[str, Any]:
    """The first request is refused in words that hold them, and what it was authorized with."""
    said = f"wrong key {{authorization}} for {plain(planted)}"
    return {"requests": [1], "kind": "status", "status": 400, "message": said}


def plain(planted: list[Canary]) -> str:
    """All of them, each on lines of its own."""
    return "\n".join(canary.text for canary in planted)


def codojo(*args: object, environment: dict[str, str], fails: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "codojo", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert (done.returncode != 0) == fails, done.stderr[-2000:]
    return done.stdout + done.stderr


def leaks(dojo: Path, exports: Path, planted: list[Canary]) -> list[str]:
    """Names of the secrets that the dojo, or any export of it, holds in any form."""
    for format in formats().values():
        for parquet in (False, True) if format.columns is not None else (False,):
            out = exports / f"{format.name}{'-parquet' if parquet else ''}"
            filters = Filters(only=None if "dpo" in format.name else "all")
            try:
                export(dojo, format.name, out, filters, parquet=parquet)
            except SettingsError as err:
                assert "nothing" in str(err) or "pairs" in str(err), err
    everything = "\n".join(form for file in files(dojo, exports) for form in readings(file))
    found = {c.name for c in planted if c.secret in everything or squeezed(c.secret) in everything}
    if any(ids in everything for ids in SAMPLED):
        found.add("token ids")
    return sorted(found)


def files(*folders: Path) -> Iterator[bytes]:
    """What every file holds, decompressed."""
    import zstandard

    seen = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(seen) > 5
    for path in seen:
        data = path.read_bytes()
        yield data
        if data[:4] == b"\x28\xb5\x2f\xfd":
            yield zstandard.ZstdDecompressor().stream_reader(data).read()
        if path.suffix == ".parquet":
            import pyarrow.parquet

            yield json.dumps(pyarrow.parquet.read_table(path).to_pylist()).encode()


def readings(data: bytes) -> Iterator[str]:
    """A file's text as it stands, put together, and out of base64."""
    text = data.decode("utf-8", "replace")
    whole = squeezed(text)
    yield text
    yield whole
    for run in re.findall(rf"[{re.escape(BASE64)}]{{24,}}", text):
        for start in range(4):
            piece = run[start:][: len(run[start:]) // 4 * 4]
            decoded = base64.b64decode(piece).decode("utf-8", "replace")
            yield decoded
            yield squeezed(decoded)


def sampled() -> Iterator[str]:
    """Token ids of secrets with their neighbours, as JSON writes them."""
    for rule in the_script()["rules"][:4]:
        tokens = tokens_of(rule["replies"][0])
        ids = [token_id(token) for token in tokens]
        for canary in IN_CODE:
            inner = max(tokens_of(canary.secret), key=len)
            for at, token in enumerate(tokens):
                if token.strip() == inner:
                    window = ids[max(0, at - 2) : at + 3]
                    yield json.dumps(window)[1:-1]
                    yield json.dumps(window, separators=(",", ":"))[1:-1]


SAMPLED = set(sampled())


@contextmanager
def server(tmp_path: Path, script: dict[str, Any]) -> Iterator[str]:
    """Address of a scripted engine of somebody else's, which asks for no key."""
    path = tmp_path / "outside.json"
    path.write_text(json.dumps(script))
    launch = ScriptedEngine(path).launch(0, "")
    with subprocess.Popen(launch.argv, env=launch.env, stdout=subprocess.PIPE) as process:
        port = cast(IO[bytes], process.stdout).readline().decode().strip()
        yield f"127.0.0.1:{port}/v1"
        process.kill()


@pytest.mark.row("H13")
def test_the_password_of_an_engines_address_and_what_the_engine_echoes_stay_out(
    tmp_path: Path,
) -> None:
    dojo, key = tmp_path / "d", canaries(19)[1].secret
    planted = [*IN_ERROR, ADDRESS, Canary("key", "%s", key)]
    echo = refusal([*IN_ERROR, Canary("key", "%s", key)])
    faults = [echo, {"requests": [3], "kind": "wrong_model"}]
    rules = [{"match": "", "replies": ["```python\ndef f(x):\n    return x\n```"]}]
    run = ("run", "Write f(x)", "--samples", 1, "--dojo", dojo)
    with server(tmp_path, {"rules": rules, "faults": faults}) as place:
        environment = {
            "CODOJO_ENGINE__KIND": "external",
            "CODOJO_ENGINE__URL": f"http://deploy:{ADDRESS.secret}@{place}",
            "CODOJO_ENGINE__KEY_ENV": "OUTSIDE",
            "OUTSIDE": key,
        }
        said = codojo(*run, environment=environment)
        assert "refused (400): wrong key" in said and "[redacted:" in said
        said += codojo(*run, environment=environment)
        failed = codojo("--debug", *run, fails=True, environment=environment)
        assert "Traceback" in failed and "another-model" in failed
        resumed = codojo("run", "--resume", "last", "--dojo", dojo, environment=environment)
        assert "return x" in resumed, (
            "the address comes from where it came, the log does not have it"
        )
        shown = codojo("config", "show", "--dojo", dojo, environment=environment)
        assert "http://deploy:[redacted:" in shown
    said += failed + resumed + shown
    assert [
        c.name for c in planted if c.secret in said or squeezed(c.secret) in squeezed(said)
    ] == []
    authorized = base64.b64encode(f"deploy:{ADDRESS.secret}".encode()).decode()
    assert authorized not in said
    assert leaks(dojo, tmp_path / "exports", planted) == []
    errors = [
        e.data["error"] for e in read_log(dojo / "log") if e.kind == EFFECT and "error" in e.data
    ]
    assert errors and "[redacted:" in errors[0]["message"]
