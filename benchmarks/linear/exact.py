"""The factors of ``linear`` beside exact EASE, of their rank and of full rank.

Legend: B users · I items · R rank · N any number of columns.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from benchmarks import SEED
from benchmarks.linear import RANK
from multitudes.data.prepared import PreparedData
from multitudes.evaluation.model_baselines import list_items
from multitudes.linear.ease import EaseSpectrum
from multitudes.linear.ease_model import EaseByItems, EaseModel, fit_ease
from multitudes.linear.fit import NORMALISATIONS
from multitudes.linear.history import LinearFactors
from multitudes.linear.interactions import interaction_matrix
from multitudes.linear.popularity import items_by_popularity
from multitudes.linear.run import CUTOFF, Validation
from multitudes.metrics.ranking import ranks_in_list

_PASSES: Final = 8  # of the subspace iteration


def measure_set(prepared: PreparedData, grid: Sequence[float]) -> dict[str, Any]:
    """Return HR@100 on validation of the factors, of exact EASE cut to their rank, and of exact EASE."""
    matrix, held, trials = interaction_matrix(prepared), Validation.sample(prepared).held, []
    count_I = np.bincount(matrix.indices, minlength=matrix.shape[1])
    popular = items_by_popularity(count_I)

    def hit_rate(function: Callable[[csr_array], NDArray[np.float32]]) -> float:
        def scores(history: csr_array) -> NDArray[np.float32]:
            return np.where(count_I > 0, function(history), np.float32(-np.inf))  # others are no candidates

        list_BN = list_items(scores, prepared, held, "new", CUTOFF, popular)
        return float(np.isfinite(ranks_in_list(list_BN, held.target_offset, held.target)).mean())

    def of_factors(factors: LinearFactors) -> float:
        return hit_rate(lambda history: (history @ factors.input_IR) @ factors.output_IR.T)

    for normalisation in NORMALISATIONS:
        spectrum = EaseSpectrum(matrix, RANK, normalisation)
        user_U, item_I = (np.diff(one.indptr).clip(min=1) ** -normalisation for one in (matrix, matrix.tocsc()))
        scaled = csr_array(diags_array(user_U) @ matrix @ diags_array(item_I), dtype=np.float32)
        scaled.data /= np.sqrt(np.mean(scaled.data**2))
        scale_I = item_I.astype(np.float32)
        for regularisation in grid:
            exact = fit_ease(scaled, regularisation)
            input_IR, output_IR = cut(exact, RANK)
            rates = {
                "factors": of_factors(spectrum.factors(regularisation)),
                "cut": of_factors(LinearFactors(input_IR * scale_I[:, None], output_IR / scale_I[:, None])),
                "exact": hit_rate(lambda history: exact.scores(csr_array(history.multiply(scale_I))) / scale_I),  # noqa: B023
            }
            trials.append({"normalisation": normalisation, "regularisation": regularisation} | rates)
    return {"items": int((count_I > 0).sum()), "targets": len(held.target), "trials": trials}


def cut(exact: EaseModel, rank: int) -> LinearFactors:
    """Return B, cut to its largest singular values by subspace iteration with four times as many columns."""
    diagonal_I = np.diagonal(exact.inverse_II).copy() if isinstance(exact, EaseByItems) else exact.diagonal_I
    diagonal_I1 = diagonal_I[:, None]

    def inverse(vectors_IN: NDArray[np.float32]) -> NDArray[np.float32]:
        if isinstance(exact, EaseByItems):
            return np.asarray(exact.inverse_II @ vectors_IN)
        return np.asarray(vectors_IN - exact.solved_UI.T @ (exact.solved_UI @ vectors_IN))

    def times(vectors_IN: NDArray[np.float32]) -> NDArray[np.float32]:
        return vectors_IN - inverse(vectors_IN / diagonal_I1)

    start_IN = np.random.default_rng(SEED).standard_normal((len(diagonal_I1), 4 * rank), dtype=np.float32)
    basis_IN = np.linalg.qr(start_IN)[0]
    for _ in range(_PASSES):
        image_IN = times(basis_IN)
        basis_IN = np.linalg.qr(image_IN - inverse(image_IN) / diagonal_I1)[0]
    left_IN, value_N, right_NN = np.linalg.svd(times(basis_IN), full_matrices=False)
    root_R = np.sqrt(value_N[:rank])
    return LinearFactors(left_IN[:, :rank] * root_R, basis_IN @ right_NN[:rank].T * root_R)
