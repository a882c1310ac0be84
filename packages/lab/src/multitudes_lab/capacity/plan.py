"""Memory, disk, cores, machines and time of each stage, for a service of a given size.

Measured values are used as they are; sizes that follow from file formats are computed, and the notes say so. The basis
of a stage is the least certain basis of its figures.
"""

from math import ceil
from typing import NamedTuple

from pydantic import Field

from multitudes.config import Config
from multitudes.progress import duration_text
from multitudes_lab.capacity.unit_costs import BASES, Basis, Curve, Estimate, UnitCosts

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
    """The service and its machines; ``multitudes plan --help`` says what each setting is."""

    users: int = Field(gt=0, le=_MAX)
    items: int = Field(gt=0, le=_MAX)
    events_per_day: int = Field(gt=0, le=_MAX)  # of all users
    qps: float = Field(gt=0, le=_MAX)  # at the peak
    days: int = Field(90, gt=0, le=_MAX)
    width: int = Field(64, gt=0, le=4096)
    vectors: int = Field(12, gt=0, le=100)  # of a user
    n: int = Field(100, gt=0, le=_MAX)
    replicas: int = Field(2, gt=0, le=_MAX)
    cores: int = Field(16, gt=0, le=_MAX)  # of a machine
    memory_gib: float = Field(64, ge=_MIN, le=_MAX)
    utilisation: float = Field(0.5, ge=_MIN, lt=1)
    price_per_core_hour: float | None = Field(None, ge=0, le=_MAX)
    price_per_gib_hour: float | None = Field(None, ge=0, le=_MAX)


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


