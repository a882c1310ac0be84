"""The one vector of a user: the optimum of the softmax likelihood of what he wants.

    max_u  Σ_i p_i u·ψ_i − log Σ_j exp(u·ψ_j) − penalty/2 ‖u‖²

is concave in u and knows p by its mean alone: at the optimum the mean of the softmax is the mean of p. The length of u
is the inverse temperature, and the penalty bounds it, from the mean of the targets to the maximum of the likelihood.

Legend: B users · D dimensions · S items of the sum over the corpus.
"""

import numpy as np
from numpy.typing import NDArray

PENALTIES = (1.0, 0.1, 0.01)  # times 1 / D, the variance of a vector's component
SAMPLE = 4_096  # items that stand for the corpus in the sum, as in a sampled softmax
_STEPS = 30
_TOLERANCE = 1e-4  # of the gradient
_LONGEST_STEP = 8.0  # Newton's step is too long where the softmax is nearly one item


def likelihood_optima(target_BD: NDArray[np.float64], sample_SD: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return the vectors of users (B, D) for each penalty.

    Args:
        target_BD: mean of the vectors of each user's targets.
        sample_SD: vectors of items, drawn uniformly from the corpus.
    """
    vector_BD, found = np.zeros_like(target_BD), []
    for penalty in PENALTIES:
        vector_BD = np.array(
            [
                _optimum(*pair, sample_SD, penalty / target_BD.shape[1])
                for pair in zip(vector_BD, target_BD, strict=True)
            ]
        )
        found.append(vector_BD.astype(np.float32))
    return found


def _optimum(
    vector_D: NDArray[np.float64], target_D: NDArray[np.float64], sample_SD: NDArray[np.float32], penalty: float
) -> NDArray[np.float64]:
    """Return the optimum of one user, by Newton's method from ``vector_D``."""
    for _ in range(_STEPS):
        score_S = sample_SD @ vector_D.astype(np.float32)
        softmax_S = np.exp(score_S - score_S.max())
        softmax_S /= softmax_S.sum()
        mean_D = (softmax_S @ sample_SD).astype(np.float64)
        gradient_D = target_D - mean_D - penalty * vector_D
        if np.abs(gradient_D).max() < _TOLERANCE:
            break
        curvature_DD = (sample_SD * softmax_S[:, None]).T @ sample_SD - np.outer(mean_D, mean_D)
        step_D = np.linalg.solve(curvature_DD + penalty * np.eye(len(vector_D)), gradient_D)
        vector_D = vector_D + step_D * min(1.0, _LONGEST_STEP / float(np.linalg.norm(step_D)))
    return vector_D
