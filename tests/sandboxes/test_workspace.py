"""Files that a program leaves in its workspace, and what collecting them can do to us."""

import asyncio
import os
import pty
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codojo.errors import SandboxError
from codojo.sandboxes import ExecResult, Sandbox, attendant
from codojo.sandboxes.workspace import MAX_FILES, Workspace, execute, open_workspace

ROOT = Path(__file__).parents[2]
Run = Callable[[str], Coroutine[Any, Any, ExecResult]]


async def _leave(workspace: Workspace, code: str) -> None:
    ran = await workspace.exec(["-c"], code=f"import os\n{code}")
    assert (ran.ended, ran.returncode) == ("exited", 0), ran.stderr


@pytest.mark.backends
@pytest.mark.row("A6")
async def test_filling_the_workspace_fills_nothing_else(sandbox: Sandbox) -> None:
    """The quota is met inside; neither the disk below our files nor our shared memory shrinks."""
    places = ("/tmp", "/dev/shm", str(ROOT))
    for _ in range(3):  # others write to the disk, too, but not each time
        async with open_workspace(sandbox) as workspace:
            before = [shutil.disk_usage(place).free for place in places]
            ran = await workspace.exec(
                ["-c"],
                code="n = 0\n"
                "try:\n"
                "    while n < 4096: n += open(f'fill{n}', 'wb', 0).write(bytes(1 << 14)) >> 14\n"
                "except OSError as err: print(err.errno)",
            )
            after = [shutil.disk_usage(place).free for place in places]
            with pytest.raises(SandboxError, match="No space left"):
                await workspace.put_files({"more": b"x" * (1 << 20)})
        assert ran.stdout == b"28\n"
        taken = max(b - a for b, a in zip(before, after, strict=True))
        if taken < 4 << 20:
            break
    assert taken < 4 << 20


@pytest.mark.backends
@pytest.mark.row("A8")
async def test_sparse_file_of_a_terabyte_is_no_larger_than_its_limit(sandbox: Sandbox) -> None:
    async with open_workspace(sandbox) as workspace:
        ran = await workspace.exec(
            ["-c"],
            code="import os\nfor size in (4 << 20, 1 << 40):\n"
            "    try: os.truncate(os.open(f's{size}', os.O_CREAT | os.O_WRONLY), size)\n"
            "    except OSError as err: print(err.errno)",
        )
        assert ran.stdout == b"27\n" or ran.returncode == -25  # EFBIG or its signal
        began = time.monotonic()
        files = await workspace.list_files()
        with pytest.raises(SandboxError, match="more than 1000"):
            await workspace.get_files(["s4194304"], max_bytes=1000)
        with pytest.raises(SandboxError):
            await workspace.get_files(max_bytes=1000)
    assert "s4194304" in files
    assert time.monotonic() - began < 2


BYTES = r"\0\xff\xfe\xc3(\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b5n\r\b no newline \xe2\x80\xae"