class Capacity:
    """What a service needs on its machines, from the costs of a unit of each kind of work."""

    def __init__(self, config: CapacityConfig, costs: UnitCosts) -> None:
        self.config, self.costs = config, costs
        self._events = float(config.events_per_day * config.days)
        self._events_per_user = self._events / config.users
        self._width = config.width / costs.width
        self._usable_gib = 0.8 * config.memory_gib

    def stages(self) -> list[StageRequirements]:
        """Return the requirements of each stage, in the order of the data flow."""
        remote = [self._milvus()] if self.needs_remote_index else []
        ahead = self._prepare(), self._train(), self._build()
        return [*ahead, *remote, self._serve(), self._batch(), self._state(), self._logs()]

    @property
    def needs_remote_index(self) -> bool:
        """Whether the index and the rest of a release need more memory than a machine has."""
        _, _, processes = self._serving_size(self.answer_core_ms.value)
        return self.index_gib(processes).value + self._release_gib > self._usable_gib

    def index_gib(self, processes: int = 1) -> Estimate:
        """Return the memory of an embedded index in GiB: that of each process, and files shared by all processes."""
        own, files = (curve.at(self.config.items) for curve in (self.costs.index_own_mib, self.costs.index_files_mib))
        return _combine((processes * own.value + files.value) * self._width / _GIB, own, files)

    @property
    def answer_core_ms(self) -> Estimate:
        """The CPU time of an answer in ms: the measured one, with the search time for this size."""
        return self._core_ms(self.costs.answer_core_ms, self.config.items)

    def _core_ms(self, measured: Curve, items: float) -> Estimate:
        """Return the CPU time of an answer, of which the search is replaced by that in so many items."""
        size, total_ms = measured.points[0]
        searched_ms, here = self.costs.search_core_ms.at(size).value, self.costs.search_core_ms.at(items)
        scale = self.config.vectors / self.costs.vectors * self._width
        # The two were measured on different machines: if the search alone took longer, it counts as half of the answer.
        rest_ms = total_ms - searched_ms if searched_ms < total_ms else total_ms / 2
        return Estimate(rest_ms + here.value * scale, here.basis if scale == 1 else "extrapolated")

    @property
    def _release_gib(self) -> float:
        """The users and the tower's inputs in a release, computed from its arrays."""
        user_bytes = min(_HISTORY, self._events_per_user) * _EVENT_B + self._events_per_user * _SEEN_B + 50
        return (self.config.users * user_bytes + self.config.items * (4 * self.config.width + 60)) / 2**30

    def _prepare(self) -> StageRequirements:
        costs = self.costs
        core_s, mib, out = (
            curve.at(self._events) for curve in (costs.prepare_core_s, costs.prepare_mib, costs.prepared_mib)
        )
        cores = min(self.config.cores, _PREPARE_CORES)
        total = _combine(core_s.value / cores, core_s, mib, out)
        is_long = total.value > _LONG_S
        note = "too long for one machine: a cluster engine is needed" if is_long else "one machine; spills beyond 4 GB"
        note += f"; at most {_PREPARE_CORES} cores are assumed to help"
        # Disk: the tables, what the engine spills, and the result.
        return self._run("prepare", min(mib.value / _GIB, _PREPARE_LIMIT_GIB), 3 * out.value / _GIB, cores, total, note)

    def _train(self) -> StageRequirements:
        config, costs = self.config, self.costs
        core_s = costs.train_core_s.at(self._events)
        mib = costs.train_mib.at(min(config.items, costs.train_mib.points[-1][0]))
        # Item weights, their gradients and two moments; events stay on the disk.
        memory = mib.value / _GIB + 4 * 4 * config.items * config.width / 2**30
        total = _combine(core_s.value * _EPOCHS * max(1.0, self._width) ** 2 / config.cores, core_s, mib)
        disk = costs.prepared_mib.at(self._events).value / _GIB
        note = f"{_EPOCHS} epochs on CPUs; a GPU is not considered"
        return self._run("train", memory, disk, config.cores, total, note)

    def _build(self) -> StageRequirements:
        core_s, mib = (curve.at(self.config.items) for curve in (self.costs.index_core_s, self.costs.index_build_mib))
        total = _combine(core_s.value * self._width, core_s, mib)
        disk = self.index_gib().value + self._release_gib
        note = "builds and tunes the index, on one core"
        return self._run("publish", mib.value * self._width / _GIB, disk, 1, total, note)

    def _milvus(self) -> StageRequirements:
        config = self.config
        gib = config.items * (4 * (config.width + 1) + 8 * _GRAPH_LINKS) * config.replicas / 2**30
        machines = ceil(gib / self._usable_gib)
        cores, cost = machines * config.cores, self._machine_cost(machines)
        note = f"index too large for a machine: {config.replicas} copies in memory; search was not measured"
        return StageRequirements("milvus", gib, gib, cores, machines, "not known", "assumed", note, cost)

    def _serve(self) -> StageRequirements:
        remote, items = self.needs_remote_index, self.config.items
        if remote:
            items = min(items, int(self.costs.search_core_ms.points[0][0]))
        core_ms = self._core_ms(self.costs.answer_core_ms, items)
        cores, machines, processes = self._serving_size(core_ms.value)
        index = Estimate(0, "measured") if remote else self.index_gib(processes)
        basis = _weakest_basis("extrapolated" if core_ms.basis == "measured" else core_ms.basis, index.basis)
        memory = index.value + self._release_gib
        note = f"serve --workers {processes} on each machine"
        note += "; without the time of the remote search" if remote else ""
        if memory > self._usable_gib:
            note = (
                f"the histories of all users ({memory:,.0f} GiB) do not fit into a machine: serve from the state store"
            )
            basis = "assumed"
        time = f"{core_ms.value / (1 - self.config.utilisation):,.0f} ms" + (" + search" if remote else "")
        cost = self._machine_cost(machines)
        return StageRequirements("serve", memory, memory, cores, machines, time, basis, note, cost)

    def _serving_size(self, core_ms: float) -> tuple[float, int, int]:
        """Return the cores of all services, the machines, and the processes on each: a process keeps one core busy."""
        config = self.config
        cores = config.qps * core_ms / 1000 / config.utilisation
        machines = max(config.replicas, ceil(cores / config.cores))
        return cores, machines, max(min(_SERVICE_PROCESSES, config.cores), ceil(cores / machines))

    def _batch(self) -> StageRequirements:
        config, index = self.config, self.index_gib()
        core_ms = self._core_ms(self.costs.bulk_core_ms, config.items)
        total = _combine(
            config.users * core_ms.value / 1000 / config.cores, core_ms, index, Estimate(0, "extrapolated")
        )
        memory = index.value + self._release_gib
        note = "every user once, one machine; shards can be distributed to more"
        if memory > self._usable_gib:
            note = "needs the remote index, whose search was not measured"
        return self._run("batch", memory, config.users * config.n * 10 / 2**30, config.cores, total, note)

    def _state(self) -> StageRequirements:
        history = self.costs.history
        full = self.costs.state_kib.at(self.config.users).value / 2**20
        gib = full * max(min(self._events_per_user, history) / history, 0.05)
        machines = max(1, ceil(gib / self._usable_gib))
        note = f"Redis, or SQLite on one machine; {_STATE_MS} ms per read are assumed, not measured"
        time, cost = f"about {_STATE_MS} ms", self._cost(_MONTH_H * machines, _MONTH_H * gib)
        return StageRequirements("state", gib, gib, machines, machines, time, "assumed", note, cost)

    def _logs(self) -> StageRequirements:
        config = self.config
        answers = config.qps * _DAY_S / 2  # the mean load of a day is assumed to be half of the peak
        gib = (answers * config.n * _LOG_ROW_B + config.events_per_day * _LOG_EVENT_B) * _LOG_DAYS / 2**30
        note = f"{_LOG_ROW_B} bytes per served candidate, {_LOG_EVENT_B} per event; mean load half of the peak"
        return StageRequirements("logs", 0.0, gib, 0.0, 0, "", "assumed", note)

    def _run(
        self, name: str, memory_gib: float, disk_gib: float, cores: float, seconds: Estimate, note: str
    ) -> StageRequirements:
        """Return the requirements of a stage that runs and ends, unlike a service."""
        hours, machines = seconds.value / 3600, max(1, ceil(memory_gib / self._usable_gib))
        if machines > 1:
            note = f"needs more memory than a machine has: {note}"
        time, cost = duration_text(seconds.value), self._cost(hours * cores, hours * memory_gib)
        return StageRequirements(name, memory_gib, disk_gib, cores, machines, time, seconds.basis, note, cost)

    def _machine_cost(self, machines: int) -> float | None:
        """Return the cost of whole machines for a month."""
        hours = _MONTH_H * machines
        return self._cost(hours * self.config.cores, hours * self.config.memory_gib)

    def _cost(self, core_hours: float, gib_hours: float) -> float | None:
        """Return a cost; None without prices."""
        core, gib = self.config.price_per_core_hour, self.config.price_per_gib_hour
        return None if core is None and gib is None else core_hours * (core or 0) + gib_hours * (gib or 0)


def _combine(value: float, *estimates: Estimate) -> Estimate:
    return Estimate(value, _weakest_basis(*(one.basis for one in estimates)))


def _weakest_basis(*bases: Basis) -> Basis:
    return max(bases, key=BASES.index)
