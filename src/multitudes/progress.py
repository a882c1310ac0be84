"""How long work reports that it advances: a callable, so that no room below the commands knows a terminal."""

from typing import Protocol


class Progress(Protocol):
    """Called with the amount done, the total in the same unit, and a short note such as a loss."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Report once; must be cheap."""
        ...


def silent(done: int, total: int, note: str = "") -> None:
    """Report nothing: the default."""
    del done, total, note
