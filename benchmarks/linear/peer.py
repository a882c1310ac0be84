"""One fit of another library for ``benchmarks.linear``; runs in the peers' environment.

    python -m benchmarks.linear.peer (ials | ease) FOLDER RANK PLACES LIMIT_BYTES

Reads ``train.npz`` and ``history.npz``, binary matrices, writes ``lists.npy``, and prints the cost as JSON.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from implicit.als import AlternatingLeastSquares
from numpy.typing import NDArray
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import EASEModel
from scipy.sparse import csr_matrix

from benchmarks.process import peak_mib

_CHUNK = 64  # users scored at once


def read(file: Path) -> csr_matrix:
    """Read a binary matrix."""
    with np.load(file, allow_pickle=False) as one:
        data = np.ones(len(one["indices"]), dtype=np.float32)
        return csr_matrix((data, one["indices"], one["indptr"]), shape=one["shape"])


def fit_ials(train: csr_matrix, history: csr_matrix, rank: int, places: int) -> NDArray[np.int64]:
    """Return lists of iALS, with the users folded in."""
    model = AlternatingLeastSquares(factors=rank, regularization=30, alpha=4, iterations=15, random_state=0)
    model.fit(train, show_progress=False)
    users = np.arange(history.shape[0])
    listed, _ = model.recommend(users, history, N=places, recalculate_user=True)
    return np.asarray(listed, dtype=np.int64)


def fit_ease(train: csr_matrix, history: csr_matrix, rank: int, places: int) -> NDArray[np.int64]:
    """Return lists of exact EASE."""
    del rank
    pairs = train.tocoo()
    frame = {Columns.User: pairs.row, Columns.Item: pairs.col, Columns.Weight: 1.0, Columns.Datetime: pd.Timestamp(0)}
    data, model = Dataset.construct(pd.DataFrame(frame)), EASEModel(regularization=400)
    model.fit(data)
    item_I = np.asarray(data.item_id_map.external_ids)
    list_BN = np.zeros((history.shape[0], places), dtype=np.int64)
    for start in range(0, history.shape[0], _CHUNK):
        own = history[start : start + _CHUNK][:, item_I]
        score_BI = np.asarray(own @ model.weight)
        score_BI[own.nonzero()] = -np.inf
        list_BN[start : start + _CHUNK] = item_I[np.argpartition(-score_BI, places, axis=1)[:, :places]]
    return list_BN


def main() -> None:
    """Fit within the limit of memory."""
    name, folder, (rank, places, limit) = sys.argv[1], Path(sys.argv[2]), map(int, sys.argv[3:])
    train, history = read(folder / "train.npz"), read(folder / "history.npz")
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    began, cpu_began = time.perf_counter(), time.process_time()
    try:
        list_BN = {"ials": fit_ials, "ease": fit_ease}[name](train, history, rank, places)
    except MemoryError:
        print(json.dumps({"failed": f"needs more than {limit / 1e9:g} GB"}))
        return
    seconds = {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu_began}
    np.save(folder / "lists.npy", list_BN)
    print(json.dumps(seconds | {"peak_mib": peak_mib()}))


if __name__ == "__main__":
    main()
