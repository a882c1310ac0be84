"""The pages of the Python API: the public names with their signatures, shapes and errors, from the docstrings."""

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Any, Final, get_type_hints

import multitudes
from multitudes.config import SECTIONS, Config
from reference.markdown import from_docstring, page, summary, table
from reference.settings import settings_table

# Page -> its title and what it has: names of ``multitudes``, and public names of public submodules.
PAGES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "data": (
        "Python: data",
        (
            "import_files", "ImportConfig", "prepare", "PrepareConfig", "EngineConfig", "PreparedData", "sample_path",
            "multitudes.data.planted:PlantedConfig", "multitudes.data.planted:plant",
            "multitudes.data.planted:write_world",
        ),
    ),
    "train": (
        "Python: training",
        (
            "train", "RunConfig", "UserTowerConfig", "TrainConfig", "make_linear_run", "LinearConfig",
            "make_pinnersage_run", "PinnerSageConfig", "combine", "open_run", "TrainedRun", "ProgressBar",
        ),
    ),
    "evaluate": (
        "Python: evaluation and experiments", ("evaluate", "EvaluateConfig", "compare", "multitudes_lab:team_draft"),
    ),
    "publish": (
        "Python: releases",
        (
            "publish", "multitudes.publishing.publish:PublishResult", "IndexConfig", "ReleaseWatcher", "add_items",
            "multitudes.retrieval.item_updates:AddedItems", "remove_items",
            "multitudes.retrieval.item_updates:RemovedItems",
        ),
    ),
    "retrieve": (
        "Python: candidates",
        (
            "Retriever", "RetrieveConfig", "multitudes.retrieval.response:Recommendation", "multitudes.api:Candidate",
            "multitudes.api:Interest", "Request", "Degradation",
        ),
    ),
    "batch": (
        "Python: everybody at once",
        (
            "recommend_all", "BatchConfig", "multitudes.batch_inference.results:Counts",
            "multitudes_spark:recommend",
        ),
    ),
    "plugins": (
        "Python: plugins",
        (
            "MethodSpec", "ImplicitInterests", "multitudes.nn.interest_assignment:Interests", "assign_events", "Config",
            "Metric", "EvaluatedLists", "BlendSpec", "UserLists", "Hits", "BlendedList",
        ),
    ),
    "serve": (
        "Python: client, user states and errors",
        (
            "Client", "multitudes.client:RecommendRequest", "multitudes.client:Event", "open_state_store",
            "multitudes.state.protocol:UserStateStore", "multitudes.state.protocol:StateConfig",
            "multitudes.state.protocol:Event", "multitudes.state.protocol:UserState",
            "multitudes.state.protocol:AppendResult",
        ),
    ),
}  # fmt: skip
_FRONT = """\
All names below come from `multitudes`, as in `from multitudes import prepare`, unless a module is given.
`import multitudes` loads nothing heavy; a name whose package is not installed raises `MissingError` when it is used.
What is not on these pages may change in any version.

Shapes are in the names: `vectors_BKD` has the axes B, K and D, whose meaning stands at the end of the section.
"""
_PUBLIC = {"", "multitudes_lab", "multitudes_spark", *re.findall(r"``(multitudes\.[\w.]+)``", multitudes.__doc__ or "")}
_SECTIONS = ("Args", "Returns", "Yields", "Raises", "Attributes")
_SIGNATURE_WIDTH = 100


def pages() -> dict[str, str]:
    """Return the pages by name."""
    rows = [
        [
            f"[{title.removeprefix('Python: ')}](python/{name}.md)",
            " · ".join(f"`{one.rpartition(':')[2]}`" for one in names),
        ]
        for name, (title, names) in PAGES.items()
    ]
    errors = ["## Errors", "Every error that is raised on purpose is a `multitudes.errors.MultitudesError`."]
    return {
        "python.md": page("Python", _FRONT, table(["page", "names"], rows), *errors, _errors()),
        **{f"python/{name}.md": page(title, *map(_entry, names)) for name, (title, names) in PAGES.items()},
    }


def _errors() -> str:
    rows = []
    for module, prefix in (("multitudes.errors", ""), ("multitudes.client", "client.")):
        for name, value in vars(import_module(module)).items():
            if getattr(value, "__module__", "") == module and hasattr(value, "exit_code"):
                parent = value.__base__.__name__
                rows.append([f"`{prefix}{name}`", f"`{parent}`", str(value.exit_code), summary(value)])
    return table(["error", "is a", "exit code of a command", "raised when"], rows)


def _entry(address: str) -> str:
    """Return the section of one name."""
    module, _, name = address.rpartition(":")
    value = getattr(import_module(module or "multitudes"), name)
    where = f"`from {module or 'multitudes'} import {name}`" if module in _PUBLIC else "What a function above returns."
    body = _class_parts(value) if inspect.isclass(value) else _function_parts(name, value, _node(value))
    legend = _legend(value)
    return "\n\n".join([f"## {name}", where, *body, *legend])


