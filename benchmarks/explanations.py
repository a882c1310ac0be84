"""Whether the reasons of a release's candidates are true, and how alike the lists of a user's interests are.

::

    python -m benchmarks.explanations RELEASES...

For 200 users drawn by seed 0, 20 candidates each. Printed for each folder of releases:

* the share of candidates that have a reason, and, as the control, with the history of another user without the item;
* agreement: of the reasons, the share whose nearest own item has a topic of the candidate, or is similar to it in an
  embedding that no model made (singular vectors of the events of all other users; similar is the top hundredth of
  pairs), or one of both; and, as chance, the same of a random own item;
* interests whose names come from topics, and answers in which two names are alike;
* the share of places that the 100 best items of two implicit interests have in common; for a release with a linear
  history as it is served, and with the same sum in every vector (``own`` 0).
"""

import argparse
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import svds

from multitudes.ids import Id
from multitudes.release.release import Release
from multitudes.retrieval.catalogue import sample_items
from multitudes.retrieval.explanation import Explainer, own_items
from multitudes.retrieval.response import Recommendation
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.search import Candidates
from multitudes.retrieval.user_context import UserContextBuilder
from multitudes.seeding import generator

USERS, CANDIDATES, PLACES, WIDTH, SAMPLE = 200, 20, 100, 32, 1_000


