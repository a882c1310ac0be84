"""Memory, disk, cores, machines and time of each stage, for a service of some size. Pure functions.

What was measured is taken as it is; what follows from the formats of files is arithmetic and says so in the notes.
Every stage carries the least sure basis of its figures.
"""

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

from pydantic import Field

from multitudes.capacity.unit_costs import BASES, Basis, Estimate, UnitCosts
from multitudes.config import Config

_GIB, _DAY_S, _MONTH_H = 1024.0, 86_400, 730
_GRAPH_LINKS = 16  # of an item in a Milvus graph, 8 bytes each
_EVENT_B = 14  # item, time, action, validity of an event in a release
_SEEN_B = 4  # an item that is not recommended again
_LOG_ROW_B = 12  # Parquet, of a candidate that was served: assumed
_LOG_EVENT_B = 40  # assumed
_PREPARE_CORES = 8  # assumed: nobody measured whether more of them help
_LONG_S = 12 * 3600  # what is made anew each day has to be done within the night
_STATE_MS = 2  # assumed: of a read
_PREPARE_LIMIT_GIB = 5.0  # the engine's default limit of 4 GB, and the process around it; more is spilled
_MAX = 10**15  # beyond it a number is a slip, and products of numbers leave the floats
_MIN = 0.01  # below it what is divided by it does


class CapacityConfig(Config):
    """The service, and the machines that there are."""

    users: int = Field(gt=0, le=_MAX, description="users")
    items: int = Field(gt=0, le=_MAX, description="items")
    events_per_day: int = Field(gt=0, le=_MAX, description="events of all users")
    qps: float = Field(gt=0, le=_MAX, description="answers a second at the peak")
    days: int = Field(90, gt=0, le=_MAX, description="days of events that are prepared and trained on")
    width: int = Field(64, gt=0, le=4096, description="of the vectors")
    vectors: int = Field(12, gt=0, le=100, description="of a user")
    n: int = Field(100, gt=0, le=_MAX, description="candidates of an answer")
    epochs: int = Field(3, gt=0, le=_MAX, description="passes of a training")
    history: int = Field(100, gt=0, le=_MAX, description="events of a user that a release holds")
    log_days: int = Field(30, gt=0, le=_MAX, description="days that logs are kept")
    replicas: int = Field(2, gt=0, le=_MAX, description="least number of services, and copies of a remote index")
    cores: int = Field(16, gt=0, le=_MAX, description="of a machine")
    memory_gib: float = Field(64, ge=_MIN, le=_MAX, description="of a machine")
    utilisation: float = Field(0.5, ge=_MIN, lt=1, description="share of the cores that the peak may use")
    price_per_core_hour: float | None = Field(None, ge=0, le=_MAX, description="for costs")
    price_per_gib_hour: float | None = Field(None, ge=0, le=_MAX, description="of memory, for costs")


class StageRequirements(NamedTuple):
    """What a stage needs."""

    name: str
    memory_gib: float  # of each machine; of all for a remote index and a store
    disk_gib: float
    cores: float
    machines: int
    time: str  # of a run, or of an answer
    basis: Basis  # the least sure of its figures
    note: str
    cost: float | None = None  # of a month where it runs always, else of a run

    @property
    def runs_always(self) -> bool:
        """Whether it runs always."""
        return self.name in {"milvus", "serve", "state"}


def plan_capacity(asked: CapacityConfig, costs: UnitCosts) -> list[StageRequirements]:
    """Return the stages, in the order in which an event meets them."""
    remote = needs_remote_index(asked, costs)
    stages: list[Callable[[CapacityConfig, UnitCosts], StageRequirements]] = [_prepare, _train, _build]
    stages += [_milvus] if remote else []
    return [stage(asked, costs) for stage in (*stages, _serve, _batch, _state, _logs)]


def needs_remote_index(asked: CapacityConfig, costs: UnitCosts) -> bool:
    """Return whether the index, with what is around it, is more than a machine holds."""
    return index_gib(asked, costs).value + release_gib(asked) > _usable_memory_gib(asked)


def index_gib(asked: CapacityConfig, costs: UnitCosts) -> Estimate:
    """Return the memory of an embedded index: codes of one process, and files that all share."""
    own, files = costs.index_own_mib.at(asked.items), costs.index_files_mib.at(asked.items)
    return _combine((own.value + files.value) * asked.width / costs.width / _GIB, own, files)


