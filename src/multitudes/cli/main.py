"""The command ``multitudes``: its verbs by group; an error that a person can cause is one line and an exit code."""

import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import typer
import typer.core

from multitudes.cli.output import with_json
from multitudes.data.location import reject_url
from multitudes.errors import INTERRUPTED_EXIT_CODE, MachineWarning, MissingError, explain, is_disk_full, missing_add_on
from multitudes.extras import missing_package
from multitudes.plugins import load_plugin, plugins
from multitudes.threads import wait_passively

# Group of the help -> verb -> the module of this package that holds the function `VERB_command`, in the order in which
# a person needs them. A module imports nothing heavy before its command runs, which keeps `multitudes --help` fast.
# Plugins add verbs: verbs_by_group.
GROUPS: dict[str, dict[str, str]] = {
    "Start": {"demo": "demo", "init": "demo"},
    "Data": {"import": "import_files", "prepare": "prepare"},
    "Train": {"train": "train", "combine": "train"},
    "Evaluate": {"evaluate": "evaluate", "report": "evaluate", "study": "study"},
    "Serve": {
        "publish": "publish",
        "releases": "publish",
        "rollback": "publish",
        "items": "publish",
        "recommend": "recommend",
        "explore": "explore",
        "serve": "serve",
    },
    "Operate": {
        "keys": "keys",
        "state": "state",
        "doctor": "doctor",
    },
}
VERBS: dict[str, str] = {verb: module for verbs in GROUPS.values() for verb, module in verbs.items()}
# The verbs of the add-ons of this repository, for whoever calls one that is not installed.
_ADD_ONS = dict.fromkeys(("outcomes", "plan", "power", "preference", "readout", "simulate", "synth"), "lab")

_OUTPUT_OPTIONS = ("--out", "--to", "--report", "--export")  # they name what a verb writes

# What Typer raises for a wrong call. Typer may bring its own copy of click, so the class is found through Typer.
_CALL_ERROR: type[typer.BadParameter] = typer.BadParameter.__bases__[0]


class _GroupedHelp(typer.core.TyperGroup):
    """The command with its verbs; its help lists them by group. Plugins are looked for if a verb is none of these."""

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Return the command of a verb."""
        if cmd_name not in self.commands:
            self._add_plugins()
        if cmd_name not in self.commands and cmd_name in _ADD_ONS:
            raise missing_add_on(f"'{cmd_name}'", _ADD_ONS[cmd_name])
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Return all verbs."""
        self._add_plugins()
        return super().list_commands(ctx)

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        """Write a section for each group; ``formatter`` is the HelpFormatter of Typer's click."""
        self.list_commands(ctx)  # finds plugins
        for group, verbs in verbs_by_group().items():
            with formatter.section(group):
                formatter.write_dl([(verb, self.commands[verb].get_short_help_str(limit=200)) for verb in verbs])

    def _add_plugins(self) -> None:
        for verb in _plugin_verbs():
            if verb not in self.commands:
                self.commands[verb] = _plugin_command(verb)


