"""Both logs of a service: ``served`` and ``events`` in one folder, kept by a thread of their own."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import time

from multitudes.errors import DataError
from multitudes.every import Every
from multitudes.ids import Id
from multitudes.logs import lines
from multitudes.logs.log import Log, LogConfig
from multitudes.logs.records import Engaged, Served
from multitudes.logs.schemas import Kinds

_TICK_S = 1.0


class Logs:
    """What a process serves and what it hears of, in ``folder/served`` and ``folder/events``.

    Several processes of one machine may write to one folder. Nothing here raises because of the disk while serving:
    what is lost is counted, and said once.
    """

    def __init__(self, folder: Path, kinds: Kinds, config: LogConfig | None = None) -> None:
        config = config or LogConfig()
        self._kinds = kinds
        self._served = Log(folder / "served", "served", kinds, config)
        self._events = Log(folder / "events", "events", kinds, config)
        self._keeping = Every(_TICK_S, lambda: self.tick(time()), "logs")

    def served(self, answer: Served) -> bool:
        """Log an answer; return whether it is written."""
        try:
            line = lines.served_line(answer, self._kinds)
        except DataError as error:
            return self._served.lose(len(answer.item_ids), error)
        return self._served.append(line, len(answer.item_ids))

    def engaged(self, events: Sequence[Engaged]) -> bool:
        """Log what users did, all of it or nothing; return whether it is written."""
        if not events:
            return True
        try:
            line = lines.events_line(events, self._kinds)
        except DataError as error:
            return self._events.lose(len(events), error)
        return self._events.append(line, len(events))

    def forget(self, user_id: Id) -> int:
        """Take a user out of both logs; return how many rows went.

        Raises:
            DataError: the id is not of the kind of the logs.
            OSError: a part cannot be written anew; the rest is done later.
        """
        lines.check("user_id", (user_id,), self._kinds.user_id)
        return self._served.forget(user_id) + self._events.forget(user_id)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return what became of rows, by log."""
        return {"served": asdict(self._served.counts), "events": asdict(self._events.counts)}

    def start(self) -> None:
        """Keep the logs from a thread, until ``close``."""
        self._keeping.start()

    def tick(self, now_s: float) -> None:
        """Do what is due; a failure is counted, said, and tried again."""
        for log in (self._served, self._events):
            try:
                log.tick(now_s)
            except Exception as error:
                log.counts.failures += 1
                logging.getLogger(__name__).error("%s: no part was made; tried again", log.folder, exc_info=error)

    def close(self) -> None:
        """Stop the thread and turn what was appended into parts."""
        self._keeping.close()
        for log in (self._served, self._events):
            log.close()
