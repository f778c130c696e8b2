"""Test files of pytest and unittest: what they say counts, and what a candidate makes them say does not."""

import random

import pytest

from codojo.sandboxes import Judge, Sandbox
from codojo.sandboxes.examining import laid_out, with_canaries
from codojo.settings import SandboxSettings
from codojo.tasks.schema import Candidate, TestFiles, Tests, Verdict
from codojo.tasks.test_names import framework_of, wanted_tests

UNITTEST = """
import unittest
from greet import greet


class GreetTest(unittest.TestCase):
    def test_nobody(self):
        self.assertEqual(greet(), "Hello, you.")

    def test_somebody(self):
        self.assertEqual(greet("Ada"), "Hello, Ada.")

    @unittest.skip("later")
    def test_later(self):
        self.assertEqual(greet(1), 2)
"""
PYTEST = """
import pytest
from greet import greet


def test_nobody():
    assert greet() == "Hello, you."


@pytest.mark.parametrize("name", ["Ada", "Bo[b]"])
def test_somebody(name):
    assert greet(name) == f"Hello, {name}."


class TestMore:
    def test_nothing_raises(self, tmp_path):
        with pytest.raises(TypeError):
            greet(1, 2)
"""
RIGHT = "def greet(name='you'): return f'Hello, {name}.'\n"
SLOW = SandboxSettings(wall_s=10, memory_mb=256, processes=24, tmp_mb=4, output_kb=64)


@pytest.fixture(params=["unittest", "pytest"])
def text(request: pytest.FixtureRequest) -> str:
    return UNITTEST if request.param == "unittest" else PYTEST


async def judged(
    sandbox: Sandbox, settings: SandboxSettings, code: str, text: str, **more: str
) -> Verdict:
    files = TestFiles(files={"greet_test.py": text}, target="greet.py")
    candidate = Candidate(files={"greet.py": code, **more}) if more else Candidate.of(code)
    limits = SLOW.model_copy(update={"backend": settings.backend})
    tests = Tests(source="sealed", files=files)
    return await Judge(sandbox, limits).verdict(candidate, "greet", tests)


async def test_right_files_pass_test_by_test(
    sandbox: Sandbox, settings: SandboxSettings, text: str
) -> None:
    verdict = await judged(sandbox, settings, RIGHT, text)
    assert verdict.passed, verdict
    assert (verdict.integrity, verdict.attempts) == ("shared_process", ())
    assert {outcome.id for outcome in verdict.outcomes} == wanted_tests(
        "greet_test.py", text
    ).must_pass


async def test_a_wrong_answer_fails_the_tests_it_fails(
    sandbox: Sandbox, settings: SandboxSettings, text: str
) -> None:
    verdict = await judged(sandbox, settings, "def greet(name='you'): return 'Hello, you.'", text)
    assert verdict.status == "failed"
    failed = {o.id.rpartition("::")[2] for o in verdict.outcomes if o.status == "failed"}
    assert "test_somebody" in failed and "test_nobody" not in failed


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def greet(name='you') return", "load"),
        ("import no_such_module", "load"),
        ("x = 1", "load"),
        ("while True: pass", "wall"),
    ],
)
async def test_files_that_cannot_be_used_are_a_verdict(
    sandbox: Sandbox, settings: SandboxSettings, code: str, reason: str
) -> None:
    settings = settings.model_copy(update={"wall_s": 1})
    files = TestFiles(files={"greet_test.py": UNITTEST}, target="greet.py")
    tests = Tests(source="sealed", files=files)
    verdict = await Judge(sandbox, settings).verdict(Candidate.of(code), "greet", tests)
    assert not verdict.passed
    assert verdict.reason == reason


