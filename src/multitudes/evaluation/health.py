"""Health of a run's interests: the number in use, the differences between them, and the hits that they find.

Legend: B users · K vectors · N candidates · T targets · X hits · P candidates, flat.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut
from multitudes.batches.user_vectors import InterestKind, UserVectors, columns_of
from multitudes.evaluation.outcomes import Measures, Ratio, intervals_by_name
from multitudes.metrics import diversity, ranking

POPULAR = "popular"  # source of candidates that no vector found


def vector_measures(vectors: UserVectors) -> Measures:
    """Return measures of the vectors of each user, NaN where they are not defined."""
    implicit_K, explicit_K = columns_of("implicit", vectors.kinds), columns_of("explicit", vectors.kinds)
    effective_B = diversity.effective_interests(vectors.weight_BK[:, implicit_K] * vectors.mask_BK[:, implicit_K])
    implicit = vectors.vectors_BKD[:, implicit_K], vectors.mask_BK[:, implicit_K]
    return {
        "effective": np.where(effective_B > 0, effective_B, np.nan),
        "cosine": diversity.mean_pairwise_cosine(*implicit),
        "cosine_all": diversity.mean_pairwise_cosine(vectors.vectors_BKD, vectors.mask_BK),
        "implicit_filled": vectors.mask_BK[:, implicit_K].sum(axis=1).astype(np.float64),
        "explicit_filled": vectors.mask_BK[:, explicit_K].sum(axis=1).astype(np.float64),
    }


def source_measures(
    ranked_BN: NDArray[np.int64], interest_BN: NDArray[np.int64], held: HeldOut, n_columns: int
) -> Measures:
    """Return how many candidates and hits of each user come from each column of vectors; column −1 is popularity."""
    rank_T = ranking.ranks_in_list(ranked_BN, held.target_offset, held.target)
    is_hit_T = np.isfinite(rank_T)
    user_X = ranking.target_rows(held.target_offset)[is_hit_T]
    column_X = interest_BN[user_X, rank_T[is_hit_T].astype(np.int64) - 1]
    user_P, place_P = np.nonzero(ranked_BN > 0)
    column_P = interest_BN[user_P, place_P]
    measures: Measures = {}
    for column in range(-1, n_columns):
        hits_B = np.bincount(user_X[column_X == column], minlength=len(held))
        candidates_B = np.bincount(user_P[column_P == column], minlength=len(held))
        measures[f"hits_of_{column}"] = hits_B.astype(np.float64)
        measures[f"candidates_of_{column}"] = candidates_B.astype(np.float64)
    return measures


def interest_summary(measures: Measures, kinds: tuple[InterestKind, ...]) -> dict[str, Any]:
    """Return the section ``interests`` of a result: figures with intervals, and the share of each column of vectors."""
    users_B = np.ones(len(measures["effective"]))
    figures: dict[str, Ratio] = {}
    if "implicit" in kinds:
        slots_B = users_B * kinds.count("implicit")
        figures |= {name: Ratio.mean(measures[name]) for name in ("effective", "cosine")}
        figures["empty_slots"] = Ratio(slots_B - measures["implicit_filled"], slots_B)
    if "explicit" in kinds:
        slots_B = users_B * kinds.count("explicit")
        figures["empty_topics"] = Ratio(slots_B - measures["explicit_filled"], slots_B)
    if len(kinds) > 1:
        figures["cosine_all"] = Ratio.mean(measures["cosine_all"])
    if "overlap" in measures:  # without a topic, the list of topics alone has popular items
        measures = measures | {"overlap": np.where(measures["explicit_filled"] > 0, measures["overlap"], np.nan)}
    figures |= {name: Ratio.mean(measures[name]) for name in ("overlap", "depth_at_coverage") if name in measures}
    return intervals_by_name(figures) | {"sources": _source_shares(measures, kinds)}


def _source_shares(measures: Measures, kinds: tuple[InterestKind, ...]) -> list[dict[str, Any]]:
    """Return the share of the candidates and of the hits of each column, and of popularity (column −1)."""
    columns = range(-1, len(kinds))
    figures: dict[str, Ratio] = {}
    for noun in ("candidates", "hits"):
        total_B = np.sum([measures[f"{noun}_of_{column}"] for column in columns], axis=0)
        figures |= {f"{noun}_of_{column}": Ratio(measures[f"{noun}_of_{column}"], total_B) for column in columns}
    intervals = intervals_by_name(figures)
    return [
        {
            "source": kinds[column] if column >= 0 else POPULAR,
            "number": kinds[: column + 1].count(kinds[column]) if column >= 0 else 0,
            "candidate_share": intervals[f"candidates_of_{column}"],
            "hit_share": intervals[f"hits_of_{column}"],
        }
        for column in columns
    ]
