"""What the service is made of, opened in order and closed in the other: releases, engine, states, logs, keys."""

import gc
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from multitudes.errors import UsageError
from multitudes.logs.logs import Logs
from multitudes.release.store import ReleaseStore
from multitudes.retrieve.current import Current
from multitudes.retrieve.retriever import Retriever
from multitudes.service.door import LOOPBACK
from multitudes.service.engine import Engine, unwatched
from multitudes.service.heartbeat import Heartbeat
from multitudes.service.journal import Journal
from multitudes.service.keys import Keys
from multitudes.service.kinds import kinds_of
from multitudes.service.measures import Measures
from multitudes.service.parts import Parts
from multitudes.service.settings import ServeConfig
from multitudes.service.shadow import Shadow
from multitudes.service.stores import GuardedStates
from multitudes.service.watch import Watch, Watched
from multitudes.state.marks import Marks
from multitudes.state.place import open_states
from multitudes.state.protocol import UserStates


def check_door(settings: ServeConfig) -> Keys | None:
    """Return the keys that are asked for; refuse to serve without where others can reach the service.

    Raises:
        UsageError: that is what the settings say, or the file of keys is none.
        MissingError: there is no file of keys.
    """
    host = settings.server.host
    if settings.keys.file is None and host not in LOOPBACK and not settings.keys.open:
        raise UsageError(
            f"[server] host = {host!r}: others can reach it, and no key is asked for; make keys with `multitudes key`"
            " and give --keys FILE, or set [keys] open = true on a network that is yours alone"
        )
    return None if settings.keys.file is None else Keys(settings.keys.file)


@contextmanager
def opened(releases: Path, settings: ServeConfig) -> Iterator[Parts]:
    """Open all parts; they are closed at the end, when what was accepted has been answered.

    Raises:
        UsageError: the settings do not go together, or a path cannot be used.
        ArtefactError: nothing is released, or the release, the states or the logs are damaged.
        MissingError: a file of keys or a package is missing.
        StateError: the store of user states does not answer.
    """
    keys = check_door(settings)
    with ExitStack() as stack:
        # What the modules made stays. A full collection that walks through it stops every request for 65 ms.
        gc.freeze()
        stack.callback(gc.unfreeze)
        current = stack.enter_context(closing(Current(releases, remember=settings.releases.remember)))
        folder = data_folder(releases, settings)
        measures, heartbeat = Measures(), Heartbeat()
        marks = Marks(folder / "forgotten")
        states = GuardedStates(_store(folder, settings), marks, measures.state, settings.guard)
        stack.enter_context(closing(states))
        logs = stack.enter_context(closing(Logs(folder / "logs", kinds_of(current().release), settings.logs)))
        shadow = _shadow(releases, settings.releases.shadow)
        if shadow is not None:
            stack.enter_context(closing(shadow)).start()
        after = unwatched if shadow is None else shadow.offer
        engine = Engine(current, settings.engine, settings.admission, lag_s=heartbeat.lag_s, after=after)
        stack.enter_context(closing(engine))
        watched = Watched(current, engine, states, logs, heartbeat, shadow)
        watch = stack.enter_context(closing(Watch(measures.families, watched)))
        measures.before_page(watch.look)
        for part in (current, logs, engine, watch):
            part.start()
        yield Parts(settings, current, engine, states, logs, measures, Journal(settings.journal), keys, heartbeat)


def _shadow(releases: Path, version: str | None) -> Shadow | None:
    return None if version is None else Shadow(Retriever.open(ReleaseStore(releases).folder(version)))


def data_folder(releases: Path, settings: ServeConfig) -> Path:
    """Return the folder that the service writes into; made where it is not there.

    Raises:
        UsageError: it cannot be made.
    """
    folder = settings.data.folder or releases.resolve().with_name(f"{releases.resolve().name}.service")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made ({error.strerror}); give another as [data] folder") from None
    return folder


def _store(folder: Path, settings: ServeConfig) -> UserStates:
    return open_states(settings.state.store or folder / "state.sqlite", settings.state)
