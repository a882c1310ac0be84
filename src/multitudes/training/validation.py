"""Validation of an epoch: full corpus, first-time targets, seen items excluded.

User vectors are evaluated the way they are served by default, as a mixture: the score of an item is
log Σ_g s_g Σ_{k in g} w_k softmax_k(item) with exact normalisers. g are the kinds of interests and w the importance
within a kind; explicit interests see only items of their topic. The normalisers include seen items, as those of serving
do; only the lists leave them out. **The shares s are fitted** on the same users, by
expectation maximisation of the targets' likelihood: two free numbers per data set that measure the value of each kind
of interest. Those of the list are chosen after the last epoch, by hit rate (``training.shares``).

Items are scored chunk by chunk, twice: first for the normalisers, then for the best items. Neither the vectors nor the
scores of all items are ever in memory, so validation needs next to no memory besides that of training.

Legend: B users · K vectors of each · G kinds (unconditioned, implicit, explicit) · i items of a chunk · M targets of
all users · N best items · T topics of an item · E explicit vectors · A distinct topics · D width.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitudes.batches.examples import item_topics
from multitudes.batches.held_out import HeldOut, held_out_histories
from multitudes.batches.histories import without_events
from multitudes.batches.user_vectors import INTEREST_KINDS, InterestKind, UserVectors, without_masked_columns
from multitudes.data.arrays import expand_ranges
from multitudes.data.own_items import positive_items
from multitudes.nn.primitives import lowest_value
from multitudes.seeding import generator
from multitudes.training.shares import fit_shares
from multitudes.training.trained_run import TrainedRun, item_vector_chunks

ITEMS_PER_CHUNK = 8_192  # items whose vectors are computed at once
SCORES_PER_CHUNK = 4_000_000  # scores computed at once: they fit in the processor's cache
TOPICS = 5  # followed topics that condition explicit vectors
MAX_KEPT_SCORES = 50_000_000  # scores that are kept between the two passes
_MIN_PROBABILITY = 1e-37  # lower probabilities have underflowed


class ScoreChunk(NamedTuple):
    """Scores of a chunk of items for some of the users; an item of another topic than a vector's has the lowest one."""

    users: slice
    items: slice
    score_BKi: Tensor
    seen: tuple[Tensor, Tensor]  # rows of users, and items that they have seen, both counted within the chunk