QUIET = "def greet(*a): return None\n"
ATTACKS = {
    "exit": ("G1", "import os; os._exit(0)"),
    "system exit": ("G1", "raise SystemExit(0)"),
    "skip": ("G4", "import unittest\ndef greet(*a): raise unittest.SkipTest('no')"),
    "pytest skip": ("G4", "def greet(*a):\n  import pytest; pytest.skip('no')"),
    "all pass in unittest": (
        "G4",
        "import unittest\nfor name in ('assertEqual', 'assertTrue', 'fail'):\n"
        "  setattr(unittest.TestCase, name, lambda *a, **k: None)\n" + QUIET,
    ),
    "no failure is noted": (
        "G4",
        "import gc\nfor thing in gc.get_objects():\n"
        "  if isinstance(thing, type) and hasattr(thing, 'addFailure'):\n"
        "    thing.addFailure = thing.addError = lambda *a: None\n" + QUIET,
    ),
    "reports all passed": (
        "G4",
        "import sys\n_pytest = sys.modules.get('_pytest.reports')\n"
        "if _pytest:\n"
        "  made = _pytest.TestReport.from_item_and_call.__func__\n"
        "  def lie(cls, item, call):\n"
        "    report = made(cls, item, call); report.outcome = 'passed'; return report\n"
        "  _pytest.TestReport.from_item_and_call = classmethod(lie)\n" + QUIET,
    ),
    "forged lines": (
        "G10",
        "import ast, json, os\ntext = open('greet_test.py').read()\n"
        "def names(body, prefix):\n"
        "  for n in body:\n"
        "    if isinstance(n, ast.ClassDef): yield from names(n.body, prefix + n.name + '::')\n"
        "    elif getattr(n, 'name', '').startswith('test'): yield prefix + n.name\n"
        "for name in names(ast.parse(text).body, 'greet_test.py::'):\n"
        "  os.write(3, json.dumps({'id': name, 'outcome': 'passed'}).encode() + b'\\n')\n"
        "print('3 passed')\nos._exit(0)",
    ),
    "changes the tests": (
        "G6",
        "import os\nos.chmod('greet_test.py', 0o644)\n"
        "open('greet_test.py', 'w').write('def test_nobody(): pass')\n" + RIGHT,
    ),
    "removes the tests": ("G6", "import os\nos.unlink('greet_test.py')\n" + RIGHT),
}  # fmt: skip


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, id=name, marks=pytest.mark.row(row))
        for name, (row, code) in ATTACKS.items()
    ],
)
async def test_attack_on_the_test_runner_does_not_pass(
    sandbox: Sandbox, settings: SandboxSettings, code: str, text: str
) -> None:
    verdict = await judged(sandbox, settings, code, text)
    assert verdict.status in ("failed", "error")
    assert verdict.share == 0


@pytest.mark.row("G5")
async def test_a_candidates_conftest_and_settings_are_left_out_and_counted(
    sandbox: Sandbox, settings: SandboxSettings, text: str
) -> None:
    hook = (
        "import pytest\n@pytest.hookimpl(hookwrapper=True)\n"
        "def pytest_runtest_makereport(item, call):\n"
        "  result = yield; result.get_result().outcome = 'passed'\n"
    )
    planted = {
        "conftest.py": hook,
        "pytest.ini": "[pytest]\naddopts = --collect-only\n",
        "sitecustomize.py": "import os; os._exit(0)",
        "greet_test.py": "def test_nobody(): pass",
    }
    verdict = await judged(sandbox, settings, "def greet(*a): return None", text, **planted)
    assert verdict.status == "failed"
    assert "planted" in verdict.attempts
    honest = await judged(sandbox, settings, RIGHT, text, **planted)
    assert honest.passed and honest.attempts == ("planted",)


DELETING = {
    "handed in empty": {"greet_test.py": ""},
    "handed in without the failing one": {"greet_test.py": "def test_nobody(): pass"},
    "handed in beside": {"test_greet.py": "def test_nobody(): pass", "tests/greet_test.py": ""},
}


@pytest.mark.row("G17")
@pytest.mark.parametrize("more", DELETING.values(), ids=DELETING)
async def test_deleting_the_failing_test_is_no_fix(
    sandbox: Sandbox, settings: SandboxSettings, text: str, more: dict[str, str]
) -> None:
    """The tests that count are the suite's, whatever a candidate hands in of that name."""
    wrong = "def greet(name='you'): return 'Hello, you.'"
    plain = await judged(sandbox, settings, wrong, text)
    verdict = await judged(sandbox, settings, wrong, text, **more)
    assert verdict.status == plain.status == "failed"
    assert {o.id: o.status for o in verdict.outcomes if o.id != "files"} == {
        o.id: o.status for o in plain.outcomes
    }
    assert (verdict.attempts == ("planted",)) == ("greet_test.py" in more)


