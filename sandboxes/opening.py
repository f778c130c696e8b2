"""From settings to a sandbox: our backends by name, and those that other packages bring.

A package adds one through the entry point group `codojo.sandboxes`: the name for `sandbox.backend`,
and a callable that takes `SandboxSettings` and returns a `Sandbox`.
"""

from collections.abc import Callable
from importlib.metadata import entry_points

from codojo.errors import SandboxError, SettingsError
from codojo.sandboxes.contract import Limits, Sandbox
from codojo.settings import SandboxSettings

GROUP = "codojo.sandboxes"


def open_sandbox(settings: SandboxSettings) -> Sandbox:
    """The sandbox that the settings name; `async with` proves its walls, once per process.

    Raises:
        SettingsError: If there is no backend of that name.
        SandboxError: If its parts are missing or, on entry, if a wall is not proved; and for the
            backend `none` without `unsafe_no_sandbox`.
    """
    backend = "none" if settings.unsafe_no_sandbox else settings.backend
    # Ours first: an uninstalled checkout has no entry points, and nobody else may take the names.
    if backend in OURS:
        return OURS[backend](settings)
    others = entry_points(group=GROUP)
    if backend not in others.names:
        there = ", ".join(sorted({*OURS, *others.names}))
        raise SettingsError(f"sandbox.backend is {backend!r}, and there is only: {there}")
    try:
        opened: Sandbox = others[backend].load()(settings)
    except (ImportError, AttributeError) as err:
        raise SandboxError(
            f"the sandbox backend {backend!r} ({others[backend].value}) cannot be loaded: {err}; "
            "reinstall the package that brings it, or set sandbox.backend to another"
        ) from err
    return opened


def bubblewrap(settings: SandboxSettings) -> Sandbox:
    """Cages by bubblewrap."""
    from codojo.sandboxes.bubblewrap import Bubblewrap

    return Bubblewrap(Limits.of(settings))


def warm(settings: SandboxSettings) -> Sandbox:
    """Cages by forking from a parent behind the walls of bubblewrap."""
    from codojo.sandboxes.warm import Warm

    return Warm(Limits.of(settings))


def docker(settings: SandboxSettings) -> Sandbox:
    """Containers of a Docker-compatible engine."""
    from codojo.sandboxes.docker import Docker

    return Docker(Limits.of(settings), settings.image)


def none(settings: SandboxSettings) -> Sandbox:
    """No walls, for whoever said so in so many words."""
    from codojo.sandboxes.plain import Plain

    if not settings.unsafe_no_sandbox:
        raise SandboxError(
            "sandbox.backend is 'none', which runs generated code without walls; choose "
            "'bubblewrap', or pass --unsafe-no-sandbox if you accept that"
        )
    return Plain(Limits.of(settings))


OURS: dict[str, Callable[[SandboxSettings], Sandbox]] = {
    "bubblewrap": bubblewrap,
    "docker": docker,
    "warm": warm,
    "none": none,
}
