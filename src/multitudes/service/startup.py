"""The dependencies of the routes: opened in order, closed in reverse; tests put small fakes in their place."""

import gc
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from multitudes.errors import UsageError
from multitudes.explorer.explorer import NamedExplorer
from multitudes.logs.logs import Logs
from multitudes.release.store import service_folder
from multitudes.retrieval.release_trial import ReleaseTrial
from multitudes.retrieval.release_watcher import ReleaseWatcher
from multitudes.retrieval.retriever import Retriever
from multitudes.service.access_records import AccessRecords
from multitudes.service.api_keys import ApiKeys, load_api_keys
from multitudes.service.engine import Engine
from multitudes.service.id_types import release_id_types
from multitudes.service.in_flight import InFlightRequests
from multitudes.service.journal import Journal
from multitudes.service.loop_lag import LoopLagMonitor
from multitudes.service.metrics import Metrics, MetricsCollector
from multitudes.service.settings import ServeConfig
from multitudes.service.state_guard import GuardConfig, GuardedStates
from multitudes.state.erasure_requests import FILE_NAME, ErasureRequests
from multitudes.state.protocol import StateConfig
from multitudes.state.store import open_state_store

_CACHED_USERS: Final = 10_000  # whose last vectors answer them when there is little time


@dataclass(frozen=True)
class Dependencies:
    """What the routes work with."""

    settings: ServeConfig
    get_retriever: Callable[[], Retriever]  # the one that serves now; a caller may keep it until it is done
    engine: Engine
    states: GuardedStates
    logs: Logs
    metrics: Metrics
    journal: Journal
    keys: ApiKeys | None = None  # None: no key is required
    loop_lag: LoopLagMonitor = field(default_factory=LoopLagMonitor)
    access_records: AccessRecords | None = None  # None: nothing is recorded
    beside: NamedExplorer | None = None  # a release that the explorer shows beside the one that serves
    in_flight: InFlightRequests = field(default_factory=InFlightRequests)


@contextmanager
def open_dependencies(releases: Path, settings: ServeConfig) -> Iterator[Dependencies]:
    """Open the dependencies until the end of the block; closing answers the accepted requests first.

    Raises:
        UsageError: the settings contradict each other, or a path cannot be used.
        ArtefactError: nothing is released, or the release, the states or the logs are damaged.
        MissingError: a file of keys or a package is missing.
        StateError: the store of user states does not answer.
    """
    keys = load_api_keys(settings)
    with ExitStack() as stack:
        # Objects of the imports stay for ever. A full garbage collection that walks them stops every request for 65 ms.
        gc.freeze()
        stack.callback(gc.unfreeze)
        trust = settings.releases.trust
        trial = ReleaseTrial(settings.releases.trial_s, settings.releases.trial_gb, trust)
        watcher = ReleaseWatcher(releases, cached_users=_CACHED_USERS, trial=trial, trust=trust)
        stack.enter_context(closing(watcher))
        folder = data_folder(releases, settings)
        metrics, loop_lag = Metrics(), LoopLagMonitor()
        erasure_requests = ErasureRequests(folder / FILE_NAME)
        limits = StateConfig(keep=settings.state.keep, timeout_s=settings.state.write_s)
        store = open_state_store(settings.state.store or folder / "state.sqlite", limits)
        guard = GuardConfig(read_s=settings.state.read_s, write_s=settings.state.write_s)
        states = GuardedStates(store, erasure_requests, metrics.record_state_call, guard)
        stack.enter_context(closing(states))
        logs = stack.enter_context(closing(Logs(folder / "logs", release_id_types(watcher().release), settings.logs)))
        setbacks = metrics.setbacks  # requests that were late, failed or cancelled
        engine = Engine(watcher, lag_s=loop_lag.lag_s, count=lambda kind, number: setbacks.labels(kind).inc(number))
        stack.enter_context(closing(engine))
        journal = Journal(settings.journal)
        records = stack.enter_context(closing(AccessRecords(folder, erasure_requests.digest)))
        deps = Dependencies(settings, watcher, engine, states, logs, metrics, journal, keys, loop_lag, records)
        collector = stack.enter_context(closing(MetricsCollector(metrics, watcher, engine, states, logs, loop_lag)))
        metrics.refresh = collector.collect
        for component in (watcher, states, logs, engine, collector):
            component.start()
        yield deps


def data_folder(releases: Path, settings: ServeConfig) -> Path:
    """Return the folder that the service writes into; create it if necessary.

    It tells who did what: other users of the machine may not enter it.

    Raises:
        UsageError: it cannot be created.
    """
    folder = settings.data.folder or service_folder(releases)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made ({error.strerror}); give another as [data] folder") from None
    with suppress(PermissionError):  # of another owner, as in a container, who sees to it
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) & ~stat.S_IRWXO)
    return folder
