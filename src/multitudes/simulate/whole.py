"""How far a whole experiment is, in days, while trainings in between say how far they are."""

from multitudes.progress import Progress


class Whole:
    """Counts the days of all arms and seeds."""

    def __init__(self, progress: Progress, days: int) -> None:
        """Tell ``progress`` of ``days`` in all."""
        self._progress, self._days, self._done = progress, days, 0

    def day(self, note: str) -> None:
        """One more day is lived."""
        self._done += 1
        self._progress(self._done, self._days, note)

    def within(self, title: str) -> Progress:
        """Return what work between two days tells how far it is: that is said, and no day is counted."""

        def report(done: int, total: int, note: str = "") -> None:
            self._progress(self._done, self._days, f"{title}, training {done}/{total} {note}".rstrip())

        return report
