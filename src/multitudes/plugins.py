"""What other installed distributions add: methods, metrics, blends, indexes, SQL engines and commands.

A distribution names its object in its ``pyproject.toml``, as an entry point of Python packaging::

    [project.entry-points."multitudes.metrics"]
    novelty = "my_package.novelty:Novelty"

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
    from importlib.metadata import entry_points  # noqa: PLC0415 (slow, and `multitudes --help` needs no plugin)

    found = sorted(entry_points(group=f"multitudes.{group}"), key=lambda one: one.name)
    return {one.name: one for one in found}


def load_plugin(group: PluginGroup, name: str, read: Callable[[Any], T]) -> T:
    """Import the object of an entry point, and return what ``read`` makes of it.

    Raises:
        MissingError: it cannot be imported, or is something else; the message names the distribution and the cause.
    """
    entry = plugins(group)[name]
    try:
        return read(entry.load())
    except (ImportError, AttributeError, TypeError) as error:
        distribution = entry.dist.name if entry.dist else "an unknown distribution"
        raise MissingError(
            f"{name}: plugin of {distribution} cannot be used, {entry.value}: {error};"
            f" expected what docs/plugins.md describes. Reinstall or correct {distribution}"
        ) from error


class Registry(Mapping[str, T]):
    """The objects of a group by name: the built-in ones, then those of plugins, each imported when it is asked for.

    ``Annotated[str, registry]`` is the type of a setting that is one of the names.
    """

    def __init__(self, group: PluginGroup, built_in: Mapping[str, T], read: Callable[[Any], T]) -> None:
        """Start from the built-in objects; ``read`` makes an object of what an entry point names."""
        self._group, self.built_in, self._read = group, built_in, read

    def __getitem__(self, name: str) -> T:
        if name in self.built_in:
            return self.built_in[name]
        if name not in plugins(self._group):
            raise KeyError(name)
        return load_plugin(self._group, name, self._read)

    def __contains__(self, name: object) -> bool:
        return name in self.built_in or name in plugins(self._group)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.built_in, *plugins(self._group))))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    __eq__, __hash__ = object.__eq__, object.__hash__  # as a part of a type

    def __get_pydantic_core_schema__(self, source: object, handler: Callable[[object], Any]) -> Any:  # noqa: ANN401
        from pydantic_core import core_schema  # noqa: PLC0415 (the command line has names before it has settings)

        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, name: str) -> str:
        from pydantic_core import PydanticKnownError  # noqa: PLC0415

        if name not in self:
            expected = f"{', '.join(map(repr, self))} or a name that an installed plugin adds"
            raise PydanticKnownError("literal_error", {"expected": expected})
        return name
