"""One run: a service with one vector per user and one with twelve, measured in turn.

Both run all the time, each in its own process, but only one is under load at a time, so that other load on the machine
affects both equally. Rounds alternate which one comes first.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import SEED
from benchmarks.child_process import run_in_child
from benchmarks.machine import MeasurementContext
from benchmarks.service import load, stage_costs
from benchmarks.service.releases import METHODS, world_folder
from benchmarks.service.serving import Service, run_service
from benchmarks.service.world import Sizes
from benchmarks.timing import round_figure, spread
from multitudes.nn.methods import Method
from multitudes.release.store import ReleaseStore

PERCENTILES = (50, 90, 99)
LOSSES = ("errors", "degraded")
STAGE = "stage "  # before the name of one, in the figures
Readings = dict[str, dict[str, list[float]]]  # readings of each round by method and name


class Plan(NamedTuple):
    """Duration, repeats and load of a run."""

    n: int = 200
    rate: float = 100.0  # requests a second
    clients: int = 16  # that wait for their answers, where throughput is measured
    seconds: float = 20.0  # of each load
    rounds: int = 3
    inside: int = 100  # requests for the CPU time by stage
    workers: int = 1  # processes that answer


class Cores(NamedTuple):
    """The cores of the service and of the load."""

    service: list[int]
    load: list[int]


def measure_service(sizes: Sizes, plan: Plan, cores: Cores, work: Path) -> dict[str, Any]:
    """Return the record of a run."""
    _print_status(f"{sizes}: the world")
    folder = world_folder(sizes, work)
    circumstances = MeasurementContext()
    figures = _figures(folder, sizes, plan, cores)
    return {
        "sizes": sizes._asdict(),
        "plan": plan._asdict(),
        "cores": cores._asdict(),
        **circumstances.head(),
        "seeds": [SEED],
        "figures": figures,
    }


def _figures(folder: Path, sizes: Sizes, plan: Plan, cores: Cores) -> dict[str, Any]:
    within = {
        method: run_in_child(
            stage_costs.measure,
            1,
            folder=str(folder),
            method=method,
            requests=plan.inside,
            rounds=plan.rounds,
            n=plan.n,
        ).value
        for method in METHODS
    }
    with ExitStack() as stack:
        services = {
            method: stack.enter_context(run_service(folder, method, set(cores.service), plan.workers))
            for method in METHODS
        }
        for service in services.values():
            _send_load(service, sizes, plan, cores, at_rate=False)  # warm
        taken = _rounds(services, sizes, plan, cores)
        return {
            "methods": {
                method: _method_figures(service, taken[method], within[method], _index_mib(folder, method))
                for method, service in services.items()
            },
            "joint_over_single": {
                name: spread([a / b for a, b in zip(taken["joint"][name], taken["single"][name], strict=True)])
                for name in taken["joint"]
                if name not in LOSSES
            },
        }


def _rounds(services: Mapping[Method, Service], sizes: Sizes, plan: Plan, cores: Cores) -> Readings:
    """Load the services in turn: at a rate, then at maximum throughput."""
    taken: Readings = {method: defaultdict(list) for method in services}
    for number, method in _turns(plan.rounds):
        _print_status(f"round {number + 1} of {plan.rounds}: {method}")
        for at_rate in (True, False):
            service = services[method]
            cpu_s, stage_s = service.cpu_s(), service.stage_s()
            outcome = _send_load(service, sizes, plan, cores, at_rate=at_rate)
            readings = _readings(outcome, service.cpu_s() - cpu_s, at_rate=at_rate)
            if at_rate:
                readings |= _stage_ms(stage_s, service.stage_s())
            for name, value in readings.items():
                taken[method][name].append(value)
    return taken


def _turns(rounds: int) -> Iterator[tuple[int, Method]]:
    for number in range(rounds):
        for method in METHODS if number % 2 == 0 else METHODS[::-1]:
            yield number, method


def _send_load(service: Service, sizes: Sizes, plan: Plan, cores: Cores, *, at_rate: bool) -> dict[str, Any]:
    """Send one load to a service from its own process."""
    kind: dict[str, Any] = {"rate": plan.rate} if at_rate else {"clients": plan.clients}
    where = {"port": service.server.port, "users": sizes.users, "n": plan.n, "cores": cores.load}
    outcome: dict[str, Any] = run_in_child(load.send, 1, seconds=plan.seconds, **where, **kind).value
    return outcome


def _readings(outcome: dict[str, Any], cpu_s: float, *, at_rate: bool) -> dict[str, float]:
    """Return the latencies or throughput of one load, and its CPU time."""
    answers = len(outcome["seconds"])
    lost = {"errors": float(outcome["errors"]), "degraded": float(outcome["degraded"])}
    if not at_rate:
        return {"per_s": answers / outcome["until_s"], "per_cpu_s": answers / cpu_s} | lost
    ms = np.percentile(outcome["seconds"], PERCENTILES) * 1e3
    return {f"p{p}_ms": float(value) for p, value in zip(PERCENTILES, ms, strict=True)} | {
        "cpu_ms": 1e3 * cpu_s / answers,
        **lost,
    }


def _stage_ms(before: Mapping[str, tuple[float, int]], after: Mapping[str, tuple[float, int]]) -> dict[str, float]:
    """Return the mean wall milliseconds of each stage between two readings."""
    mean_ms = {}
    for stage, (seconds, count) in after.items():
        seconds_before, count_before = before.get(stage, (0.0, 0))
        if count > count_before:
            mean_ms[STAGE + stage] = 1e3 * (seconds - seconds_before) / (count - count_before)
    return mean_ms


def _method_figures(
    service: Service,
    taken: dict[str, list[float]],
    within: dict[str, Any],
    index_mib: float,
) -> dict[str, Any]:
    lost = {name: sum(taken[name]) for name in LOSSES}
    return {
        **{name: spread(values) for name, values in taken.items() if name not in LOSSES},
        **lost,
        "ready_s": round_figure(service.ready_s),
        "ready_cpu_s": round_figure(service.ready_cpu_s),
        "memory_mib": {name: round_figure(mib) for name, mib in service.memory_mib().items()},
        "index_mib": round_figure(index_mib),
        "inside_cpu_ms": within,
    }


def _index_mib(folder: Path, method: str) -> float:
    files = (ReleaseStore(folder / method).folder() / "index").iterdir()
    return sum(file.stat().st_size for file in files) / 2**20


def _print_status(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
