"""Memory, disk, cores, machines and time of each stage, for a service of a given size. Pure functions.

Measured values are used as they are; sizes that follow from file formats are computed, and the notes say so. The basis
of a stage is the least certain basis of its figures.
"""

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

from pydantic import Field

from multitudes.config import Config
from multitudes_lab.capacity.unit_costs import BASES, Basis, Estimate, UnitCosts

_GIB, _DAY_S, _MONTH_H = 1024.0, 86_400, 730
_EPOCHS = 3  # of a training
_HISTORY = 100  # events of a user that a release holds
_LOG_DAYS = 30  # that logs are kept
_GRAPH_LINKS = 16  # links of an item in a Milvus graph, 8 bytes each
_EVENT_B = 14  # item, time, action, validity of an event in a release
_SEEN_B = 4  # a seen item
_LOG_ROW_B = 12  # a served candidate in Parquet: assumed
_LOG_EVENT_B = 40  # assumed
_PREPARE_CORES = 8  # assumed: whether more cores help was not measured
_LONG_S = 12 * 3600  # daily work has to finish in a night
_STATE_MS = 2  # a read: assumed
_SERVICE_PROCESSES = 2  # of a service, at least: the default of ``serve``
_PREPARE_LIMIT_GIB = 5.0  # the engine's default limit of 4 GB plus the process; more is spilled
_MAX = 10**15  # a larger number is a mistake, and products would overflow
_MIN = 0.01  # divisors are at least this


class CapacityConfig(Config):
    """The service and its machines."""

    users: int = Field(gt=0, le=_MAX, description="users")
    items: int = Field(gt=0, le=_MAX, description="items")
    events_per_day: int = Field(gt=0, le=_MAX, description="events of all users")
    qps: float = Field(gt=0, le=_MAX, description="answers per second at the peak")
    days: int = Field(90, gt=0, le=_MAX, description="days of events that are prepared and trained on")
    width: int = Field(64, gt=0, le=4096, description="width of the vectors")
    vectors: int = Field(12, gt=0, le=100, description="vectors of a user")
    n: int = Field(100, gt=0, le=_MAX, description="candidates of an answer")
    replicas: int = Field(2, gt=0, le=_MAX, description="minimum number of services, and copies of a remote index")
    cores: int = Field(16, gt=0, le=_MAX, description="cores of a machine")
    memory_gib: float = Field(64, ge=_MIN, le=_MAX, description="memory of a machine in GiB")
    utilisation: float = Field(0.5, ge=_MIN, lt=1, description="share of the cores that the peak may use")
    price_per_core_hour: float | None = Field(None, ge=0, le=_MAX, description="price of a core for an hour, for costs")
    price_per_gib_hour: float | None = Field(
        None, ge=0, le=_MAX, description="price of a GiB of memory for an hour, for costs"
    )


class StageRequirements(NamedTuple):
    """The requirements of a stage."""

    name: str
    memory_gib: float  # of each machine; of all machines for a remote index and a state store
    disk_gib: float
    cores: float
    machines: int
    time: str  # of a run or of an answer, as text
    basis: Basis  # of the least certain figure
    note: str
    cost: float | None = None  # of a month if the stage is permanent, else of a run

    @property
    def is_permanent(self) -> bool:
        """Whether it runs permanently."""
        return self.name in {"milvus", "serve", "state"}


def plan_capacity(config: CapacityConfig, costs: UnitCosts) -> list[StageRequirements]:
    """Estimate the requirements of each stage.

    Args:
        config: the service and its machines.
        costs: the unit costs.

    Returns:
        The stages in the order of the data flow.
    """
    remote = needs_remote_index(config, costs)
    stages: list[Callable[[CapacityConfig, UnitCosts], StageRequirements]] = [_prepare, _train, _build]
    stages += [_milvus] if remote else []
    return [stage(config, costs) for stage in (*stages, _serve, _batch, _state, _logs)]


def needs_remote_index(config: CapacityConfig, costs: UnitCosts) -> bool:
    """Return whether the index and the rest of a release need more memory than a machine has."""
    _, _, processes = _serving_size(config, answer_core_ms(config, costs).value)
    return index_gib(config, costs, processes).value + release_gib(config) > _usable_memory_gib(config)


def index_gib(config: CapacityConfig, costs: UnitCosts, processes: int = 1) -> Estimate:
    """Return the memory of an embedded index in GiB: that of each process, and files shared by all processes."""
    own, files = costs.index_own_mib.at(config.items), costs.index_files_mib.at(config.items)
    mib = processes * own.value + files.value
    return _combine(mib * config.width / costs.width / _GIB, own, files)


