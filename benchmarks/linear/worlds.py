"""Time, memory and hits of ``linear`` and of other libraries on planted worlds, each in its own process."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.child_process import run_in_child
from benchmarks.linear import RANK
from benchmarks.linear.fitted import fit_factors
from benchmarks.machine import ROOT
from benchmarks.scale.tables import prepare_tables, write_tables
from multitudes.batches.held_out import seen_items
from multitudes.data.prepared import PreparedData
from multitudes.linear.interactions import history_matrix, interaction_matrix
from multitudes.linear.run import CUTOFF, Validation
from multitudes.metrics.ranking import ranks_in_list

OWN, PEERS = ("once", "elsa", "grid"), ("ials", "ease")
_LIMIT_BYTES: Final = 8 * 10**9  # of the memory of others


def measure_system(events: int, name: str, work: Path, python: str | None) -> dict[str, Any]:
    """Return what a system takes and finds on a planted world, which is kept in ``work``."""
    folder = work / str(events)
    if not folder.exists():
        run_in_child(write_tables, events=events, folder=str(work / "tables"))
        run_in_child(prepare_tables, data=str(work / "tables"), out=str(folder), memory_limit="4GB")
    if name in OWN:
        own = run_in_child(fit_factors, prepared=str(folder), name=name)
        return {"hr": own.value} | {key: getattr(own, key) for key in ("seconds", "cpu_s", "peak_mib")}
    if python is None:
        raise SystemExit(f"{name}: give --peers, the Python of an environment with RecTools 0.19.0")
    return _measure_peer(PreparedData.open(folder), name, work, python)


def _measure_peer(prepared: PreparedData, name: str, work: Path, python: str) -> dict[str, Any]:
    matrix, held = interaction_matrix(prepared), Validation.sample(prepared).held
    history = history_matrix(seen_items(prepared, held), prepared.n_items)
    for label, one in (("train", matrix), ("history", history)):
        np.savez(work / f"{label}.npz", indptr=one.indptr, indices=one.indices, shape=one.shape)
    del matrix
    call = [python, "-m", "benchmarks.linear.peer", name, str(work), str(RANK), str(CUTOFF), str(_LIMIT_BYTES)]
    one = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # as implicit asks for; its own threads are not limited
    told = subprocess.run(call, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=one, check=True)
    report: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    if "failed" not in report:
        list_BN = np.load(work / "lists.npy", allow_pickle=False)
        report["hr"] = float(np.isfinite(ranks_in_list(list_BN, held.target_offset, held.target)).mean())
    return report