def release_gib(asked: CapacityConfig) -> float:
    """Return the size of the users and of the inputs of the tower in a release (arithmetic from its arrays)."""
    a_user = min(asked.history, _events_per_user(asked)) * _EVENT_B + _events_per_user(asked) * _SEEN_B + 50
    an_item = 4 * asked.width + 60
    return (asked.users * a_user + asked.items * an_item) / 2**30


def answer_core_ms(asked: CapacityConfig, costs: UnitCosts) -> Estimate:
    """Return the processor time of an answer: what was measured, with the search of this size in place of its own."""
    size, whole_ms = costs.answer_core_ms.points[0]
    return _replace_search(whole_ms, size, asked, costs)


def _replace_search(whole_ms: float, size: float, asked: CapacityConfig, costs: UnitCosts) -> Estimate:
    searched_ms, here = costs.search_core_ms.at(size).value, costs.search_core_ms.at(asked.items)
    scale = asked.vectors / costs.vectors * asked.width / costs.width
    # Where its own search took longer than all, as on other machines, the rest is half of it.
    rest_ms = whole_ms - searched_ms if searched_ms < whole_ms else whole_ms / 2
    basis: Basis = here.basis if scale == 1 else "extrapolated"
    return Estimate(rest_ms + here.value * scale, basis)


def _prepare(asked: CapacityConfig, costs: UnitCosts) -> StageRequirements:
    events = _events(asked)
    core_s, mib, out = (curve.at(events) for curve in (costs.prepare_core_s, costs.prepare_mib, costs.prepared_mib))
    cores = min(asked.cores, _PREPARE_CORES)
    whole = _combine(core_s.value / cores, core_s, mib, out)
    long = whole.value > _LONG_S
    note = "too long for one machine: a cluster engine is needed" if long else "one machine; spills beyond 4 GB"
    note += f"; at most {_PREPARE_CORES} cores are assumed to help"
    # The tables, what is spilled of them, and the result.
    memory = min(mib.value / _GIB, _PREPARE_LIMIT_GIB)
    return _run("prepare", memory, 3 * out.value / _GIB, cores, whole, note, asked)


def _train(asked: CapacityConfig, costs: UnitCosts) -> StageRequirements:
    targets = _events(asked)
    core_s, mib = costs.train_core_s.at(targets), costs.train_mib.at(min(asked.items, costs.train_mib.points[-1][0]))
    # Weights of items, their gradients and two moments of them; events stay on the disk.
    memory = mib.value / _GIB + 4 * 4 * asked.items * asked.width / 2**30
    scale = (asked.width / costs.width) ** 2 if asked.width > costs.width else 1.0
    whole = _combine(core_s.value * asked.epochs * scale / asked.cores, core_s, mib)
    note = f"{asked.epochs} passes on processors; a GPU is not reckoned"
    disk = costs.prepared_mib.at(targets).value / _GIB
    return _run("train", memory, disk, asked.cores, whole, note, asked)


def _build(asked: CapacityConfig, costs: UnitCosts) -> StageRequirements:
    core_s, mib = costs.index_core_s.at(asked.items), costs.index_build_mib.at(asked.items)
    wide = asked.width / costs.width
    whole = _combine(core_s.value * wide, core_s, mib)
    disk = index_gib(asked, costs).value + release_gib(asked)
    return _run("publish", mib.value * wide / _GIB, disk, 1, whole, "builds and tunes the index, on one core", asked)


def _milvus(asked: CapacityConfig, costs: UnitCosts) -> StageRequirements:
    del costs
    gib = asked.items * (4 * (asked.width + 1) + 8 * _GRAPH_LINKS) * asked.replicas / 2**30
    machines = ceil(gib / _usable_memory_gib(asked))
    note = f"index too large for a machine: {asked.replicas} copies in memory; its searches were not measured"
    cost = _monthly_cost(machines * asked.cores, machines * asked.memory_gib, asked)
    return StageRequirements("milvus", gib, gib, machines * asked.cores, machines, "not known", "assumed", note, cost)