@pytest.mark.row("G17")
@pytest.mark.parametrize(
    "code",
    [
        "import os\nfor n in os.listdir('.'):\n  if 'test' in n: os.unlink(n)\n",
        "import os\nos.rename('greet_test.py', 'gone')\nopen('greet_test.py', 'w').write('')\n",
        "import os\nos.chmod('.', 0)\n",
    ],
    ids=["removed", "replaced", "locked"],
)
async def test_a_candidate_that_takes_its_tests_away_while_it_runs_does_not_pass(
    sandbox: Sandbox, settings: SandboxSettings, text: str, code: str
) -> None:
    verdict = await judged(sandbox, settings, code + "def greet(*a): return 'Hello, you.'", text)
    assert not verdict.passed
    assert verdict.status in ("failed", "error")


def test_files_outside_of_the_folder_are_left_out() -> None:
    tests = TestFiles(files={"a_test.py": ""}, target="a.py")
    files = {"../x.py": "", "/etc/x": "", "lib/setup.cfg": "", "b.pth": "", "c.py": "1"}
    laid, planted = laid_out(Candidate(files=files), tests)
    assert laid == {"c.py": "1"}
    assert planted == "../x.py, /etc/x, b.pth, lib/setup.cfg"
    assert laid_out(Candidate.of("x = 1"), tests)[0] == {"a.py": "x = 1"}


def test_files_in_the_way_of_tests_or_of_their_runner_are_left_out() -> None:
    tests = TestFiles(files={"a_test.py": "", "data/in.txt": ""}, target="a.py")
    ways = (
        "./a_test.py",
        "a_test.py/x.py",
        "data",
        "data//in.txt",
        "unittest.py",
        "pytest/__init__.py",
    )
    more = ("_pytest/python.py", "pluggy.py", ".", "unittest.cpython-311-x86_64-linux-gnu.so")
    files = dict.fromkeys((*ways, *more), "") | {"a.py": "1", "data/mine.txt": "2", "tests.py": "3"}
    assert laid_out(Candidate(files=files), tests)[0] == {
        "a.py": "1",
        "data/mine.txt": "2",
        "tests.py": "3",
    }


@pytest.mark.row("G4")
@pytest.mark.row("G5")
@pytest.mark.parametrize("name", ["difflib", "traceback", "argparse", "inspect", "pprint"])
async def test_a_candidates_module_is_not_imported_by_the_runner(
    sandbox: Sandbox, settings: SandboxSettings, text: str, name: str
) -> None:
    """It bears the name of one that the runner needs; the candidate's own imports do find it."""
    module = "import os; open('/tmp/ran', 'w').close(); raise SystemError('not here')"
    checking = f"{RIGHT}import os\nassert not os.path.exists('/tmp/ran')\n"
    verdict = await judged(sandbox, settings, checking, text, **{f"{name}.py": module})
    assert verdict.passed, verdict


def test_names_of_tests_are_read_from_the_text() -> None:
    found = wanted_tests("g.py", UNITTEST)
    assert found.must_pass == {"g.py::GreetTest::test_nobody", "g.py::GreetTest::test_somebody"}
    assert found.may_skip == {"g.py::GreetTest::test_later"}
    assert (framework_of(UNITTEST), framework_of(PYTEST)) == ("unittest", "pytest")
    heirs = (
        "class Base(TestCase):\n  def test_a(self): 0\nclass Heir(Base):\n  def test_b(self): 0\n"
    )
    assert wanted_tests("g.py", heirs).must_pass == {
        "g.py::Base::test_a",
        "g.py::Heir::test_a",
        "g.py::Heir::test_b",
    }


@pytest.mark.parametrize("seed", range(20))
def test_the_judges_own_tests_look_like_the_others(seed: int, text: str) -> None:
    wanted = wanted_tests("g.py", text)
    made = with_canaries("g.py", text, wanted, framework_of(text), random.Random(seed))
    added = wanted_tests("g.py", made.text).must_pass - wanted.must_pass
    assert added == {made.must_fail, made.must_pass}
    assert all(id.rpartition("::")[2].startswith("test_") for id in added)
