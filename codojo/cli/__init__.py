"""The command line: one file for each group of commands, loaded when it is called."""

import os
import sys
import traceback
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

from codojo.errors import CodojoError


class Entry(NamedTuple):
    """A command or group: the module that holds its Typer `app`, and its line in the help."""

    module: str
    help: str


COMMANDS = {
    "init": Entry("init", "Make a new dojo with commented settings."),
    "run": Entry("run", "Run a graph on a request, a file of tasks, or a suite."),
    "chat": Entry("chat", "Talk with the team: ask, watch, approve, correct, rate."),
    "web": Entry("web", "The same in a browser on this machine, and what was logged."),
    "improve": Entry("improve", "Solve, curate, train, gate, hot-load, and report."),
    "export": Entry("export", "Write training files from the log."),
    "judge": Entry("judge", "Score anyone's samples in the sandbox."),
    "report": Entry("report", "Render the HTML report of an improve run from the log."),
    "tasks": Entry("tasks", "Look at suites and their tasks."),
    "trajectories": Entry("trajectories", "Look at what was logged."),
    "memory": Entry("memory", "Look at what the team remembers."),
    "models": Entry("models", "Install, prepare, start and stop engines; adapters."),
    "sandbox": Entry("sandbox", "Prove the sandbox, or run a command in it."),
    "rebuild": Entry("rebuild", "Make everything derived anew from the log."),
    "bench": Entry("bench", "Measure a claim of the documentation."),
    "doctor": Entry("doctor", "Check this machine and say how to mend what is missing."),
    "config": Entry("config", "Show each setting and where it comes from."),
}


class LazyGroup(TyperGroup):
    """Lists every command without importing any; imports the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command; while help is shown, a stand-in with its name and line."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        if ctx.meta.get("listing"):
            return typer.core.TyperCommand(cmd_name, help=entry.help, callback=None)
        module = import_module(f"codojo.cli.{entry.module}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Help that loads nothing."""
        ctx.meta["listing"] = True
        super().format_help(ctx, formatter)


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Agents that solve programming tasks and train themselves on what worked.\n\n"
    "Start with: codojo doctor; codojo run 'Write `slugify(text)` that ...'; "
    "codojo improve --suite katas",
)


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    pass


def main() -> None:
    """Entrance of the `codojo` command: errors of ours become one line and an exit code."""
    debug = "--debug" in sys.argv or bool(os.environ.get("CODOJO_DEBUG"))
    sys.argv = [
        sys.argv[0],
        *(["--debug"] if debug else []),
        *(a for a in sys.argv[1:] if a != "--debug"),
    ]
    try:
        app(prog_name="codojo")
    except CodojoError as err:
        if debug:
            _print_traceback(err)
        else:
            said = "; ".join(line.strip() for line in str(err).splitlines())
            print(f"codojo: {_without_secrets(said)}", file=sys.stderr)
        sys.exit(err.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("codojo: stopped; what was logged is kept", file=sys.stderr)
        sys.exit(130)
    except Exception as err:
        _print_traceback(err)
        sys.exit(1)


def _print_traceback(error: Exception) -> None:
    """As Python would, without the secrets that an engine or a library put into a message."""
    text = "".join(traceback.format_exception(error))
    print(_without_secrets(text), end="", file=sys.stderr)


def _without_secrets(text: str) -> str:
    from codojo.settings import secrets_of_environment
    from codojo.trajectories.redact import Redactor

    return Redactor(known=secrets_of_environment()).text(text)
