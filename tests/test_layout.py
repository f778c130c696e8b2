"""The house stands as the design draws it: links, packages, light imports."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAPPED = PYPROJECT["tool"]["setuptools"]["package-dir"]
HEAVY = ("torch", "chromadb", "langgraph", "transformers", "langchain_core", "openai")


def test_every_mapped_folder_has_its_link_and_is_listed() -> None:
    for package, folder in MAPPED.items():
        link = ROOT / "codojo" / folder
        assert package == f"codojo.{folder}"
        assert link.is_symlink() and str(link.readlink()) == f"../{folder}", (
            f"codojo/{folder} must link to ../{folder}"
        )


def test_every_package_is_listed() -> None:
    listed = set(PYPROJECT["tool"]["setuptools"]["packages"])
    found = {"codojo", "codojo.cli"}
    for folder in MAPPED.values():
        for file in (ROOT / folder).rglob("__init__.py"):
            found.add("codojo." + ".".join(file.parent.relative_to(ROOT).parts))
    assert found == listed


def test_a_wheel_holds_exactly_the_tree(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(tmp_path),
    ]
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    copy = tmp_path / "copy"
    for name in files.stdout.splitlines():
        source, target = ROOT / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_file():
            target.write_bytes(source.read_bytes())
    done = subprocess.run([*command, str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = {n for n in zipfile.ZipFile(wheel).namelist() if n.endswith(".py")}
    wanted = {
        name if name.startswith("codojo/") else f"codojo/{name}"
        for name in files.stdout.splitlines()
        if name.endswith(".py")
        and name.split("/")[0] in {"codojo", *MAPPED.values()}
        and (ROOT / name).is_file()
    }
    assert held == wanted


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_import_loads_nothing_heavy() -> None:
    assert not loaded_by("import codojo").intersection(HEAVY)


def test_help_loads_nothing_heavy() -> None:
    code = "sys.argv = ['codojo', '--help']\nimport codojo.cli\ntry: codojo.cli.main()\nexcept SystemExit: pass"
    assert not loaded_by(code).intersection(HEAVY)
