"""How long work reports its progress: a callable, so that only the commands need a terminal."""

from typing import Protocol


class Progress(Protocol):
    """Reports progress; called often, so it must be cheap."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Report that ``done`` of ``total`` units are finished.

        Args:
            done: the finished amount.
            total: the whole amount, in the same unit.
            note: a short text, such as a loss or the name of a step.
        """
        ...


def silent(done: int, total: int, note: str = "") -> None:
    """Report nothing: the default."""
    del done, total, note
