"""The time by which retention removes segments: a clock that jumped ahead is not believed at once."""

from collections.abc import Callable
from time import monotonic

_TOLERANCE_S = 3_600.0  # a clock is set by less, or runs this much ahead of the monotonic clock, without a jump
_BELIEVED_AFTER_S = 86_400.0


class RetentionClock:
    """Follows the clock of the machine, but not when it jumps ahead.

    A jump is an advance that neither the monotonic clock nor, at the start, the newest segment explains. Until the
    clock has kept the new time for a day, only the time that the monotonic clock measures passes.
    """

    def __init__(self, newest_segment_s: float | None, clock: Callable[[], float] = monotonic) -> None:
        """Start the clock.

        Args:
            newest_segment_s: start of the newest segment, in seconds since 1970; None: there is no segment.
            clock: the monotonic clock, in seconds.
        """
        self._clock, self._monotonic_s, self._believed_s = clock, clock(), newest_segment_s
        self._jump_s: float | None = None  # when it jumped, by the monotonic clock

    def believed_s(self, now_s: float) -> float:
        """Return ``now_s``, the time of the machine, or an earlier time as long as ``now_s`` is not believed."""
        moment_s = self._clock()
        if self._believed_s is None:
            self._believed_s = now_s
        elapsed_s, self._monotonic_s = moment_s - self._monotonic_s, moment_s
        expected_s = self._believed_s + elapsed_s
        if now_s <= expected_s + _TOLERANCE_S:
            self._jump_s, self._believed_s = None, now_s
        else:
            self._jump_s = moment_s if self._jump_s is None else self._jump_s
            is_believed = moment_s - self._jump_s >= _BELIEVED_AFTER_S
            self._believed_s = now_s if is_believed else expected_s
        return self._believed_s