@pytest.mark.row("A10")
async def test_output_of_any_bytes_is_kept_and_shown_inert_in_a_terminal(run: Run) -> None:
    ran = await run(f"import os; os.write(1, b'{BYTES}'); os.write(2, b'{BYTES}')")
    assert ran.stdout == ran.stderr == BYTES.encode().decode("unicode_escape").encode("latin-1")
    argv = [sys.executable, "-c", "from codojo.cli import main; main()", "sandbox", "exec", "--"]
    argv += ["python3", "-c", f"import os; os.write(1, b'{BYTES}')"]
    home = tempfile.mkdtemp(prefix="codojo-home-")
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "PATH": os.defpath}
    environment |= {"TERM": "xterm", "HOME": home, "PYTHONUTF8": "1"}
    ours, theirs = pty.openpty()
    try:
        ended = await asyncio.create_subprocess_exec(
            *argv,
            env=environment,
            cwd=home,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        await ended.wait()
        shown = b""
        while b"no newline" not in shown and (more := os.read(ours, 65536)):
            shown += more
    finally:
        shutil.rmtree(home)
        os.close(ours)
        os.close(theirs)
    assert b"no newline" in shown, (ended, shown)
    assert not set(shown.replace(b"\r\n", b"")) & {0, 7, 8, 0x0D, 0x1B}
    assert not any(char in shown.decode(errors="replace") for char in "\x9b\u202e")


HOST_FILES = ["/etc/shadow", "/etc/passwd", "../../etc/passwd", "/proc/self/environ", "/dev/zero"]


@pytest.mark.backends
@pytest.mark.row("A17")
async def test_links_lead_nowhere_in_either_direction(sandbox: Sandbox, tmp_path: Path) -> None:
    """Read and written in the cage; what a link names there is the cage's, and even so not followed."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    async with open_workspace(sandbox) as workspace:
        links = {f"link{n}": target for n, target in enumerate([*HOST_FILES, str(victim), "."])}
        code = f"for name, target in {links}.items(): os.symlink(target, name)"
        await _leave(workspace, f"{code}\nos.symlink('/etc', 'folder'); os.mkdir('real')")
        assert await workspace.list_files() == []
        for name in links:
            with pytest.raises(SandboxError, match="cannot read"):
                await workspace.get_files([name])
        await workspace.put_files(dict.fromkeys(links, "ours"))
        assert await workspace.get_files() == dict.fromkeys(links, b"ours")
        for path in ("folder/passwd", "folder/ld.so.cache/x", "real"):
            with pytest.raises(SandboxError):
                await workspace.put_files({path: "ours"})
    assert victim.read_text() == "untouched"


@pytest.mark.row("A17")
@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", ".", "a\0b"])
async def test_path_that_leaves_the_workspace_is_refused(sandbox: Sandbox, path: str) -> None:
    async with open_workspace(sandbox) as workspace:
        with pytest.raises(ValueError, match="relative path"):
            await workspace.get_files([path])
        with pytest.raises(ValueError, match="relative path"):
            await workspace.put_files({path: "x"})


SWAPPER = """
import contextlib, os, sys
for name in ('.a', '.b'):
    with contextlib.suppress(OSError): os.unlink(name)
while True:
    open('.a', 'w').write('inside'); os.rename('.a', 'out')
    os.symlink(sys.argv[1], '.b'); os.rename('.b', 'out')
"""


@pytest.mark.row("A18")
@pytest.mark.parametrize("times", [60, pytest.param(1000, marks=pytest.mark.slow)])
async def test_file_swapped_for_a_link_while_it_is_read_is_read_or_refused(
    sandbox: Sandbox, times: int
) -> None:
    """Each time its swapper was at work until then; nothing else runs while files are collected."""
    swapper = f"import os, time\nif os.fork() == 0:\n    os.setsid()\n    exec({SWAPPER!r})\n"
    async with open_workspace(sandbox, lifetime_s=1200) as workspace:
        seen: set[bytes | None] = set()
        for n in range(times):
            code = f"import sys; sys.argv = ['', '/etc/ld.so.cache']\n{swapper}time.sleep({n % 7 / 1000})"
            await workspace.exec(["-c"], code=code, wall_s=20)
            try:
                seen |= set((await workspace.get_files(["out"])).values())
            except SandboxError:
                seen.add(None)
    assert seen <= {b"inside", b"", None}


@pytest.mark.row("A18")
def test_reader_in_the_cage_opens_a_name_once_and_as_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attendant's own reading, a thousand times beside a swapper that is not stopped."""
    secret = tmp_path / "secret"
    secret.write_text("outside")
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", SWAPPER, str(secret)]) as swapper:
        try:
            while not Path("out").exists():
                time.sleep(0.01)
            seen: set[bytes | None] = set()
            for _ in range(1000):
                try:
                    seen.add(attendant.get("out", 100))
                except OSError:
                    seen.add(None)
        finally:
            swapper.kill()
    assert seen <= {b"inside", b"", None}


@pytest.mark.backends
@pytest.mark.row("A19")
async def test_pipes_sockets_and_devices_are_left_out_and_never_waited_for(
    sandbox: Sandbox,
) -> None:
    async with open_workspace(sandbox) as workspace:
        await _leave(
            workspace,
            "import socket\nos.mkfifo('pipe'); os.mkfifo('result.json')\n"
            "socket.socket(socket.AF_UNIX).bind('socket')\n"
            "open('a', 'w').write('x'); os.link('a', 'b')\n"
            "for make in (lambda: os.mknod('null', 0o20666, os.makedev(1, 3)),\n"
            "             lambda: os.mknod('disk', 0o60666, os.makedev(8, 0))):\n"
            "    try: make(); print('made')\n"
            "    except OSError: pass",
        )
        async with asyncio.timeout(5):
            assert await workspace.get_files() == {"a": b"x", "b": b"x"}
            for name in ("pipe", "result.json", "socket"):
                with pytest.raises(SandboxError):
                    await workspace.get_files([name])
            await workspace.put_files({"pipe": "now a file"})
            assert await workspace.get_files(["pipe"]) == {"pipe": b"now a file"}


@pytest.mark.backends
@pytest.mark.row("A19")
async def test_names_of_any_kind_are_listed_and_read(sandbox: Sandbox) -> None:
    names = [
        "new\nline",
        "\x1b[2J",
        "quote'\"",
        "-rf",
        "~",
        "$(id)",
        "\udcff\udcfe",
        "é",
        " ",
        "a\\b",
    ]
    async with open_workspace(sandbox) as workspace:
        await _leave(workspace, f"for n in {names!a}: open(n, 'w').write('x')")
        assert await workspace.list_files() == sorted(names)
        assert await workspace.get_files() == dict.fromkeys(names, b"x")


@pytest.mark.row("A35")
@pytest.mark.row("A7")
async def test_more_than_is_sensible_is_not_collected(sandbox: Sandbox) -> None:
    """The caps of a collection hold for what an unpacked archive holds; the host unpacks none."""
    async with open_workspace(sandbox) as workspace:
        await _leave(workspace, f"for n in range({MAX_FILES + 1}): open(str(n), 'w').close()")
        with pytest.raises(SandboxError, match=f"more than {MAX_FILES}"):
            await workspace.get_files()
        await _leave(workspace, "for n in os.listdir('.'): os.unlink(n)")
        await _leave(workspace, "for n in range(9): open(str(n), 'wb').write(bytes(100_000))")
        with pytest.raises(SandboxError, match="more than"):
            await workspace.get_files(max_bytes=99_999)
        with pytest.raises(SandboxError, match="more than"):
            await workspace.get_files(max_bytes=100_000)
        assert len(await workspace.get_files(map(str, range(8)), max_bytes=100_000)) == 8


BOMBS = {
    "zip": "with zipfile.ZipFile('bomb', 'w', zipfile.ZIP_DEFLATED) as z: z.writestr('a', bytes(30 << 20))\n"
    "zipfile.ZipFile('bomb').extractall('/tmp')",
    "nested zip": "inner = io.BytesIO()\n"
    "with zipfile.ZipFile(inner, 'w', zipfile.ZIP_DEFLATED) as z: z.writestr('a', bytes(30 << 20))\n"
    "with zipfile.ZipFile('bomb', 'w') as z:\n"
    "    for n in range(16): z.writestr(str(n), inner.getvalue())\n"
    "zipfile.ZipFile('bomb').extractall('/tmp/work')\n"
    "for n in range(16): zipfile.ZipFile(f'/tmp/work/{n}').extractall(f'/tmp/{n}')",
    "gzip": "with gzip.open('bomb', 'wb') as z: z.write(bytes(30 << 20))\n"
    "shutil.copyfileobj(gzip.open('bomb'), open('/tmp/a', 'wb'))",
    "tar": "with tarfile.open('bomb', 'w:gz') as z:\n"
    "    head = tarfile.TarInfo('a'); head.size = 30 << 20; z.addfile(head, io.BytesIO(bytes(30 << 20)))\n"
    "tarfile.open('bomb').extractall('/tmp')",
}
"""Archives of some kilobytes, unpacked inside."""


@pytest.mark.backends
@pytest.mark.row("A35")
@pytest.mark.parametrize("bomb", BOMBS)
async def test_bomb_unpacked_in_a_cage_meets_its_disk(sandbox: Sandbox, bomb: str) -> None:
    body = "\n".join(f"    {line}" for line in BOMBS[bomb].splitlines())
    code = (
        "import gzip, io, os, shutil, tarfile, warnings, zipfile\n"
        f"warnings.simplefilter('ignore')\ntry:\n{body}\n"
        "except OSError as err: print(err.errno, os.path.getsize('bomb') < 1_000_000)"
    )
    ran = await execute(sandbox, ["-c"], code=code, limits=replace(sandbox.limits, wall_s=20))
    assert ran.stdout in (b"27 True\n", b"28 True\n"), ran


@pytest.mark.backends
@pytest.mark.row("A35")
async def test_archive_with_members_that_lead_out_leads_nowhere(sandbox: Sandbox) -> None:
    """Unpacked without any care: absolute names, `..`, links to be written through, devices."""
    code = (
        "import io, os, tarfile, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "tar = tarfile.open('evil', 'w')\n"
        "def add(name, kind=tarfile.REGTYPE, to='', data=b''):\n"
        "    head = tarfile.TarInfo(name); head.type, head.linkname, head.size = kind, to, len(data)\n"
        "    head.devmajor, head.devminor, head.mode = 1, 1, 0o666\n"
        "    tar.addfile(head, io.BytesIO(data))\n"
        "for name in ('../../../../usr/evil', '/usr/evil', '/etc/evil', '/dev/evil'): add(name, data=b'x')\n"
        "add('away', tarfile.SYMTYPE, '/usr'); add('away/evil', data=b'x')\n"
        "add('hard', tarfile.LNKTYPE, '/usr/bin/env'); add('hard', data=b'x')\n"
        "add('memory', tarfile.CHRTYPE); add('disk', tarfile.BLKTYPE)\n"
        "tar.close()\n"
        "trusting = {'filter': 'fully_trusted'} if hasattr(tarfile, 'data_filter') else {}\n"
        "whole = tarfile.open('evil')\n"
        "for member in whole.getmembers():\n"
        "    try: whole.extract(member, '/tmp/work', **trusting)\n"
        "    except (OSError, KeyError, ValueError): pass\n"
        "there = [p for p in ('/usr/evil', '/etc/evil', '/dev/evil') if os.path.exists(p)]\n"
        "print(there, [n for n in ('memory', 'disk') if os.path.exists(n)])\n"
        "print(open('/usr/bin/env', 'rb').read(4))"
    )
    ran = await execute(sandbox, ["-c"], code=code, limits=replace(sandbox.limits, wall_s=20))
    assert ran.stdout == b"[] []\nb'\\x7fELF'\n", ran


POISON = dict.fromkeys(
    (
        *("sitecustomize.py", "usercustomize.py", "conftest.py", "json.py", "os.py", "struct.py"),
        *("codojo/__init__.py", "codojo/sandboxes/frames.py", "encodings/__init__.py", "types.py"),
    ),
    "open('/tmp/poisoned', 'w').close(); print('poisoned')\n",
) | {"poison.pth": "import os; os.mkdir('/tmp/poisoned')", "pytest.ini": "[pytest]\naddopts = -p x"}


@pytest.mark.backends
@pytest.mark.row("A34")
async def test_planted_modules_are_not_imported_by_a_later_step(sandbox: Sandbox) -> None:
    plant = "\n".join(
        f"os.makedirs(os.path.dirname({name!r}) or '.', exist_ok=True); open({name!r}, 'w').write({text!r})"
        for name, text in POISON.items()
    )
    later = "import json, struct, types, os; print(os.path.exists('/tmp/poisoned'), json.__file__)"
    async with open_workspace(sandbox) as workspace:
        await _leave(workspace, plant)
        for argv, code in (
            (["-c"], later),
            (["python", "-I", "-S", "-B", "-c", later], None),
        ):
            ran = await workspace.exec(argv, code=code)
            assert ran.stdout.startswith(b"False /"), ran
            assert b"/usr/" in ran.stdout or b"/opt/" in ran.stdout
        assert sorted(await workspace.list_files()) == sorted(POISON)
    # And another cage has none of it.
    ran = await execute(
        sandbox, ["-c"], code="import os; print(os.listdir('.'), os.listdir('/tmp'))"
    )
    assert ran.stdout == b"[] ['work']\n"
