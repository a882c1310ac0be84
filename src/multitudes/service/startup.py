"""What the service is made of, opened in order and closed in the other: releases, engine, states, logs, keys."""

import gc
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from multitudes.errors import UsageError
from multitudes.logs.logs import Logs
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.release_watcher import ReleaseWatcher
from multitudes.retrieval.retriever import Retriever
from multitudes.service.api_keys import ApiKeys
from multitudes.service.auth import LOOPBACK_HOSTS
from multitudes.service.dependencies import Dependencies
from multitudes.service.engine import Engine, ignore_answer
from multitudes.service.id_types import id_kinds
from multitudes.service.journal import Journal
from multitudes.service.loop_lag import LoopLagMonitor
from multitudes.service.metrics import Metrics
from multitudes.service.metrics_collector import MetricsCollector, MetricSources
from multitudes.service.settings import ServeConfig
from multitudes.service.shadow import Shadow
from multitudes.service.state_guard import GuardedStates
from multitudes.state.erasure_requests import ErasureRequests
from multitudes.state.protocol import UserStateStore
from multitudes.state.store import open_state_store


def load_api_keys(settings: ServeConfig) -> ApiKeys | None:
    """Return the keys that are asked for; refuse to serve without where others can reach the service.

    Raises:
        UsageError: that is what the settings say, or the file of keys is none.
        MissingError: there is no file of keys.
    """
    host = settings.server.host
    if settings.keys.file is None and host not in LOOPBACK_HOSTS and not settings.keys.open:
        raise UsageError(
            f"[server] host = {host!r}: others can reach it, and no key is asked for; make keys with `multitudes key`"
            " and give --keys FILE, or set [keys] open = true on a network that is yours alone"
        )
    return None if settings.keys.file is None else ApiKeys(settings.keys.file)


@contextmanager
def open_dependencies(releases: Path, settings: ServeConfig) -> Iterator[Dependencies]:
    """Open all parts; they are closed at the end, when what was accepted has been answered.

    Raises:
        UsageError: the settings do not go together, or a path cannot be used.
        ArtefactError: nothing is released, or the release, the states or the logs are damaged.
        MissingError: a file of keys or a package is missing.
        StateError: the store of user states does not answer.
    """
    keys = load_api_keys(settings)
    with ExitStack() as stack:
        # What the modules made stays. A full collection that walks through it stops every request for 65 ms.
        gc.freeze()
        stack.callback(gc.unfreeze)
        current = stack.enter_context(closing(ReleaseWatcher(releases, cached_users=settings.releases.vector_cache)))
        folder = data_folder(releases, settings)
        measures, heartbeat = Metrics(), LoopLagMonitor()
        marks = ErasureRequests(folder / "forgotten")
        states = GuardedStates(_open_store(folder, settings), marks, measures.record_state_call, settings.guard)
        stack.enter_context(closing(states))
        logs = stack.enter_context(closing(Logs(folder / "logs", id_kinds(current().release), settings.logs)))
        shadow = _open_shadow(releases, settings.releases.shadow)
        if shadow is not None:
            stack.enter_context(closing(shadow)).start()
        after = ignore_answer if shadow is None else shadow.offer
        engine = Engine(current, settings.engine, settings.admission, lag_s=heartbeat.lag_s, on_answer=after)
        stack.enter_context(closing(engine))
        watched = MetricSources(current, engine, states, logs, heartbeat, shadow)
        watch = stack.enter_context(closing(MetricsCollector(measures.families, watched)))
        measures.refresh_with(watch.collect)
        for part in (current, logs, engine, watch):
            part.start()
        yield Dependencies(
            settings, current, engine, states, logs, measures, Journal(settings.journal), keys, heartbeat
        )


def _open_shadow(releases: Path, version: str | None) -> Shadow | None:
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


def _open_store(folder: Path, settings: ServeConfig) -> UserStateStore:
    return open_state_store(settings.state.store or folder / "state.sqlite", settings.state)