def release_gib(config: CapacityConfig) -> float:
    """Return the size of the users and of the tower's inputs in a release in GiB, computed from its arrays."""
    user_bytes = min(_HISTORY, _events_per_user(config)) * _EVENT_B + _events_per_user(config) * _SEEN_B + 50
    item_bytes = 4 * config.width + 60
    return (config.users * user_bytes + config.items * item_bytes) / 2**30


def answer_core_ms(config: CapacityConfig, costs: UnitCosts) -> Estimate:
    """Return the CPU time of an answer in ms: the measured one, with the search time for this size."""
    size, total_ms = costs.answer_core_ms.points[0]
    return _replace_search(total_ms, size, config, costs)


def _replace_search(total_ms: float, size: float, config: CapacityConfig, costs: UnitCosts) -> Estimate:
    searched_ms, here = costs.search_core_ms.at(size).value, costs.search_core_ms.at(config.items)
    scale = config.vectors / costs.vectors * config.width / costs.width
    # The two were measured on different machines: if the search alone took longer, it counts as half of the answer.
    rest_ms = total_ms - searched_ms if searched_ms < total_ms else total_ms / 2
    basis: Basis = here.basis if scale == 1 else "extrapolated"
    return Estimate(rest_ms + here.value * scale, basis)


def _prepare(config: CapacityConfig, costs: UnitCosts) -> StageRequirements:
    events = _events(config)
    core_s, mib, out = (curve.at(events) for curve in (costs.prepare_core_s, costs.prepare_mib, costs.prepared_mib))
    cores = min(config.cores, _PREPARE_CORES)
    total = _combine(core_s.value / cores, core_s, mib, out)
    is_long = total.value > _LONG_S
    note = "too long for one machine: a cluster engine is needed" if is_long else "one machine; spills beyond 4 GB"
    note += f"; at most {_PREPARE_CORES} cores are assumed to help"
    # Disk: the tables, what the engine spills, and the result.
    memory = min(mib.value / _GIB, _PREPARE_LIMIT_GIB)
    return _run("prepare", memory, 3 * out.value / _GIB, cores, total, note, config)


def _train(config: CapacityConfig, costs: UnitCosts) -> StageRequirements:
    targets = _events(config)
    core_s, mib = costs.train_core_s.at(targets), costs.train_mib.at(min(config.items, costs.train_mib.points[-1][0]))
    # Item weights, their gradients and two moments; events stay on the disk.
    memory = mib.value / _GIB + 4 * 4 * config.items * config.width / 2**30
    scale = (config.width / costs.width) ** 2 if config.width > costs.width else 1.0
    total = _combine(core_s.value * _EPOCHS * scale / config.cores, core_s, mib)
    note = f"{_EPOCHS} epochs on CPUs; a GPU is not considered"
    disk = costs.prepared_mib.at(targets).value / _GIB
    return _run("train", memory, disk, config.cores, total, note, config)


def _build(config: CapacityConfig, costs: UnitCosts) -> StageRequirements:
    core_s, mib = costs.index_core_s.at(config.items), costs.index_build_mib.at(config.items)
    scale = config.width / costs.width
    total = _combine(core_s.value * scale, core_s, mib)
    disk = index_gib(config, costs).value + release_gib(config)
    return _run("publish", mib.value * scale / _GIB, disk, 1, total, "builds and tunes the index, on one core", config)


def _milvus(config: CapacityConfig, costs: UnitCosts) -> StageRequirements:
    del costs
    gib = config.items * (4 * (config.width + 1) + 8 * _GRAPH_LINKS) * config.replicas / 2**30
    machines = ceil(gib / _usable_memory_gib(config))
    note = f"index too large for a machine: {config.replicas} copies in memory; search was not measured"
    cost = _monthly_cost(machines * config.cores, machines * config.memory_gib, config)
    return StageRequirements("milvus", gib, gib, machines * config.cores, machines, "not known", "assumed", note, cost)


def _serve(config: CapacityConfig, costs: UnitCosts) -> StageRequirements:
    remote = needs_remote_index(config, costs)
    small = config.model_copy(update={"items": min(config.items, int(costs.search_core_ms.points[0][0]))})
    core_ms = answer_core_ms(small if remote else config, costs)
    basis: Basis = "extrapolated" if core_ms.basis == "measured" else core_ms.basis
    cores, machines, processes = _serving_size(config, core_ms.value)
    index = Estimate(0, "measured") if remote else index_gib(config, costs, processes)
    memory = index.value + release_gib(config)
    latency_ms = core_ms.value / (1 - config.utilisation)
    note = f"serve --workers {processes} on each machine" + (
        "; without the time of the remote search" if remote else ""
    )
    if memory > _usable_memory_gib(config):
        note = f"the histories of all users ({memory:,.0f} GiB) do not fit into a machine: serve from the state store"
        basis = "assumed"
    cost = _monthly_cost(machines * config.cores, machines * config.memory_gib, config)
    time = f"{latency_ms:,.0f} ms" if not remote else f"{latency_ms:,.0f} ms + search"
    return StageRequirements(
        "serve", memory, memory, cores, machines, time, _weakest_basis(basis, index.basis), note, cost
    )


