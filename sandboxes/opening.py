"""From settings to a sandbox."""

from codojo.errors import SandboxError
from codojo.sandboxes.contract import Limits, Sandbox
from codojo.settings import SandboxSettings


def open_sandbox(settings: SandboxSettings) -> Sandbox:
    """The sandbox that the settings name; `async with` proves its walls, once per process.

    Raises:
        SandboxError: If its parts are missing or, on entry, if a wall is not proved; and for the
            backend `none` without `unsafe_no_sandbox`.
    """
    from codojo.sandboxes.bubblewrap import Bubblewrap
    from codojo.sandboxes.plain import Plain
    from codojo.sandboxes.warm import Warm

    limits = Limits.of(settings)
    if settings.unsafe_no_sandbox:
        return Plain(limits)
    if settings.backend == "none":
        raise SandboxError(
            "sandbox.backend is 'none', which runs generated code without walls; choose "
            "'bubblewrap', or pass --unsafe-no-sandbox if you accept that"
        )
    return Warm(limits) if settings.backend == "warm" else Bubblewrap(limits)
