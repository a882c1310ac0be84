"""Tables written, and prepared, each in a process of its own, at one size after another; users and items grow along."""

import shutil
from pathlib import Path
from typing import Any

from benchmarks import SEED
from benchmarks.child import Outcome, in_child
from benchmarks.scale.training import training
from benchmarks.timing import figure
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.synthetic import SynthConfig, write_synthetic_tables

LIMIT = "1200MB"  # of the engine alone, so that the process stays within 2 GB
_EVENTS_A_USER, _EVENTS_AN_ITEM, _TOPICS = 50, 100, 500


def tables(events: int, folder: Path) -> dict[str, Any]:
    """Return seconds and peak memory of ``write_synthetic_tables`` alone."""
    made = in_child(make, events=events, folder=str(folder / "data"))
    figures = {**size(events).model_dump(mode="json"), "synth": _figures(events, made), "tables_mib": _mib(folder)}
    shutil.rmtree(folder / "data")
    return figures


def growth(events: int, memory_limit: str, folder: Path) -> dict[str, Any]:
    """Return seconds and peak memory of ``write_synthetic_tables`` and of ``prepare``; always one seed."""
    data, out = folder / "data", folder / "prepared"
    made = in_child(make, events=events, folder=str(data))
    mib = _mib(data)
    prepared = in_child(prepare_within, data=str(data), out=str(out), memory_limit=memory_limit)
    figures = {
        **size(events).model_dump(mode="json"),
        "memory_limit": memory_limit,
        "synth": _figures(events, made),
        "tables_mib": mib,
        "prepare": _figures(events, prepared),
        "prepared_mib": _mib(out),
    }
    for made_folder in (data, out):
        shutil.rmtree(made_folder)
    return figures


def training_alone(events: int, items: int, parts: int, memory_limit: str, folder: Path) -> dict[str, Any]:
    """Return the memory of ``train``, with a table of any size."""
    data, out, run = folder / "data", folder / "prepared", folder / "run"
    in_child(make, events=events, items=items, folder=str(data))
    in_child(prepare_within, data=str(data), out=str(out), memory_limit=memory_limit)
    figures = {**size(events, items).model_dump(mode="json"), "train": training(out, run, parts)}
    for made_folder in (data, out, run):
        shutil.rmtree(made_folder)
    return figures


def size(events: int, items: int | None = None) -> SynthConfig:
    """Return the world of so many events, and of as many items as go with them or are given."""
    items = items or max(events // _EVENTS_AN_ITEM, _TOPICS)
    return SynthConfig(events=events, users=events // _EVENTS_A_USER, items=items, topics=_TOPICS, seed=SEED)


def make(events: int, folder: str, items: int | None = None) -> None:
    """Write the tables."""
    write_synthetic_tables(folder, size(events, items))


def prepare_within(data: str, out: str, memory_limit: str) -> None:
    """Prepare the tables by the defaults, with a bound for the engine."""
    prepare(data, out, PrepareConfig(memory_limit=memory_limit))


def _mib(folder: Path) -> float:
    return figure(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20)


def _figures(events: int, outcome: Outcome) -> dict[str, float]:
    return {
        "seconds": figure(outcome.seconds),
        "cpu_s": figure(outcome.cpu_s),
        "events_per_s": figure(events / outcome.seconds),
        "events_per_cpu_s": figure(events / outcome.cpu_s),
        "peak_mib": figure(outcome.peak_mib),
    }
