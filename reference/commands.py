"""The pages of the commands: docs/cli.md and one for each group."""

import inspect
from collections.abc import Callable, Iterable
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, OptionInfo

from multitudes import errors
from multitudes.cli.main import command_of, verbs_by_group
from reference.markdown import page, summary, table

_FRONT = """\
Results go to stdout, messages to stderr, and progress to stderr, in files each 30 s. With `--json` the last line of
stdout is one JSON object. Everything else is a setting in the TOML file given as `--config`; `multitudes init` writes
one with every setting, its default and its meaning. `--set train.epochs=3` sets one of them: the value is TOML (quotes
of a string may be left out), is checked as in the file, and counts more than it. `-h` after any verb shows its options;
`multitudes --install-completion` installs tab completion for bash, zsh, fish and PowerShell.
"""
_EXIT_CODES = (
    (0, "done"),
    (errors.MultitudesError.exit_code, "unexpected: `MULTITUDES_TRACEBACK=1` shows where"),
    (errors.UsageError.exit_code, "wrong call or configuration"),
    (errors.DataError.exit_code, "bad data"),
    (errors.ArtefactError.exit_code, "damaged or incompatible artefact: prepared folder, run, release, index"),
    (
        errors.MissingError.exit_code,
        "something missing: an extra, disk space, memory, a port, the right to read or write a file",
    ),
    (errors.UnavailableError.exit_code, "a remote server that does not answer, or rejects the credentials"),
    (errors.INTERRUPTED_EXIT_CODE, "interrupted by Ctrl-C; `--resume` continues training"),
)


class Parameter(NamedTuple):
    """An argument or option of a command, as the page shows it."""

    name: str
    kind: str
    default: str
    help: str
    required: bool
    positional: bool


def pages() -> dict[str, str]:
    """Return the pages: the groups with the exit codes, and a page for each group."""
    groups = {f"cli/{group.lower()}.md": _group_page(group, verbs) for group, verbs in verbs_by_group().items()}
    return {"cli.md": page("Commands", _FRONT, _overview(), _exit_codes()), **groups}


def _group_page(group: str, verbs: Iterable[str]) -> str:
    front = "What all commands share, and the exit codes: [cli.md](../cli.md)."
    return page(f"Commands: {group}", front, *map(_verb_section, verbs))


def _overview() -> str:
    """Return a table of the verbs, by group."""
    rows = [
        [group if not place else "", f"[{verb}](cli/{group.lower()}.md#multitudes-{verb})", summary(command_of(verb))]
        for group, verbs in verbs_by_group().items()
        for place, verb in enumerate(verbs)
    ]
    return table(["group", "verb", "what it does"], rows)


def all_verbs() -> list[str]:
    """Return the verbs of the core and of the add-ons that are installed."""
    return [verb for verbs in verbs_by_group().values() for verb in verbs]


def parameters(command: Callable[..., None]) -> list[Parameter]:
    """Return the parameters of a command, in the order of its signature."""
    hints = get_type_hints(command, include_extras=True)
    return [_parameter(p, hints[p.name]) for p in inspect.signature(command).parameters.values()]


def _parameter(parameter: inspect.Parameter, hint: object) -> Parameter:
    assert get_origin(hint) is Annotated, f"{parameter.name}: declare it as Annotated[type, typer.Option(...)]"
    kind, info = get_args(hint)[:2]
    assert isinstance(info, (ArgumentInfo, OptionInfo))
    positional = isinstance(info, ArgumentInfo)
    # Within Annotated, Typer keeps the first declared name in the field of the default.
    option = info.default if isinstance(info.default, str) else f"--{parameter.name.replace('_', '-')}"
    return Parameter(
        name=info.metavar or parameter.name.upper() if positional else option,
        kind=_kind(kind),
        default=_default(parameter.default),
        help=info.help or "",
        required=parameter.default is inspect.Parameter.empty,
        positional=positional,
    )


def _kind(kind: object) -> str:
    """Return the type as text: the choices, or text, path, int, float, flag."""
    if get_origin(kind) in (Union, UnionType, list):
        inner = next(argument for argument in get_args(kind) if argument is not NoneType)
        return f"{_kind(inner)}, repeatable" if get_origin(kind) is list else _kind(inner)
    if get_origin(kind) is Literal:
        return " / ".join(get_args(kind))
    assert isinstance(kind, type)
    if issubclass(kind, Enum):
        return " / ".join(str(member.value) for member in kind)
    return {bool: "flag", str: "text"}.get(kind, kind.__name__.lower())


def _default(value: object) -> str:
    if value is inspect.Parameter.empty or value is None or value is False or value == "":
        return ""
    return f"`{value.value if isinstance(value, Enum) else value}`"


def _verb_section(verb: str) -> str:
    command = command_of(verb)
    all_parameters = parameters(command)
    call = [p.name if p.required else f"[{p.name}]" for p in all_parameters if p.positional]
    call += [f"{p.name} {p.kind.upper()}" for p in all_parameters if not p.positional and p.required]
    call += ["[OPTIONS]"] if any(not p.required for p in all_parameters) else []
    rows = [[f"`{p.name}`", p.kind, "required" if p.required else p.default, p.help] for p in all_parameters]
    return "\n\n".join(
        [
            f"## multitudes {verb}",
            inspect.getdoc(command) or "",
            f"```\nmultitudes {' '.join([verb, *call])}\n```",
            table(["argument or option", "type", "default", "meaning"], rows),
        ]
    )


def _exit_codes() -> str:
    rows = [[str(code), meaning] for code, meaning in _EXIT_CODES]
    return f"## Exit codes\n\nAn error is one line on stderr.\n\n{table(['code', 'meaning'], rows)}"
