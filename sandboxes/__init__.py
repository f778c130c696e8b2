"""Run untrusted programs under limits, and judge candidates from outside their reach."""

from codojo.sandboxes.contract import Capabilities, ExecResult, Limits, Sandbox
from codojo.sandboxes.judge import Judge
from codojo.sandboxes.opening import open_sandbox

__all__ = ["Capabilities", "ExecResult", "Judge", "Limits", "Sandbox", "open_sandbox"]