class Judge:
    """Judges pairs of items by their topics, and by an embedding of the events of all but some users."""

    def __init__(self, release: Release, left_out: NDArray[np.int64]) -> None:
        events, item = np.diff(release.event_offset), np.asarray(release.event_item)
        user = np.repeat(np.arange(len(events)), events)
        counts = np.asarray(release.event_valid) & (item > 0) & ~np.isin(user, left_out)
        shape = (len(events), len(release.item_topic_offset) - 1)
        seen = sparse.csr_matrix((np.ones(counts.sum()), (user[counts], item[counts])), shape=shape)
        seen.data[:] = 1
        users_I = np.asarray(seen.sum(axis=0)).ravel()
        weighted = (seen @ sparse.diags(1 / np.sqrt(np.maximum(users_I, 1)))).tocsr()
        _, length_W, right_WI = svds(weighted, k=WIDTH, v0=np.ones(min(shape)))
        vector_IW = right_WI.T * length_W * (users_I > 0)[:, None]
        self._unit_IW = vector_IW / np.maximum(np.linalg.norm(vector_IW, axis=1, keepdims=True), 1e-12)
        sample = self._unit_IW[sample_items(release.index.ids(), SAMPLE, 0, "judge")]
        self._least = np.quantile((sample @ sample.T)[np.tri(len(sample), k=-1, dtype=np.bool_)], 0.99)
        rows = np.repeat(np.arange(shape[1]), np.diff(release.item_topic_offset))
        self._has_topic_IT = np.zeros((shape[1], len(release.topics)), dtype=np.bool_)
        self._has_topic_IT[rows, release.item_topic] = True
        self._has_topic_IT[:, 0] = False

    def judge(self, one_N: NDArray[np.int64], other_N: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether pairs share a topic, are similar, or one of both (N, 3)."""
        shares_N = (self._has_topic_IT[one_N] & self._has_topic_IT[other_N]).any(axis=1)
        similar_N = (self._unit_IW[one_N] * self._unit_IW[other_N]).sum(axis=1) >= self._least
        return np.stack([shares_N, similar_N, shares_N | similar_N], axis=1)


class Reasons(NamedTuple):
    """What the reasons of some users' candidates are like."""

    shown: list[NDArray[np.bool_]]  # of each user, which candidates have a reason
    shown_to_others: list[NDArray[np.bool_]]  # with the history of the user before
    agree: list[NDArray[np.bool_]]  # of each reason: topic, similar, one of both
    chance: list[NDArray[np.bool_]]  # the same of a random own item


def find_reasons(release: Release, numbers: NDArray[np.int64], answers: list[Recommendation]) -> Reasons:
    """Return the reasons of the candidates that vectors brought."""
    judge, explainer = Judge(release, numbers), Explainer(release.index)
    draw, reasons = generator(0, "random own item"), Reasons([], [], [], [])
    own = own_items(UserContextBuilder(release).from_release(numbers))
    for row, (answer, own_H) in enumerate(zip(answers, own, strict=True)):
        item_N = release.item_names.numbers([one.item_id for one in answer.candidates if one.interest is not None])
        because_N = explainer.explain(own_H, brought(item_N))[:, 0]
        is_shown_N = because_N > 0
        random_N = draw.choice(own_H, len(item_N)) if len(own_H) else because_N
        other_N = item_N[~np.isin(item_N, own[row - 1])]
        reasons.shown.append(is_shown_N)
        reasons.shown_to_others.append(explainer.explain(own[row - 1], brought(other_N))[:, 0] > 0)
        reasons.agree.append(judge.judge(item_N[is_shown_N], because_N[is_shown_N]))
        reasons.chance.append(judge.judge(item_N[is_shown_N], random_N[is_shown_N]))
    return reasons


def brought(item_N: NDArray[np.int64]) -> Candidates:
    """Return items as candidates that one vector brought."""
    nothing_N = np.zeros(len(item_N), dtype=np.int64)
    return Candidates(
        item_N, nothing_N.astype(np.float32), nothing_N, np.ones((len(item_N), 1), np.bool_), (), np.ones(1)
    )


def describe(reasons: Reasons) -> str:
    """Return the figures in one line."""
    shown, others, agree, chance = (np.concatenate(values).mean(axis=0) for values in reasons)
    return (
        f"{sum(map(len, reasons.shown))} candidates: {shown:.3f} have a reason, {others:.3f} with another history;"
        f" it shares a topic in {agree[0]:.3f}, is similar in {agree[1]:.3f}, one of both in {agree[2]:.3f};"
        f" a random own item in {chance[0]:.3f}, {chance[1]:.3f}, {chance[2]:.3f}"
    )


def describe_names(answers: list[Recommendation]) -> str:
    """Return what the interests are called."""
    names = [[one.name for one in answer.interests] for answer in answers]
    implicit = [one.name for answer in answers for one in answer.interests if one.kind == "implicit"]
    by_topics = np.mean([not name.startswith("like ") for name in implicit])
    told_apart = np.mean([", like " in name for name in implicit])
    alike = sum(len(set(row)) < len(row) for row in names)
    return (
        f"{len(implicit)} implicit interests: {by_topics:.3f} have names of topics, {told_apart:.3f} are told apart by"
        f" an item; {alike} answers with two equal names"
    )


def overlap(retriever: Retriever, users: list[Id]) -> float:
    """Return the mean share of places that the lists of two implicit interests of a user have in common."""
    shares = []
    for user in users:
        cached = retriever.vector_cache.get(user)
        if cached is not None:
            is_implicit_K = cached.vectors.mask_BK[0] & (np.array(cached.vectors.kinds) == "implicit")
            hits = retriever.catalogue.index.search(cached.vectors.vectors_BKD[0, is_implicit_K], PLACES)
            lists = [set(hits.ids(q).tolist()) for q in range(int(is_implicit_K.sum()))]
            shares += [len(one & two) / PLACES for one, two in combinations(lists, 2)]
    return float(np.mean(shares)) if shares else float("nan")


def main() -> None:
    """Print the figures of each release."""
    parser = argparse.ArgumentParser()
    parser.add_argument("releases", nargs="+")
    for path in parser.parse_args().releases:
        release = Release.open(path)
        ids = release.user_ids.to_list()
        users = generator(0, "explained users").permutation(len(ids))[:USERS]
        chosen = [ids[user] for user in users.tolist()]
        retriever = Retriever(release, cached_users=USERS)
        answers = [retriever.recommend(user, n=CANDIDATES) for user in chosen]
        print(f"{path}: {describe(find_reasons(release, users, answers))}")
        print(f"{path}: {describe_names(answers)}")
        print(f"{path}: two implicit interests share {overlap(retriever, chosen):.3f} of {PLACES} places", end="")
        linear = release.manifest.linear
        if linear and linear.get("own"):
            linear["own"] = 0.0
            for user in chosen:
                retriever.recommend(user, n=CANDIDATES)
            print(f", with own 0 {overlap(retriever, chosen):.3f}", end="")
        print()


if __name__ == "__main__":
    main()
