"""The lists by which a training is judged: that of each epoch, and those from which a finished run has its own.

An epoch is judged by the hit rate of the list of the default shares without calibration, as it would be served.

Hits of logs reward whoever knows the loudest taste best, so for the list of the run they are a bound and not the aim:
**among the lists that find as many as one vector does, within three hundredths, in all places and in the first fifth of
them, the one that serves most interests is taken.** Interests are clusters that no list was made from
(``linear.reference_clusters``); one is served if it has at least half the share of the list that it has of the history.

The margin is fixed beforehand. On public sets a hundredth is a standard error of the difference, and leaves most
interests unserved; in simulated worlds, where what users want is known, lists that cost more logged hits than this gain
more saves still. The first places count apart: most of what people see is there, and a list that loses a fortieth of
its hits in 100 places may lose a tenth in 20.

What is chosen on some users flatters itself on them, so what the choice brings is counted on halves of the users that
did not choose (cross-fitting): where that is neither an interest nor a hit, one vector has the list. ``multitudes
train`` prints it.

Legend: B users · C candidate lists, or classes of items · G numbers of places: all, and the first fifth · N places.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, chunk_users, held_out_users, seen_items, select_targets, select_users
from multitudes.batches.user_vectors import INTEREST_KINDS, InterestKind, UserVectors
from multitudes.data.own_items import positive_items
from multitudes.data.prepared import PreparedData
from multitudes.linear.reference_clusters import ReferenceClusters
from multitudes.metrics import ranking
from multitudes.metrics.coverage import served_share
from multitudes.retrieval.allocation import proposals, with_tastes
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import DEFAULT_SHARES, Blend, RetrieveConfig, Shares
from multitudes.retrieval.scorer import Scorer, catalogue, user_vectors
from multitudes.retrieval.search import SearchResult, find_candidates, search_vectors
from multitudes.seeding import generator
from multitudes.training.config import RunConfig
from multitudes.training.trained_run import TrainedRun

CALIBRATIONS: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
ALONE: Final = Shares(1.0, 0.0, 0.0)
MARGIN: Final = 0.03  # of the hits of one vector, which the list may cost
FIRST: Final = 5  # that part of the places is judged apart
LEVEL: Final = 2.0  # standard errors of a paired difference, within which two lists serve as many interests
WORTH: Final = 0.005  # of the interests: what several vectors must serve beyond one, as each costs a search
_USERS_PER_CHUNK: Final = 128


def draw_validation_users(prepared: PreparedData, config: RunConfig, times: int = 1) -> HeldOut:
    """Return the users on whom a training is judged, drawn by the seed; none if validation events are trained on.

    ``times``: so many times as many as judge each epoch.
    """
    held = held_out_users(prepared, "validation")  # the first users of a file differ from the others
    rows = generator(config.seed, "validation users").permutation(np.arange(len(held)))
    rows = rows[: times * config.train.validate_users]
    return select_users(held, np.sort(rows)[: 0 if config.final else None])


def hit_rate(run: Scorer, held: HeldOut, n: int, blend: Blend) -> float:
    """Return the share of the first-time targets in the uncalibrated list of ``n`` places by default shares."""
    n = min(n, run.prepared.n_items)
    users, items = select_targets(held, held.target_is_first_time), catalogue(run, run.item_vectors(), tastes=False)
    config = RetrieveConfig(blend=blend, calibration=0.0)
    hits = 0
    for chunk in chunk_users(users, _USERS_PER_CHUNK):
        item_BN = lists_of_users(user_vectors(run, chunk, config, items), items, chunk, n, run, config)
        hits += int(_hits(item_BN, chunk, [n]).sum())
    return hits / max(len(users.target), 1)


def lists_of_users(
    vectors: UserVectors,
    items: Catalogue,
    users: HeldOut,
    n: int,
    run: Scorer,
    config: RetrieveConfig,
    lists: SearchResult | None = None,
) -> NDArray[np.int64]:
    """Return the served list of each user (B, N); zeros at its end.

    ``lists``: what each vector finds, if it was searched already; see ``find_candidates``.
    """
    found = find_candidates(vectors, items, n, seen_items(run.prepared, users), config, lists=lists)
    return np.stack([np.pad(one.item_N, (0, n - len(one.item_N))) for one in found])


def _hits(item_BN: NDArray[np.int64], users: HeldOut, places: Sequence[int]) -> NDArray[np.float64]:
    """Return how many targets of each user are in so many places of the lists (G, B)."""
    rank_T = ranking.ranks_in_list(item_BN, users.target_offset, users.target)
    return np.stack([ranking.hits(rank_T, users.target_offset, n) for n in places])


class TriedList(NamedTuple):
    """A candidate list, and what it does for each user."""

    shares: Shares
    calibration: float
    hits_GB: NDArray[np.float64]  # in all places, and in the first fifth
    served_B: NDArray[np.float64]  # share of the user's interests; NaN without a history


class ListChoice(NamedTuple):
    """The list that is chosen."""

    shares: Shares
    calibration: float
    hit_rate: float
    record: dict[str, Any]  # of run.json: every list that was tried, and what the choice brings

    def to_record(self) -> dict[str, Any]:
        """Return what the record of a run says of its list."""
        shares = dict(zip(INTEREST_KINDS, self.shares, strict=True))
        chosen = {"shares": shares, "calibration": self.calibration, "validation_hit_rate": self.hit_rate}
        return chosen | {"list": self.record}


def choose_list(run: TrainedRun, held: HeldOut, n: int) -> ListChoice | None:
    """Choose the list of a run with several kinds of vectors on validation users; None without first-time targets."""
    users = select_targets(held, held.target_is_first_time)
    if not len(users):
        return None
    tried = try_lists(run, users, n)
    targets_B = np.diff(users.target_offset).astype(np.float64)
    gain = _cross_fitted(tried, targets_B)
    is_better = max(gain["served"], gain["hit_rate"]) > 0
    choice = tried[best_list(tried, np.arange(len(users))) if is_better else 0]
    rate = float(choice.hits_GB[0].sum() / targets_B.sum())
    record = {
        "n": n,
        "first": first_places(n),
        "tried": [
            {
                "shares": dict(zip(INTEREST_KINDS, one.shares, strict=True)),
                "calibration": one.calibration,
                "hit_rate": float(one.hits_GB[0].sum() / targets_B.sum()),
                "first_hit_rate": float(one.hits_GB[1].sum() / targets_B.sum()),
                "served": _mean(one.served_B),
            }
            for one in tried
        ],
        "beyond_one_vector": gain,
    }
    return ListChoice(choice.shares, choice.calibration, rate, record)


def try_lists(run: TrainedRun, users: HeldOut, n: int) -> list[TriedList]:
    """Return every candidate list; the first is that of the unconditioned vector alone, without calibration."""
    items, reference = catalogue(run, run.item_vectors()), ReferenceClusters.from_prepared(run.prepared)
    chunks = [_try_lists(run, chunk, n, items, reference) for chunk in chunk_users(users, _USERS_PER_CHUNK)]
    return [
        TriedList(
            one[0].shares,
            one[0].calibration,
            np.concatenate([part.hits_GB for part in one], axis=1),
            np.concatenate([part.served_B for part in one]),
        )
        for one in zip(*chunks, strict=True)
    ]


def _try_lists(
    run: TrainedRun, users: HeldOut, n: int, items: Catalogue, reference: ReferenceClusters
) -> list[TriedList]:
    """Return every candidate list for some users, by one search."""
    config = RetrieveConfig(blend=run.blend, calibration=0.0)
    vectors = user_vectors(run, users, config, items)
    positives = positive_items(run.prepared, users.user_B, users.end_B)
    clusters = reference.interests(run.prepared, users).clusters
    calibrated = with_tastes(vectors, positives, items, 1.0)
    lists = search_vectors(calibrated, items, proposals(calibrated, n), seen_items(run.prepared, users), config)
    tried = []
    for shares, calibration in candidate_lists(vectors.kinds, run.blend):
        settings = {"unconditioned_share": shares.unconditioned, "explicit_share": shares.explicit}
        weight_BT = None if calibrated.taste_BT is None or not calibration else calibration * calibrated.taste_BT
        tasted, settled = vectors._replace(taste_BT=weight_BT), config.model_copy(update=settings)
        item_BN = lists_of_users(tasted, items, users, n, run, settled, lists)
        served_B = served_share(clusters.list_shares(item_BN), clusters.history_BC)
        tried.append(TriedList(shares, calibration, _hits(item_BN, users, [n, first_places(n)]), served_B))
    return tried


def first_places(n: int) -> int:
    """Return how many places at the beginning of a list of ``n`` are judged apart."""
    return max(1, n // FIRST)


def candidate_lists(kinds: Sequence[InterestKind], blend: str) -> list[tuple[Shares, float]]:
    """Return the lists to try: shares of the kinds, and calibrations.

    With round robin, as in the paper, places are divided by importance alone. Without an unconditioned vector there is
    nothing to prefer to, and the shares of implicit and explicit vectors are tried.
    """
    calibrations = CALIBRATIONS if blend == "fusion" else (0.0,)
    if "unconditioned" in kinds:
        return [(shares, calibration) for shares in (ALONE, DEFAULT_SHARES) for calibration in calibrations]
    shares = [Shares(0.0, 1 - explicit, explicit) for explicit in (0.2, 0.1, 0.5, 0.8)]
    return [(one, calibration) for one in shares for calibration in calibrations]


def best_list(tried: Sequence[TriedList], rows: NDArray[np.int64]) -> int:
    """Return the list that serves most interests of some users, among those that find enough beside the first.

    Of several vectors and one that are level in what they serve, one is taken: it costs one search.
    """
    hits_CG = np.array([one.hits_GB[:, rows].sum(axis=1) for one in tried])
    served_C = np.array([_mean(one.served_B[rows]) for one in tried])
    served_C[(hits_CG < (1 - MARGIN) * hits_CG[0]).any(axis=1)] = -1.0
    is_alone_C = np.array([one.shares == ALONE for one in tried])
    best = int(served_C.argmax())  # the first of equals: one vector
    one = int(np.where(is_alone_C, served_C, -1.0).argmax())
    if not is_alone_C[one] or is_alone_C[best]:
        return best
    gain_B = (tried[best].served_B - tried[one].served_B)[rows]
    gain_B = gain_B[~np.isnan(gain_B)]
    is_level = not len(gain_B) or gain_B.mean() <= max(WORTH, LEVEL * gain_B.std() / len(gain_B) ** 0.5)
    return one if is_level else best


def _cross_fitted(tried: Sequence[TriedList], targets_B: NDArray[np.float64]) -> dict[str, Any]:
    """Return what the choice of one half of the users brings the other half beyond the first list."""
    order = generator(0, "selection", "halves").permutation(len(targets_B))
    halves = np.array_split(order, 2)
    hits_B, served_B = np.zeros(len(targets_B)), np.full(len(targets_B), np.nan)
    for choosing, counted in ((halves[0], halves[1]), (halves[1], halves[0])):
        chosen = tried[best_list(tried, choosing)]
        hits_B[counted] = (chosen.hits_GB - tried[0].hits_GB)[0, counted]
        served_B[counted] = (chosen.served_B - tried[0].served_B)[counted]
    gain = hits_B.sum() / targets_B.sum()
    known_B = served_B[~np.isnan(served_B)]
    return {
        "hit_rate": float(gain),
        "hit_rate_error": float(np.sqrt(((hits_B - gain * targets_B) ** 2).sum()) / targets_B.sum()),
        "served": _mean(known_B),
        "served_error": float(known_B.std() / max(len(known_B), 1) ** 0.5) if len(known_B) else 0.0,
    }


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of the values that are known; 0 if none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0
