"""Executions are known by what they run: equal ones happen once, different ones each."""

from pathlib import Path

from langchain_core.language_models import BaseChatModel

from codojo.graphs.parts import Parts
from codojo.sandboxes import Judge, open_sandbox
from codojo.settings import SandboxSettings, Settings
from codojo.tasks.schema import Candidate, TestFiles, Tests
from codojo.trajectories.journal import Journal, Scope, scope
from codojo.trajectories.log import Log

TEST_FILE = """
import unittest
from double import double

class TestDouble(unittest.TestCase):
    def test_two(self):
        self.assertEqual(double(2), 4)
"""


def nobody(agent: str) -> BaseChatModel:
    raise AssertionError(f"{agent} was asked, and no model should be")


async def test_two_candidates_on_the_same_test_files_get_a_verdict_each(tmp_path: Path) -> None:
    tests = Tests(
        source="visible", files=TestFiles(files={"double_test.py": TEST_FILE}, target="double.py")
    )
    right, wrong = (Candidate.of(f"def double(x): return {said}\n") for said in ("2 * x", "x"))
    settings = SandboxSettings(backend="warm", wall_s=10)
    async with open_sandbox(settings) as sandbox:
        parts = Parts(nobody, Judge(sandbox, settings), Settings())
        with Log(tmp_path / "log") as log, scope(Scope(Journal(log, "rollout"))):
            verdicts = [
                await parts.execute(candidate, "double", tests)
                for candidate in (right, wrong, right)
            ]
    assert [verdict.status for verdict in verdicts] == ["passed", "failed", "passed"]
    assert verdicts[0] == verdicts[2]
