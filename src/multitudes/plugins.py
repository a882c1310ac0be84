"""What other installed distributions add: methods, metrics, blends, indexes, SQL engines and commands.

A distribution names its object in its ``pyproject.toml``, as an entry point of Python packaging::

    [project.entry-points."multitudes.metrics"]
    novelty = "my_package.novelty:Novelty"

A command is a function as Typer reads it, imported for the help too, so its module imports nothing heavy at its top;
``"Serve.warm" = …`` puts ``multitudes warm`` into the group Serve of the help, ``warm = …`` below Plugins.

Built-in names come first: a plugin adds names and cannot change what is there. docs/plugins.md has an example.
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from multitudes.errors import MissingError

PluginGroup = Literal["methods", "metrics", "blends", "indexes", "sql_engines", "commands"]


@cache
def plugins(group: PluginGroup) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name, in alphabetical order; none of them is imported yet."""
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
    except (ImportError, AttributeError) as error:
        distribution = entry.dist.name if entry.dist else "an unknown distribution"
        raise MissingError(
            f"{name}: plugin of {distribution} cannot be imported from {entry.value}: {error};"
            f" expected an importable object. Reinstall {distribution}"
        ) from error