def _serving_size(config: CapacityConfig, core_ms: float) -> tuple[float, int, int]:
    """Return the cores of all services, the machines, and the processes on each: a process keeps one core busy."""
    cores = config.qps * core_ms / 1000 / config.utilisation
    machines = max(config.replicas, ceil(cores / config.cores))
    return cores, machines, max(min(_SERVICE_PROCESSES, config.cores), ceil(cores / machines))


def _batch(config: CapacityConfig, costs: UnitCosts) -> StageRequirements:
    size, total_ms = costs.bulk_core_ms.points[0]
    core_ms = _replace_search(total_ms, size, config, costs)
    index = index_gib(config, costs)
    seconds = config.users * core_ms.value / 1000 / config.cores
    memory = index.value + release_gib(config)
    note = "every user once, one machine; shards can be distributed to more"
    if memory > _usable_memory_gib(config):
        note = "needs the remote index, whose search was not measured"
    disk = config.users * config.n * 10 / 2**30
    total = Estimate(seconds, _weakest_basis(core_ms.basis, index.basis, "extrapolated"))
    return _run("batch", memory, disk, config.cores, total, note, config)


def _state(config: CapacityConfig, costs: UnitCosts) -> StageRequirements:
    kib = costs.state_kib.at(config.users)
    events = min(_events_per_user(config), costs.history)
    gib = kib.value / 2**20 * max(events / costs.history, 0.05)
    machines = max(1, ceil(gib / _usable_memory_gib(config)))
    note = f"Redis, or SQLite on one machine; {_STATE_MS} ms per read are assumed, not measured"
    cost = _monthly_cost(machines, gib, config)
    return StageRequirements("state", gib, gib, machines, machines, f"about {_STATE_MS} ms", "assumed", note, cost)


def _logs(config: CapacityConfig, costs: UnitCosts) -> StageRequirements:
    del costs
    answers = config.qps * _DAY_S / 2  # the mean load of a day is assumed to be half of the peak
    bytes_per_day = answers * config.n * _LOG_ROW_B + config.events_per_day * _LOG_EVENT_B
    gib = bytes_per_day * _LOG_DAYS / 2**30
    note = f"{_LOG_ROW_B} bytes per served candidate, {_LOG_EVENT_B} per event; mean load half of the peak"
    return StageRequirements("logs", 0.0, gib, 0.0, 0, "", "assumed", note)


def _run(
    name: str, memory_gib: float, disk_gib: float, cores: float, seconds: Estimate, note: str, config: CapacityConfig
) -> StageRequirements:
    """Return the requirements of a stage that runs and ends, unlike a service."""
    hours = seconds.value / 3600
    cost = _cost(hours * cores, hours * memory_gib, config)
    machines = max(1, ceil(memory_gib / _usable_memory_gib(config)))
    if machines > 1:
        note = f"needs more memory than a machine has: {note}"
    return StageRequirements(
        name, memory_gib, disk_gib, cores, machines, _format_duration(seconds.value), seconds.basis, note, cost
    )


def _monthly_cost(cores: float, gib: float, config: CapacityConfig) -> float | None:
    return _cost(_MONTH_H * cores, _MONTH_H * gib, config)


def _cost(core_hours: float, gib_hours: float, config: CapacityConfig) -> float | None:
    """Return a cost; None without prices."""
    if config.price_per_core_hour is None and config.price_per_gib_hour is None:
        return None
    return core_hours * (config.price_per_core_hour or 0) + gib_hours * (config.price_per_gib_hour or 0)


def _usable_memory_gib(config: CapacityConfig) -> float:
    """Return the memory that may be used of a machine, in GiB."""
    return 0.8 * config.memory_gib


def _events(config: CapacityConfig) -> float:
    return float(config.events_per_day * config.days)


def _events_per_user(config: CapacityConfig) -> float:
    return _events(config) / config.users


def _combine(value: float, *estimates: Estimate) -> Estimate:
    return Estimate(value, _weakest_basis(*(one.basis for one in estimates)))


def _weakest_basis(*bases: Basis) -> Basis:
    return max(bases, key=BASES.index)


def _format_duration(seconds: float) -> str:
    for unit, length in (("days", _DAY_S), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.0f} s"
