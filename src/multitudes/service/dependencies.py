"""The dependencies of the routes; tests put small fakes in their place."""

from collections.abc import Callable
from dataclasses import dataclass, field

from multitudes.explorer.other_releases import NamedExplorer
from multitudes.logs.logs import Logs
from multitudes.retrieval.retriever import Retriever
from multitudes.service.access_records import AccessRecords
from multitudes.service.api_keys import ApiKeys
from multitudes.service.engine import Engine
from multitudes.service.journal import Journal
from multitudes.service.loop_lag import LoopLagMonitor
from multitudes.service.metrics import Metrics
from multitudes.service.settings import ServeConfig
from multitudes.service.state_guard import GuardedStates


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
