"""What other installed distributions add: methods, metrics, blends, indexes, SQL engines and commands.

A distribution names its object in its ``pyproject.toml``, as an entry point of Python packaging::

    [project.entry-points."multitudes.metrics"]
    novelty = "my_package.novelty:novelty"

A command is a function as Typer reads it, imported for the help too, so its module imports nothing heavy at its top;
``"Serve.warm" = …`` puts ``multitudes warm`` into the group Serve of the help, ``warm = …`` below Plugins.

Built-in names come first: a plugin adds names and cannot change what is there. docs/plugins.md has an example.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from multitudes.errors import MissingError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

PluginGroup = Literal["methods", "metrics", "blends", "indexes", "sql_engines", "commands"]


@cache
def plugins(group: PluginGroup) -> "dict[str, EntryPoint]":
    """Return the entry points of a group by name, in alphabetical order; none of them is imported yet."""
    from importlib.metadata import entry_points  # noqa: PLC0415 (slow, and most imports need no plugin)

    found = sorted(entry_points(group=f"multitudes.{group}"), key=lambda one: one.name)
    return {one.name: one for one in found}


def load_plugin(group: PluginGroup, name: str) -> Any:  # noqa: ANN401
    """Import the object of an entry point.

    Raises:
        MissingError: it cannot be imported; the message names the distribution and the cause.
    """
    entry = plugins(group)[name]
    try:
        return entry.load()
    except Exception as error:  # a stranger's module may raise anything
        distribution = entry.dist.name if entry.dist else "an unknown distribution"
        raise MissingError(
            f"{name}: plugin of {distribution} cannot be imported from {entry.value}: {error};"
            f" expected an importable object. Reinstall {distribution}"
        ) from error


class Registry(Mapping[str, T]):
    """The objects of one class by name: the built-in ones, then those of plugins, imported when they are asked for.

    ``Annotated[str, registry]`` is the type of a setting that is one of the names.
    """

    def __init__(self, group: PluginGroup, kind: type[T], built_in: Mapping[str, T]) -> None:
        self._group, self._kind, self.built_in = group, kind, built_in

    def __getitem__(self, name: str) -> T:
        if name in self.built_in:
            return self.built_in[name]
        if name not in plugins(self._group):
            raise KeyError(name)
        found = load_plugin(self._group, name)
        if not isinstance(found, self._kind):
            where, kind = plugins(self._group)[name].value, self._kind.__name__
            raise MissingError(f"{name}: plugin {where} is a {type(found).__name__}; expected a {kind}. Correct it")
        return found

    def __contains__(self, name: object) -> bool:
        return name in self.built_in or name in plugins(self._group)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.built_in, *plugins(self._group))))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    __eq__, __hash__ = object.__eq__, object.__hash__  # as a part of a type

    def __get_pydantic_core_schema__(self, source: object, handler: Callable[[object], Any]) -> Any:  # noqa: ANN401
        # Imported here, since the command line has names before it has settings.
        from pydantic_core import PydanticKnownError, core_schema  # noqa: PLC0415

        def check(name: str) -> str:
            if name not in self:
                expected = f"{', '.join(map(repr, self))} or a name that an installed plugin adds"
                raise PydanticKnownError("literal_error", {"expected": expected})
            return name

        return core_schema.no_info_after_validator_function(check, handler(source))
