"""The command ``multitudes``: one verb per file; every error that a person can cause is one line with an exit code."""

import os
import sys
from collections.abc import Callable
from importlib import import_module

import typer

from multitudes.errors import (
    INTERRUPTED_EXIT_CODE,
    MissingError,
    MultitudesError,
    UsageError,
    is_disk_full,
    is_invalid_path,
    is_permission_error,
)

# Verb -> its module, which has the function `VERB_command`; in the order in which a person meets them. A module imports
# nothing heavy before its command runs, which keeps `multitudes --help` fast.
VERBS = {
    "demo": "demo",
    "init": "example_data",
    "synth": "example_data",
    "validate": "prepare",
    "prepare": "prepare",
    "train": "train",
    "publish": "publish",
    "releases": "publish",
    "rollback": "publish",
    "doctor": "doctor",
    "items": "items",
    "load-state": "serve",
    "recommend": "recommend",
    "export": "recommend",
    "serve": "serve",
    "key": "serve",
    "evaluate": "evaluate",
    "report": "evaluate",
    "study": "study",
    "tune": "study",
    "simulate": "simulate",
    "plan": "plan",
    "power": "power",
    "outcomes": "experiment",
    "readout": "experiment",
    "preference": "experiment",
}

# What Typer raises for a wrong call; its click may be its own copy, so the class is reached through Typer.
_CALL_ERROR: type[typer.BadParameter] = typer.BadParameter.__bases__[0]

_OUTPUT_OPTIONS = ("--out", "--to", "--report")  # where a verb writes

app = typer.Typer(
    name="multitudes",
    help="Multi-embedding retrieval: several vectors per user, one per interest, at one vector's budget.",
    context_settings={"max_content_width": 110},
    add_completion=False,
    rich_markup_mode=None,  # its markup would swallow the names of sections, such as [train]
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version and stop.")
) -> None:
    if version:
        from multitudes import __version__

        typer.echo(f"multitudes {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def command_of(verb: str) -> Callable[..., None]:
    """Return what the verb calls: `VERB_command` in its module."""
    command: Callable[..., None] = getattr(
        import_module(f"multitudes.cli.{VERBS[verb]}"), f"{verb.replace('-', '_')}_command"
    )
    return command


def _register() -> None:
    for verb in VERBS:
        app.command(name=verb)(command_of(verb))


_register()


def main() -> None:
    """Run the command line and end the process with the documented exit code."""
    code = run(sys.argv[1:])
    if os.environ.get("WORLD_SIZE", "1") != "1":
        _exit_immediately(code)
    sys.exit(code)


def _exit_immediately(code: int) -> None:
    """End one of several ranks without unloading, which threads of gloo do not survive (``train.rendezvous``)."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Run ``multitudes ARGUMENTS`` and return the exit code; errors go to stderr as one line."""
    try:
        _reject_remote_output(arguments)
        result = app(arguments, standalone_mode=False)
    except MultitudesError as error:
        return _print_error(str(error), error.exit_code)
    except _CALL_ERROR as error:
        message = error.format_message()
        return _print_error(f"{message}{'' if message.endswith(('.', '?')) else '.'} See: multitudes --help", 2)
    except (KeyboardInterrupt, typer.Abort):
        return _print_error("interrupted", INTERRUPTED_EXIT_CODE)
    except BrokenPipeError:
        return _handle_closed_pipe()
    except SystemExit as left:  # how Typer itself leaves a closed pipe
        if not isinstance(left.__context__, BrokenPipeError):
            raise
        return _handle_closed_pipe()
    except MemoryError as error:
        return _print_error(
            f"not enough memory ({error}); ask for less, or use a larger machine", MissingError.exit_code
        )
    except Exception as error:
        return _report_disk_error(error) or _report_unexpected(error)
    if result == INTERRUPTED_EXIT_CODE:  # some versions of Typer make an exit code of Ctrl-C themselves
        return _print_error("interrupted", INTERRUPTED_EXIT_CODE)
    return result if isinstance(result, int) else 0


def _reject_remote_output(arguments: list[str]) -> None:
    """Refuse an address for an output, whichever verb it is of: as a path it would be a folder here named ``s3:``."""
    from multitudes.data.location import reject_url

    for place, argument in enumerate(arguments):
        option, equals, given = argument.partition("=")
        if option in _OUTPUT_OPTIONS:
            reject_url(given if equals else "".join(arguments[place + 1 : place + 2]))


def _print_error(message: str, code: int) -> int:
    if message:  # of several ranks that train one model, one says why they end
        print("multitudes: " + " ".join(message.split()), file=sys.stderr)  # noqa: T201
    return code


def _report_disk_error(error: Exception) -> int | None:
    """Say that a disk has no room, a file is not this user's, or a path leads nowhere; None: nothing of the kind."""
    where = getattr(error, "filename", None) or "output"
    if is_disk_full(error):
        _discard_stdout()
        return _print_error(
            f"no space left on the disk ({where}); make room there and try again", MissingError.exit_code
        )
    reason = os.strerror(error.errno or 0).lower() if isinstance(error, OSError) else ""
    if is_permission_error(error):
        return _print_error(
            f"{where}: {reason}; let this user read and write it, or give another place", MissingError.exit_code
        )
    if is_invalid_path(error):
        return _print_error(f"{where}: {reason}; give another place", UsageError.exit_code)
    return None


def _report_unexpected(error: Exception) -> int:
    if os.environ.get("MULTITUDES_TRACEBACK"):
        raise error
    hint = "this is a defect; set MULTITUDES_TRACEBACK=1 and run again to see where"
    return _print_error(f"{type(error).__name__}: {error} ({hint})", 1)


def _handle_closed_pipe() -> int:
    # The reader (head, less) has left: there is nobody to tell.
    _discard_stdout()
    return 0


def _discard_stdout() -> None:
    """Let go of output that cannot be written: Python would try once more at exit, complain, and end with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
