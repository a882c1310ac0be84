"""How an answer says where its time goes: a callable, so that nobody below a service knows a clock."""

from typing import Protocol


class Stage(Protocol):
    """Called with the name of a stage when it ends: people, tower, search, blend, names."""

    def __call__(self, name: str, /) -> None:
        """Note it; must be cheap."""
        ...


def unmeasured(name: str) -> None:
    """Note nothing: the default."""
    del name