def _legend(value: Any) -> list[str]:  # noqa: ANN401 (any public object)
    """Return the legend of the axes, where the names of the module have shapes."""
    text = inspect.getdoc(inspect.getmodule(inspect.unwrap(value))) or ""
    found = re.search(r"^Legend: (.+?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    shown = inspect.getsource(value)
    return [f"Axes: {' '.join(found[1].split())}"] if found and re.search(r"\w_[A-Z]{1,4}\b", shown) else []


def _node(value: Any) -> Any:  # noqa: ANN401 (any public object)
    """Return the syntax tree of a class or function."""
    source = Path(inspect.getsourcefile(inspect.unwrap(value)) or "").read_text(encoding="utf-8")
    return next(node for node in ast.parse(source).body if getattr(node, "name", None) == value.__name__)


def _function_parts(name: str, value: object, node: ast.FunctionDef) -> Iterator[str]:
    yield f"```py\n{signature(name, node)}\n```"
    yield docstring_parts(inspect.getdoc(value) or "")


def _class_parts(value: type) -> Iterator[str]:
    """Yield what a class has: its docstring, its settings or fields, and its public methods."""
    yield docstring_parts(inspect.getdoc(value) or "")
    if issubclass(value, Config):
        yield _config_part(value)
        return
    names = {name.rpartition(":")[2] for _, names in PAGES.values() for name in names}
    parents = [one for one in value.__bases__ if one.__module__ == value.__module__ and one.__name__ not in names]
    nodes = [line for one in (*parents, value) for line in _node(one).body]
    yield from _fields(value, nodes)
    for method in nodes:
        if isinstance(method, ast.FunctionDef) and (
            not method.name.startswith("_") or method.name in ("__init__", "__call__")
        ):
            yield from _method_parts(value.__name__, method)


def _config_part(config: type[Config]) -> str:
    sections = {address.rpartition(":")[2]: section for section, address in SECTIONS.items()}
    section = sections.get(config.__name__)
    if section is None:
        return settings_table(config.model_fields)
    return f"Its fields are those of [`[{section}]`](../settings.md)."


def _fields(value: type, nodes: list[ast.stmt]) -> Iterator[str]:
    """Yield the fields of a class: their descriptions, where they have some, or else their source with its comments."""
    if parents := [base.__name__ for base in value.__bases__ if base.__module__ == "multitudes.api"]:
        yield f"It has the fields of `{parents[0]}` too."
    fields = [line for line in nodes if isinstance(line, (ast.AnnAssign, ast.Assign))]
    lines = inspect.getsource(inspect.getmodule(value) or value).splitlines()
    texts = ["\n".join(lines[field.lineno - 1 : field.end_lineno]) for field in fields]
    if any("Annotated[" in text for text in texts):
        hints = get_type_hints(value, include_extras=True)
        yield "\n".join(f"* `{name}`{_description(hints[name])}" for name in map(_target, fields))
    elif texts := [
        dedent(text) for field, text in zip(fields, texts, strict=True) if not _target(field).startswith("_")
    ]:
        yield "\n".join(["```py", *texts, "```"])


def _target(field: ast.AnnAssign | ast.Assign) -> str:
    return ast.unparse(field.target if isinstance(field, ast.AnnAssign) else field.targets[0])


def _description(annotation: object) -> str:
    metadata = getattr(annotation, "__metadata__", ())
    return next((f": {one.description}" for one in metadata if getattr(one, "description", None)), "")


def _method_parts(owner: str, node: ast.FunctionDef) -> Iterator[str]:
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    text = ast.get_docstring(node) or ""
    if decorators & {"property", "cached_property"}:
        returns = f": {ast.unparse(node.returns)}" if node.returns else ""
        yield f"**`{_variable(owner)}.{node.name}{returns}`** {docstring_parts(text)}".replace("'", "")
        return
    name = {"__init__": owner, "__call__": _variable(owner)}.get(node.name)
    yield f"### {owner}{'()' if node.name == '__init__' else '.' + node.name}"
    yield f"```py\n{signature(name or f'{owner}.{node.name}', node)}\n```"
    yield docstring_parts(text)


def _variable(owner: str) -> str:
    """Return how examples name an object of a class: a ReleaseWatcher is a watcher."""
    return str(re.findall(r"[A-Z][a-z]+", owner)[-1].lower())


def signature(name: str, node: ast.FunctionDef) -> str:
    """Return the call of a function with its types, on one line or a line for each argument."""
    arguments = [one for one in _arguments(node.args) if one.split(":")[0] not in ("self", "cls")]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else ""
    returns = returns.replace("'", "")
    line = f"{name}({', '.join(arguments)}){returns}"
    if len(line) <= _SIGNATURE_WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {one}," for one in arguments), f"){returns}"])


def _arguments(arguments: ast.arguments) -> Iterator[str]:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
    yield from map(_argument, positional, defaults)
    if arguments.vararg:
        yield "*" + _argument(arguments.vararg, None)
    elif arguments.kwonlyargs:
        yield "*"
    yield from map(_argument, arguments.kwonlyargs, arguments.kw_defaults)
    if arguments.kwarg:
        yield "**" + _argument(arguments.kwarg, None)


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    annotation = f": {ast.unparse(argument.annotation)}".replace("'", "") if argument.annotation else ""
    value = ast.unparse(default) if default is not None else ""
    return f"{argument.arg}{annotation}" + (f"{' = ' if annotation else '='}{value}" if value else "")


def docstring_parts(text: str) -> str:
    """Return a docstring in Google's style as Markdown: its sections become lists."""
    before, *rest = re.split(rf"^({'|'.join(_SECTIONS)}):\n", text, flags=re.MULTILINE)
    parts = [from_docstring(before)]
    for name, body in zip(rest[::2], rest[1::2], strict=True):
        end = re.search(r"^\S", body, re.MULTILINE)
        section, after = (body[: end.start()], body[end.start() :]) if end else (body, "")
        parts += [_section(name, dedent(section).strip()), from_docstring(after)]
    return "\n\n".join(filter(None, parts))


def _section(name: str, body: str) -> str:
    title = {"Args": "Arguments"}.get(name, name)
    if name in ("Returns", "Yields"):
        return f"**{title}** {from_docstring(body)}"
    entries = [" ".join(entry.split()) for entry in re.split(r"\n(?=\S)", body)]
    named = (re.sub(r"^(\*{0,2}[\w, ]+):", r"`\1`:", entry) for entry in entries)
    return f"**{title}**\n\n" + "\n".join(f"* {from_docstring(entry)}" for entry in named)