def _serve(asked: CapacityConfig, costs: UnitCosts) -> StageRequirements:
    remote = needs_remote_index(asked, costs)
    small = asked.model_copy(update={"items": min(asked.items, int(costs.search_core_ms.points[0][0]))})
    core_ms = answer_core_ms(small if remote else asked, costs)
    basis: Basis = "extrapolated" if core_ms.basis == "measured" else core_ms.basis
    index = Estimate(0, "measured") if remote else index_gib(asked, costs)
    cores = asked.qps * core_ms.value / 1000 / asked.utilisation
    memory = index.value + release_gib(asked)
    machines = max(asked.replicas, ceil(cores / asked.cores))
    latency_ms = core_ms.value / (1 - asked.utilisation)
    note = "a queue in front of each core" if not remote else "without the time of the remote search"
    if memory > _usable_memory_gib(asked):
        note = f"the histories of all users ({memory:,.0f} GiB) are more than a machine: serve from the store of states"
        basis = "assumed"
    cost = _monthly_cost(machines * asked.cores, machines * asked.memory_gib, asked)
    time = f"{latency_ms:,.0f} ms" if not remote else f"{latency_ms:,.0f} ms + search"
    return StageRequirements(
        "serve", memory, memory, cores, machines, time, _weakest_basis(basis, index.basis), note, cost
    )


def _batch(asked: CapacityConfig, costs: UnitCosts) -> StageRequirements:
    size, whole_ms = costs.bulk_core_ms.points[0]
    core_ms = _replace_search(whole_ms, size, asked, costs)
    index = index_gib(asked, costs)
    seconds = asked.users * core_ms.value / 1000 / asked.cores
    memory = index.value + release_gib(asked)
    note = "every user once, one machine; shards can be parted among more"
    if memory > _usable_memory_gib(asked):
        note = "it needs the remote index, whose searches were not measured"
    disk = asked.users * asked.n * 10 / 2**30
    whole = Estimate(seconds, _weakest_basis(core_ms.basis, index.basis, "extrapolated"))
    return _run("batch", memory, disk, asked.cores, whole, note, asked)


def _state(asked: CapacityConfig, costs: UnitCosts) -> StageRequirements:
    kib = costs.state_kib.at(asked.users)
    events = min(_events_per_user(asked), costs.history)
    gib = kib.value / 2**20 * max(events / costs.history, 0.05)
    machines = max(1, ceil(gib / _usable_memory_gib(asked)))
    note = f"Redis, or SQLite on one machine; {_STATE_MS} ms a read are assumed, not measured"
    cost = _monthly_cost(machines, gib, asked)
    return StageRequirements("state", gib, gib, machines, machines, f"about {_STATE_MS} ms", "assumed", note, cost)


def _logs(asked: CapacityConfig, costs: UnitCosts) -> StageRequirements:
    del costs
    answers = asked.qps * _DAY_S / 2  # the mean of a day is taken as half of the peak
    a_day = answers * asked.n * _LOG_ROW_B + asked.events_per_day * _LOG_EVENT_B
    gib = a_day * asked.log_days / 2**30
    note = f"{_LOG_ROW_B} bytes a candidate served, {_LOG_EVENT_B} an event; mean load half of the peak"
    return StageRequirements("logs", 0.0, gib, 0.0, 0, "", "assumed", note)


def _run(
    name: str, memory_gib: float, disk_gib: float, cores: float, seconds: Estimate, note: str, asked: CapacityConfig
) -> StageRequirements:
    """Return a stage that runs and ends."""
    hours = seconds.value / 3600
    cost = _cost(hours * cores, hours * memory_gib, asked)
    machines = max(1, ceil(memory_gib / _usable_memory_gib(asked)))
    if machines > 1:
        note = f"more memory than a machine has: {note}"
    return StageRequirements(
        name, memory_gib, disk_gib, cores, machines, _format_duration(seconds.value), seconds.basis, note, cost
    )


def _monthly_cost(cores: float, gib: float, asked: CapacityConfig) -> float | None:
    return _cost(_MONTH_H * cores, _MONTH_H * gib, asked)


def _cost(core_hours: float, gib_hours: float, asked: CapacityConfig) -> float | None:
    """Return a cost, where a price was named."""
    if asked.price_per_core_hour is None and asked.price_per_gib_hour is None:
        return None
    return core_hours * (asked.price_per_core_hour or 0) + gib_hours * (asked.price_per_gib_hour or 0)


def _usable_memory_gib(asked: CapacityConfig) -> float:
    """Return the memory of a machine that may be used."""
    return 0.8 * asked.memory_gib


def _events(asked: CapacityConfig) -> float:
    return float(asked.events_per_day * asked.days)


def _events_per_user(asked: CapacityConfig) -> float:
    return _events(asked) / asked.users


def _combine(value: float, *known: Estimate) -> Estimate:
    return Estimate(value, _weakest_basis(*(one.basis for one in known)))


def _weakest_basis(*bases: Basis) -> Basis:
    return max(bases, key=BASES.index)


def _format_duration(seconds: float) -> str:
    for unit, length in (("days", _DAY_S), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.0f} s"