app = typer.Typer(
    name="multitudes",
    cls=_GroupedHelp,
    help="Multi-embedding retrieval: several vectors per user, one per interest, at one vector's budget.",
    context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # rich would read the name of a section, such as [train], as markup
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version and exit.")
) -> None:
    if version:
        from multitudes import __version__

        typer.echo(f"multitudes {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def verbs_by_group() -> dict[str, list[str]]:
    """Return all verbs by group of the help. A plugin ``GROUP.VERB`` names its group; ``VERB`` is below Plugins."""
    listed = {group: [*verbs] for group, verbs in GROUPS.items()}
    for verb, name in _plugin_verbs().items():
        listed.setdefault(name.rpartition(".")[0] or "Plugins", []).append(verb)
    return listed


def command_of(verb: str) -> Callable[..., None]:
    """Return the function of a verb: `VERB_command` in its module, or the object of a plugin."""
    if verb not in VERBS:
        plugin: Callable[..., None] = load_plugin("commands", _plugin_verbs()[verb])
        return plugin
    module = import_module(f"multitudes.cli.{VERBS[verb]}")
    command: Callable[..., None] = getattr(module, f"{verb.replace('-', '_')}_command")
    return command


def _plugin_verbs() -> dict[str, str]:
    """Return the verbs of plugins with the names of their entry points; one of the core cannot be taken."""
    named = {name.rpartition(".")[2]: name for name in plugins("commands")}
    return {verb: name for verb, name in named.items() if verb not in VERBS}


def _plugin_command(verb: str) -> Any:  # noqa: ANN401 (a Command of Typer's click)
    """Return the command of a plugin; where it cannot be imported, one that says so and breaks no other."""
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    try:
        alone.command(name=verb)(with_json(command_of(verb)))
    except MissingError as error:
        anything = {"ignore_unknown_options": True, "allow_extra_args": True}
        alone.command(name=verb, help=f"Not available: {error}", context_settings=anything)(_raising(error))
    return typer.main.get_command(alone)


def _raising(error: MissingError) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


for _verb in VERBS:
    app.command(name=_verb)(with_json(command_of(_verb)))


def main() -> None:
    """Run the command line and end the process with the documented exit code."""
    wait_passively()
    code = run(sys.argv[1:])
    if os.environ.get("WORLD_SIZE", "1") != "1":
        # One of several ranks ends without unloading modules: threads of gloo crash then (``training.distributed``).
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run ``multitudes ARGUMENTS`` and return the exit code; errors go to stderr as one line."""
    try:
        _reject_remote_output(arguments)
        with _own_warnings_as_lines():
            result = app(arguments, standalone_mode=False)
    except _CALL_ERROR as error:
        message, context = error.format_message(), getattr(error, "ctx", None)
        verb = f" {context.info_name}" if context and context.parent else ""
        return _print_error(f"{message}{'' if message.endswith(('.', '?')) else '.'} See: multitudes{verb} --help", 2)
    except (KeyboardInterrupt, typer.Abort):
        return _print_interrupted(arguments)
    except BrokenPipeError:
        return _handle_closed_pipe()
    except SystemExit as exit_:  # Typer itself exits when a pipe is closed
        if not isinstance(exit_.__context__, BrokenPipeError):
            raise
        return _handle_closed_pipe()
    except Exception as error:
        return _report(error)
    if result == INTERRUPTED_EXIT_CODE:  # some versions of Typer turn Ctrl-C into an exit code
        return _print_interrupted(arguments)
    return result if isinstance(result, int) else 0


def _print_interrupted(arguments: list[str]) -> int:
    """Report Ctrl-C; where finished work is kept, name the command that continues it."""
    verb, words = arguments[0] if arguments else "", arguments
    if verb == "train":
        words = [*(word for word in arguments if word not in ("--overwrite", "--resume")), "--resume"]
    elif verb == "recommend":
        words = [word for word in arguments if word != "--overwrite"]
    continues = verb in ("train", "study", "simulate") or (verb == "recommend" and "--all" in arguments)
    if not continues:
        return _print_error("interrupted", INTERRUPTED_EXIT_CODE)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        return _print_error("interrupted; continue with the same torchrun command and --resume", INTERRUPTED_EXIT_CODE)
    return _print_error(f"interrupted; continue with: multitudes {shlex.join(words)}", INTERRUPTED_EXIT_CODE)


@contextmanager
def _own_warnings_as_lines() -> Iterator[None]:
    """Print each warning of ours as one line; other warnings stay as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("once", MachineWarning)
        show = warnings.showwarning

        def print_own(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:  # noqa: ANN401
            if issubclass(category, MachineWarning):
                typer.echo(f"multitudes: warning: {message}", err=True)
            else:
                show(message, category, *where, **options)

        warnings.showwarning = print_own
        yield


def _reject_remote_output(arguments: list[str]) -> None:
    """Reject a URL as an output of any verb: taken as a path, it would become a local folder named ``s3:``."""
    for number, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option in _OUTPUT_OPTIONS:
            reject_url(value if equals else "".join(arguments[number + 1 : number + 2]))


def _print_error(message: str, code: int) -> int:
    if message:  # empty on all but one of the ranks that train one model
        sys.stderr.write(f"multitudes: {' '.join(message.split())}\n")  # at once: other processes write there too
    return code


def _report(error: Exception) -> int:
    """Report what a person can mend, such as a missing package or a full disk, and how to see where a defect is."""
    try:
        explained = missing_package(error) if isinstance(error, ModuleNotFoundError) else explain(error)
    except ModuleNotFoundError:
        explained = None
    if explained is not None:
        if explained is not error and is_disk_full(error):
            _discard_stdout()
        return _print_error(str(explained), explained.exit_code)
    if os.environ.get("MULTITUDES_TRACEBACK"):
        raise error
    hint = "this is a defect; set MULTITUDES_TRACEBACK=1 and run again to see where"
    return _print_error(f"{type(error).__name__}: {error} ({hint})", 1)


def _handle_closed_pipe() -> int:
    # The reader (head, less) has ended and wants no more.
    _discard_stdout()
    return 0


def _discard_stdout() -> None:
    """Drop output that cannot be written: Python would write it again at exit, print an error and exit with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
