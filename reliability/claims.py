"""What a trial found: claims, each with its figure, and with that of a control that must not hold."""

from typing import Any, NamedTuple

from benchmarks.timing import round_figure


class Claim(NamedTuple):
    """One sentence that a trial puts to the test."""

    text: str
    bound: str  # what the figure must be, in words
    figure: float
    held: bool
    control: str  # what was done in its place
    control_figure: float
    control_held: bool

    @property
    def shown(self) -> bool:
        """Whether the claim holds, and the trial could have told if it did not."""
        return self.held and not self.control_held


class SkippedError(Exception):
    """A trial cannot be made here; the message says why."""


class TrialResult(NamedTuple):
    """The outcome of a trial."""

    claims: list[Claim]
    figures: dict[str, Any]  # more than the claims say, as JSON has it
    skipped: str = ""  # why the trial, or a part of it, could not be made here


def at_most(most: float, text: str, found: float, control: str, control_found: float) -> Claim:
    """Claim that a figure is at most ``most``."""
    bound = "0" if most == 0 else f"≤ {most:g}"
    found, control_found = round_figure(found), round_figure(control_found)
    return Claim(text, bound, found, found <= most, control, control_found, control_found <= most)


def at_least(least: float, text: str, found: float, control: str, control_found: float) -> Claim:
    """Claim that a figure is at least ``least``."""
    found, control_found = round_figure(found), round_figure(control_found)
    return Claim(text, f"≥ {least:g}", found, found >= least, control, control_found, control_found >= least)


def at_scale(full: int, scale: float, least: int = 1) -> int:
    """Return a number of the full size at another scale."""
    return max(least, round(full * scale))
