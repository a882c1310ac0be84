"""``python -m benchmarks.ease PREPARED…``: the factors of EASE from eigenvectors, beside those of the exact matrix.

For every regularisation and normalisation that validation chooses from: HR@100 of both on the users of the method
``linear``, at the best recency for each, and seconds of CPU. The exact matrix takes minutes and gigabytes from 10,000
items on.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from benchmarks.machine import MeasurementContext
from benchmarks.markdown import table
from benchmarks.records import save_record
from multitudes.data.prepared import PreparedData
from multitudes.linear.ease import EaseSpectrum
from multitudes.linear.factors import LinearFactors
from multitudes.linear.fit import GRID, NORMALISATIONS, RECENCIES
from multitudes.linear.interactions import interaction_matrix, normalise
from multitudes.linear.run import Validation

RESULTS, RANK = Path("benchmarks/results/ease.json"), 64


def main() -> int:
    """Measure each data set, save the records, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ease", description=__doc__)
    parser.add_argument("prepared", nargs="+", type=Path, help="prepared folders")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file with all records; kept, goes on")
    given, rows = parser.parse_args(), []
    for folder in given.prepared:
        context = MeasurementContext()
        record = measure(PreparedData.open(folder))
        save_record(given.out, "ease", folder.name, context.head(("multitudes", "numpy", "scipy")) | record)
        rows.append(_row(folder.name, record))
    print("\n".join(table(["", "items", "exact, s", "eigenvectors; factors, s", "HR@100 / exact"], rows)))
    return 0


def measure(prepared: PreparedData) -> dict[str, Any]:
    """Return the hit rates and the seconds of both, for each normalisation and regularisation."""
    matrix, validation, trials = interaction_matrix(prepared), Validation.sample(prepared), []
    for normalisation in NORMALISATIONS:
        start = time.process_time()
        spectrum = EaseSpectrum(matrix, RANK, normalisation)
        spectrum_s = time.process_time() - start
        for regularisation in GRID:
            start = time.process_time()
            factors = spectrum.factors(regularisation)
            middle = time.process_time()
            exact = exact_factors(matrix, regularisation, RANK, normalisation)
            seconds = {"spectrum_s": spectrum_s, "factors_s": middle - start, "exact_s": time.process_time() - middle}
            rates = {"hr": _hit_rate(validation, factors), "exact_hr": _hit_rate(validation, exact)}
            trials.append({"normalisation": normalisation, "regularisation": regularisation} | seconds | rates)
    return {"items": int(np.unique(matrix.indices).size), "targets": len(validation.held.target), "trials": trials}


def exact_factors(matrix: csr_array, regularisation: float, rank: int, normalisation: float) -> LinearFactors:
    """Return B of the dense inverse, cut to its largest singular values."""
    scaled, item_I = normalise(matrix, normalisation)
    scaled.data /= np.sqrt(np.mean(scaled.data**2))
    gram_II: NDArray[np.float32] = (scaled.T @ scaled).toarray()
    gram_II[np.diag_indices_from(gram_II)] += np.float32(regularisation)
    weights_II = np.linalg.inv(gram_II)
    weights_II /= -np.diagonal(weights_II)
    np.fill_diagonal(weights_II, 0)
    left_IR, value_R, right_RI = svds(weights_II, k=rank, v0=np.ones(len(item_I), dtype=np.float32))
    root_R = np.sqrt(value_R)
    return LinearFactors(left_IR * root_R * item_I[:, None], right_RI.T * root_R / item_I[:, None])


def _hit_rate(validation: Validation, factors: LinearFactors) -> float:
    return max(validation.hit_rate(factors, recency) for recency in RECENCIES)


def _row(name: str, record: dict[str, Any]) -> list[str]:
    ratio_N = [trial["hr"] / trial["exact_hr"] for trial in record["trials"]]
    exact, spectrum, factors = (
        f"{np.mean([trial[key] for trial in record['trials']]):.1f}" for key in ("exact_s", "spectrum_s", "factors_s")
    )
    return [name, f"{record['items']:,}", exact, f"{spectrum}; {factors}", f"{min(ratio_N):.3f}–{max(ratio_N):.3f}"]


if __name__ == "__main__":
    sys.exit(main())