class ItemScores:
    """Scores of all items with every vector of some users, computed again in each iteration."""

    def __init__(
        self, run: TrainedRun, held: HeldOut, rows: NDArray[np.int64], topics: int, *, hide_history: bool = False
    ) -> None:
        """Compute the users' vectors.

        Args:
            run: the run.
            held: validation users.
            rows: of the users in ``held``.
            topics: how many followed topics condition an explicit vector.
            hide_history: compute the vectors from followed topics and features alone, as for new users. Seen items stay
                excluded.
        """
        self._run = run
        user_B, end_B = held.user_B[rows], held.end_B[rows]
        histories = held_out_histories(run.prepared, user_B, end_B, run.config.model.history)
        positives = None if run.linear is None else positive_items(run.prepared, user_B, end_B)
        if hide_history:
            histories = without_events(histories)
            positives = None if positives is None else [items[:0] for items in positives]
        self.item_BL, self.positives = histories.item_BL, positives
        users = run.user_vectors(histories, histories.follow_BF[:, :topics], positives=positives)
        self.users: UserVectors = without_masked_columns(users) if hide_history else users
        self._seen_user, self._seen_item = _seen_items(run, user_B, end_B)

    @property
    def size(self) -> int:
        """The number of scores."""
        users, vectors = self.users.mask_BK.shape
        return int(users * vectors * (self._run.prepared.n_items + 1))

    def __iter__(self) -> Iterator[ScoreChunk]:
        """Yield all scores: one chunk of items after another, each for all users."""
        users, vectors = self.users.mask_BK.shape
        users_per_chunk = max(1, SCORES_PER_CHUNK // (vectors * ITEMS_PER_CHUNK))
        for items, tower_iD in item_vector_chunks(self._run.model, ITEMS_PER_CHUNK):
            vector_iD = self._join_linear(items, tower_iD)
            topic_iT = item_topics(self._run.prepared, np.arange(items.start, items.stop))
            vectors_BKD = torch.from_numpy(self.users.vectors_BKD).to(vector_iD.device)
            for start in range(0, users, users_per_chunk):
                some_users = slice(start, min(start + users_per_chunk, users))
                score_BKi = vectors_BKD[some_users] @ vector_iD.T
                if items.start == 0:
                    score_BKi[:, :, 0] = lowest_value(score_BKi)  # the unknown item
                _mask_other_topics(score_BKi, self.users.select(some_users), topic_iT)
                yield ScoreChunk(some_users, items, score_BKi, self._seen(some_users, items))

    def _join_linear(self, items: slice, tower_iD: Tensor) -> Tensor:
        """Append the output vectors of the linear history, if the run has one."""
        if self._run.linear is None:
            return tower_iD
        output_iR = np.array(self._run.linear.output_IR[items])  # a copy: that of an opened run is a read-only map
        return torch.cat([tower_iD, torch.from_numpy(output_iR).to(tower_iD.device)], dim=1)

    def _seen(self, users: slice, items: slice) -> tuple[Tensor, Tensor]:
        first, last = np.searchsorted(self._seen_item, [items.start, items.stop])
        user, item = self._seen_user[first:last], self._seen_item[first:last]
        own = (user >= users.start) & (user < users.stop)
        return torch.from_numpy(user[own] - users.start), torch.from_numpy(item[own] - items.start)


def _seen_items(
    run: TrainedRun, user_B: NDArray[np.int64], end_B: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of user and seen item, ordered by item."""
    user, position = expand_ranges(run.prepared.event_offset[user_B], end_B)
    item = run.prepared.event_item[position].astype(np.int64)
    order = np.argsort(item, kind="stable")
    return user[order], item[order]


def _mask_other_topics(score_BKi: Tensor, users: UserVectors, topic_iT: NDArray[np.int64]) -> None:
    """Exclude items of other topics from explicit vectors."""
    explicit = np.flatnonzero([kind == "explicit" for kind in users.kinds])
    if len(explicit) == 0:
        return
    topic_A, which = np.unique(users.topic_BK[:, explicit], return_inverse=True)
    which_BE = torch.from_numpy(which.reshape(len(users.topic_BK), len(explicit)))
    off_topic_Ai = np.stack([(topic_iT != topic).all(axis=1) for topic in topic_A.tolist()])
    hidden_Ai = torch.from_numpy(off_topic_Ai).to(score_BKi.device)
    for e, k in enumerate(explicit.tolist()):
        score_BKi[:, k].masked_fill_(hidden_Ai[which_BE[:, e]], lowest_value(score_BKi))


class ValidationResult(NamedTuple):
    """Quality of the model, and the share of the probability of each kind of interest."""

    hit_rate: float  # share of the targets that are among the user's n best items
    shares: dict[InterestKind, float]  # sum to one; zero for kinds that the method lacks


class Targets(NamedTuple):
    """The first-time targets of all users."""

    user_M: Tensor  # row of the user
    item_M: Tensor


def sample_rows(held: HeldOut, max_rows: int, seed: int) -> NDArray[np.int64]:
    """Return up to ``max_rows`` random rows, drawn by the seed: the first users of a file differ from the others."""
    rows = np.arange(len(held))
    return np.sort(generator(seed, "validation users").permutation(rows)[:max_rows])


def validate(
    run: TrainedRun, held: HeldOut, rows: NDArray[np.int64], n: int = 100, topics: int = TOPICS
) -> ValidationResult:
    """Fit the shares of the kinds on the first-time targets of ``rows``, then count hits among the ``n`` best."""
    if len(rows) == 0:
        return ValidationResult(0.0, dict.fromkeys(INTEREST_KINDS, 0.0))
    scored = ScoredTargets(ItemScores(run, held, rows, topics), held, rows)
    shares_G = fit_shares(scored.log_p_MG)
    rate = scored.hit_rate(shares_G, min(n, run.prepared.n_items + 1))
    return ValidationResult(rate, dict(zip(INTEREST_KINDS, shares_G.tolist(), strict=True)))


class ScoredTargets:
    """The first-time targets of some users, with the probability that each kind of vectors gives them."""

    def __init__(self, scores: ItemScores, held: HeldOut, rows: NDArray[np.int64]) -> None:
        """Score the targets of the users in ``rows`` of ``held``, to whom ``scores`` belongs."""
        self._chunks: Iterable[ScoreChunk] = list(scores) if scores.size <= MAX_KEPT_SCORES else scores
        self.kinds = scores.users.kinds
        self._targets = targets = first_time_pairs(held, rows)
        self.targets_B = np.bincount(targets.user_M.numpy(), minlength=len(rows))  # of each user
        self._importance_BK = importance_BK = _importance(scores.users)
        score_MK, self._normaliser_BK = score_targets(self._chunks, targets, importance_BK.shape)
        self.log_p_MG = _log_p_by_kind(
            score_MK - self._normaliser_BK[targets.user_M], importance_BK[targets.user_M], self.kinds
        )

    def hit_rate(self, shares_G: Tensor, n: int) -> float:
        """Return the share of the targets that are among the ``n`` best items of their users' mixtures."""
        return self.share_found(self.best_items(shares_G, n))

    def best_items(self, shares_G: Tensor, n: int) -> Tensor:
        """Return the ``n`` best unseen items of each user's mixture (B, N); the unknown item where there are fewer."""
        return self.best_items_of_each([shares_G], n)[0]

    def best_items_of_each(self, candidates: Sequence[Tensor], n: int) -> list[Tensor]:
        """Return ``best_items`` with each of several shares; each score is computed once for all of them."""
        of_kind_K = [INTEREST_KINDS.index(kind) for kind in self.kinds]
        log_factors = [
            (shares_G[of_kind_K] * self._importance_BK).log() - self._normaliser_BK for shares_G in candidates
        ]
        return _top_items(self._chunks, log_factors, n)

    def share_found(self, item_BN: Tensor) -> float:
        """Return the share of the targets that are among the items of their users."""
        return int(self.hits_of_users(item_BN).sum()) / max(len(self._targets.item_M), 1)

    def hits_of_users(self, item_BN: Tensor) -> NDArray[np.int64]:
        """Return how many of each user's targets are among the user's items (B,)."""
        user_M, item_M = self._targets
        is_hit_M = (item_BN[user_M] == item_M[:, None]).any(dim=1)
        return np.bincount(user_M[is_hit_M].numpy(), minlength=len(self.targets_B))


def first_time_targets(held: HeldOut, row: int) -> NDArray[np.int64]:
    """Return the first-time targets of one user."""
    targets = slice(held.target_offset[row], held.target_offset[row + 1])
    return held.target[targets][held.target_is_first_time[targets]]


def first_time_pairs(held: HeldOut, rows: NDArray[np.int64]) -> Targets:
    """Return the first-time targets of some users, with the rows of the users among ``rows``."""
    each = [first_time_targets(held, row) for row in rows]
    user_M = np.repeat(np.arange(len(rows)), [len(new) for new in each])
    return Targets(torch.from_numpy(user_M), torch.from_numpy(np.concatenate(each)))


def _importance(users: UserVectors) -> Tensor:
    """Return the importance of each vector within its kind (B, K), zero for vectors that a user lacks."""
    kinds = np.array(users.kinds)
    weight_BK = torch.from_numpy(users.weight_BK * users.mask_BK)
    is_same_kind_KK = torch.from_numpy((kinds[:, None] == kinds[None, :]).astype(np.float32))
    return weight_BK / (weight_BK @ is_same_kind_KK).clamp(min=1e-30)


def score_targets(chunks: Iterable[ScoreChunk], targets: Targets, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the scores of the targets with each vector of their user (M, K), and log Σ exp over all items (B, K)."""
    score_MK = torch.zeros(len(targets.item_M), shape[1])
    highest_BK, sum_BK = torch.full(shape, lowest_value(score_MK)), torch.zeros(shape)
    for users, items, score_BKi, _ in chunks:
        before = highest_BK[users]
        highest = torch.maximum(before, score_BKi.amax(dim=2).cpu())
        added = (score_BKi - highest[:, :, None].to(score_BKi.device)).exp_().sum(dim=2).cpu()
        sum_BK[users] = sum_BK[users] * (before - highest).exp() + added
        highest_BK[users] = highest
        here = (targets.user_M >= users.start) & (targets.user_M < users.stop)
        here &= (targets.item_M >= items.start) & (targets.item_M < items.stop)
        row, column = targets.user_M[here] - users.start, targets.item_M[here] - items.start
        score_MK[here] = score_BKi[row, :, column].cpu()
    return score_MK, highest_BK + sum_BK.log()


def _log_p_by_kind(log_p_MK: Tensor, importance_MK: Tensor, kinds: tuple[InterestKind, ...]) -> Tensor:
    """Return the log probability of the targets by kind (M, G); -inf where the user has no vector of the kind."""
    log_p_MG = torch.full((len(log_p_MK), len(INTEREST_KINDS)), -torch.inf)
    for g, kind in enumerate(INTEREST_KINDS):
        own = [k for k, of in enumerate(kinds) if of == kind]
        if own:
            log_p_M = (
                (log_p_MK[:, own] + importance_MK[:, own].log()).logsumexp(dim=1).clamp(min=np.log(_MIN_PROBABILITY))
            )
            log_p_MG[:, g] = log_p_M.masked_fill(importance_MK[:, own].sum(dim=1) == 0, -torch.inf)
    return log_p_MG


def _top_items(chunks: Iterable[ScoreChunk], log_factors: Sequence[Tensor], n: int) -> list[Tensor]:
    """Return the unseen items (B, N) with the largest Σ_k exp(score + log factor), best first, by each (B, K)."""
    best = [torch.zeros(len(log_factor_BK), n, dtype=torch.int64) for log_factor_BK in log_factors]
    scores = [torch.full(best_BN.shape, -1.0) for best_BN in best]
    for users, items, score_BKi, seen in chunks:
        for log_factor_BK, best_BN, score_BN in zip(log_factors, best, scores, strict=True):
            factor = log_factor_BK[users, :, None].to(score_BKi.device)
            p_Bi = (score_BKi + factor).exp_().sum(dim=1)
            p_Bi[seen] = 0
            top = p_Bi.topk(min(n, items.stop - items.start), dim=1)
            score = torch.cat([score_BN[users], top.values.cpu()], dim=1)
            item = torch.cat([best_BN[users], top.indices.cpu() + items.start], dim=1)
            score_BN[users], chosen = score.topk(n, dim=1)
            best_BN[users] = item.gather(1, chosen)
    return best
