"""The working folder: what is read of it, and that nothing outside of it can be touched."""

import os
from pathlib import Path

import pytest

from codojo.chat.folder import apply, read_file, read_folder
from codojo.errors import SettingsError
from codojo.tasks.changes import Change, changes_of, diff_of, refusal, reversed_changes


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


HOSTILE = [
    "../up.py",
    "a/../../up.py",
    "/etc/cron.d/x",
    "..\\up.py",
    "C:\\up.py",
    "C:/up.py",
    "\\\\host\\share\\x",
    ".git/hooks/pre-commit",
    "a/.ssh/config",
    ".env",
    "node_modules/x.js",
    "a\0b.py",
    "a\x1b[2Jb.py",
    "a\u202eb.py",
    "a\nb.py",
    "",
    ".",
    "x" * 201,
]


@pytest.mark.row("H7")
@pytest.mark.parametrize("path", HOSTILE)
def test_a_hostile_path_is_refused(tmp_path: Path, path: str) -> None:
    assert refusal(path)
    folder = tmp_path / "work"
    folder.mkdir()
    with pytest.raises(SettingsError, match="nothing was changed"):
        apply(
            folder,
            [
                Change(path="good.py", before=None, after="1\n"),
                Change(path=path, before=None, after="evil\n"),
            ],
        )
    assert names(tmp_path) == ["work"] and not names(folder)


@pytest.mark.row("H7")
def test_links_are_never_followed(tmp_path: Path) -> None:
    folder, outside = tmp_path / "work", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "secret.py").write_text("secret = 1\n")
    (folder / "way").symlink_to(outside)
    (folder / "file.py").symlink_to(outside / "secret.py")
    (folder / "gone.py").symlink_to(outside / "new.py")
    assert read_folder(folder) == {}
    assert read_file(folder, "way/secret.py") is None and read_file(folder, "file.py") is None
    for path in ("way/secret.py", "file.py", "way/new.py", "gone.py"):
        for before in (None, "secret = 1\n"):
            with pytest.raises(SettingsError):
                apply(folder, [Change(path=path, before=before, after="evil\n")])
    assert names(outside) == ["secret.py"]
    assert (outside / "secret.py").read_text() == "secret = 1\n"


def test_a_dojo_in_the_folder_is_neither_read_nor_written(tmp_path: Path) -> None:
    (tmp_path / "dojo" / "log").mkdir(parents=True)
    (tmp_path / "dojo" / "codojo.toml").write_text("[team]\n")
    (tmp_path / "dojo" / "log" / "000001.jsonl").write_text("{}\n")
    (tmp_path / "a.py").write_text("1\n")
    assert read_folder(tmp_path) == {"a.py": "1\n"}
    for path in ("dojo/codojo.toml", "dojo/log/new.jsonl"):
        with pytest.raises(SettingsError, match="it lies in a dojo"):
            apply(tmp_path, [Change(path=path, before=None, after="x\n")])
    with pytest.raises(SettingsError, match="is a dojo"):
        read_folder(tmp_path / "dojo")


def test_what_is_read_is_text_that_somebody_works_on(tmp_path: Path) -> None:
    for name, content in {
        "a.py": b"x = 1\n",
        "deep/b.txt": "ü\n".encode(),
        ".env": b"TOKEN=1",
        ".git/config": b"x",
        "node_modules/m.js": b"x",
        "key.pem": b"x",
        "image.png": b"\x89PNG\0",
        "latin.txt": b"\xfc",
        "big.txt": b"x" * 70_000,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    os.mkfifo(tmp_path / "pipe.txt")
    assert read_folder(tmp_path) == {"a.py": "x = 1\n", "deep/b.txt": "ü\n"}


def test_a_change_is_written_whole_taken_back_and_never_over_newer_work(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1\n")
    (tmp_path / "a.py").chmod(0o755)
    seen = read_folder(tmp_path)
    changes = changes_of(seen, {"a.py": "2\n", "new/b.py": "b\n", "./c.py": "c\n"})
    assert "+++ b/new/b.py" in diff_of(changes) and "-1\n+2\n" in diff_of(changes)
    apply(tmp_path, changes)
    assert read_folder(tmp_path) == {"a.py": "2\n", "c.py": "c\n", "new/b.py": "b\n"}
    assert (tmp_path / "a.py").stat().st_mode & 0o777 == 0o755
    apply(tmp_path, changes)  # as after a crash between writing and logging
    (tmp_path / "a.py").write_text("mine\n")
    with pytest.raises(SettingsError, match="has changed since"):
        apply(tmp_path, reversed_changes(changes))
    (tmp_path / "a.py").write_text("2\n")
    apply(tmp_path, reversed_changes(changes))
    assert read_folder(tmp_path) == seen


def test_a_new_file_never_takes_the_place_of_one_that_was_not_shown(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0")
    with pytest.raises(SettingsError, match="has changed since"):
        apply(tmp_path, [Change(path="image.png", before=None, after="text\n")])
    assert (tmp_path / "image.png").read_bytes() == b"\x89PNG\0"
