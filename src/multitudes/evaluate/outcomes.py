"""What each user got from each system: the one table from which every figure of an evaluation is made.

Legend: B users · N places of a list · T targets, flat by user.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut
from multitudes.data.prepared import Prepared
from multitudes.disk import replacing
from multitudes.evaluate.segments import POPULARITY
from multitudes.metrics import diversity, ranking

# Per-user arrays of shape (B,) by name.
Measures = dict[str, NDArray[np.float64]]


class Answer(NamedTuple):
    """Which list a measure is about: ``budget`` candidates by ``method``."""

    method: str
    budget: int


class ItemFacts(NamedTuple):
    """What a measure needs to know of the items; the popularity class is 0 head, 1 torso, 2 tail."""

    topic_offset: NDArray[np.int64]
    topic: NDArray[np.int32]
    n_topics: int
    popularity_class: NDArray[np.int64]

    @classmethod
    def of(cls, prepared: Prepared) -> "ItemFacts":
        """Collect the facts of a data set."""
        classes = diversity.popularity_class(prepared.item_count).astype(np.int64)
        return cls(np.asarray(prepared.item_topic_offset), np.asarray(prepared.item_topic), prepared.n_topics, classes)


def list_measures(ranked_BN: NDArray[np.int64], held: HeldOut, items: ItemFacts) -> Measures:
    """Return what each user got from lists of N candidates; zeros at the end of a list are no candidates.

    hits, recall, ndcg; head_hits, torso_hits, tail_hits; topics: distinct topics among the hits; candidates: length of
    the list; candidate_topics and candidate_entropy (nats): spread of the list over topics.
    """
    rank_T = ranking.listed_ranks(ranked_BN, held.target_offset, held.target)
    hit_T = np.isfinite(rank_T)
    owner_T = ranking.owners(held.target_offset)
    user_P, place_P = np.nonzero(ranked_BN > 0)
    among_hits = _topic_counts(owner_T[hit_T], held.target[hit_T], len(held), items)
    among_candidates = _topic_counts(user_P, ranked_BN[user_P, place_P], len(held), items)
    return {
        "hits": ranking.hits(rank_T, held.target_offset, ranked_BN.shape[1]),
        "recall": ranking.recall(rank_T, held.target_offset, ranked_BN.shape[1]),
        "ndcg": ranking.ndcg(rank_T, held.target_offset, ranked_BN.shape[1]),
        **_by_class(held, items, hit_T, "hits"),
        "topics": diversity.coverage(among_hits).astype(np.float64),
        "candidates": (ranked_BN > 0).sum(axis=1).astype(np.float64),
        "candidate_topics": diversity.coverage(among_candidates).astype(np.float64),
        "candidate_entropy": diversity.entropy(among_candidates),
    }


def target_measures(held: HeldOut, items: ItemFacts) -> Measures:
    """Return how many targets each user has: all, and by popularity class."""
    every_T = np.ones(len(held.target), dtype=np.bool_)
    return {"targets": np.diff(held.target_offset).astype(np.float64), **_by_class(held, items, every_T, "targets")}


def joined(parts: list[Measures]) -> Measures:
    """Return the measures of consecutive parts of the users as one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def table(user_id: pl.Series, kind: str, targets: Measures, answers: dict[Answer, Measures]) -> pl.DataFrame:
    """Return one row for each user and answer, with the kind of targets that was asked for."""
    frames = [
        pl.DataFrame({"user_id": user_id, **targets, **measures}).with_columns(
            pl.lit(kind).alias("kind"),
            pl.lit(answer.method).alias("method"),
            pl.lit(answer.budget, dtype=pl.Int32).alias("budget"),
        )
        for answer, measures in answers.items()
    ]
    return pl.concat(frames)


def write(frame: pl.DataFrame, file: Path) -> None:
    """Write the table beside its place and rename it, so that no half of it is ever seen."""
    temporary = file.with_name(f".{file.name}.part")
    with replacing(file, temporary):
        frame.write_parquet(temporary)


def _by_class(held: HeldOut, items: ItemFacts, counted_T: NDArray[np.bool_], noun: str) -> Measures:
    class_T = items.popularity_class[held.target]
    return {
        f"{name}_{noun}": ranking.per_user(counted_T & (class_T == number), held.target_offset)
        for number, name in enumerate(POPULARITY)
    }


def _topic_counts(
    user_P: NDArray[np.int64], item_P: NDArray[np.int64], n_users: int, items: ItemFacts
) -> NDArray[np.int64]:
    shape = (n_users, items.n_topics + 1)
    return diversity.topic_counts(user_P, item_P, items.topic_offset, items.topic, shape)
