"""Writing and preparing tables at several sizes, each in its own process; users and items grow with the events."""

import shutil
from pathlib import Path
from typing import Any

from benchmarks.child_process import ChildResult, run_in_child
from benchmarks.scale.tables import prepare_tables, world_config, write_tables
from benchmarks.scale.training import train_and_measure
from benchmarks.timing import round_figure
from multitudes.data.prepared import PreparedData
from multitudes.linear import fit
from multitudes.linear.interactions import interaction_matrix
from multitudes.linear.run import LinearConfig

LIMIT = "1200MB"  # of the engine, so that the process stays within 2 GB


def measure_growth(events: int, memory_limit: str, folder: Path) -> dict[str, Any]:
    """Return seconds and peak memory of ``write_synthetic_tables`` and of ``prepare``; always one seed."""
    data, out = folder / "data", folder / "prepared"
    made = run_in_child(write_tables, events=events, folder=str(data))
    mib = _mib(data)
    prepared = run_in_child(prepare_tables, data=str(data), out=str(out), memory_limit=memory_limit)
    figures = {
        **world_config(events).model_dump(mode="json"),
        "memory_limit": memory_limit,
        "synth": _figures(events, made),
        "tables_mib": mib,
        "prepare": _figures(events, prepared),
        "prepared_mib": _mib(out),
    }
    for made_folder in (data, out):
        shutil.rmtree(made_folder)
    return figures


def measure_linear_fit(events: int, memory_limit: str, folder: Path) -> dict[str, Any]:
    """Return seconds and peak memory of one fit of the linear history, with one thread."""
    data, out = folder / "data", folder / "prepared"
    run_in_child(write_tables, events=events, folder=str(data))
    run_in_child(prepare_tables, data=str(data), out=str(out), memory_limit=memory_limit)
    fitted = run_in_child(fit_linear, threads=1, prepared=str(out))
    for made_folder in (data, out):
        shutil.rmtree(made_folder)
    return {"events": events, "linear": _figures(events, fitted)}


def measure_training_memory(events: int, items: int, parts: int, memory_limit: str, folder: Path) -> dict[str, Any]:
    """Return the memory of ``train``, with a table of any size."""
    data, out, run = folder / "data", folder / "prepared", folder / "run"
    run_in_child(write_tables, events=events, items=items, folder=str(data))
    run_in_child(prepare_tables, data=str(data), out=str(out), memory_limit=memory_limit, min_item_count=0)
    trained = run_in_child(train_and_measure, threads=1, prepared=str(out), out=str(run), parts=parts)
    figures = {**world_config(events, items).model_dump(mode="json"), "train": trained.value}
    for made_folder in (data, out, run):
        shutil.rmtree(made_folder)
    return figures


def fit_linear(prepared: str) -> None:
    """Fit a linear history of the default rank once, with the default settings."""
    fit.fit(interaction_matrix(PreparedData.open(prepared)), LinearConfig().rank)


def _mib(folder: Path) -> float:
    return round_figure(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20)


def _figures(events: int, outcome: ChildResult) -> dict[str, float]:
    return {
        "seconds": round_figure(outcome.seconds),
        "cpu_s": round_figure(outcome.cpu_s),
        "events_per_s": round_figure(events / outcome.seconds),
        "events_per_cpu_s": round_figure(events / outcome.cpu_s),
        "peak_mib": round_figure(outcome.peak_mib),
    }
