"""The stated recall on trained runs of real data: does what half of the users' vectors promised hold for the others?

The item vectors of a run are indexed in each approximate way, whatever their number, and tuned on the vectors of half
of the users. The other half asks: as they are, without what they have seen, and within a topic of the data, that of a
random item, so that common topics are asked for most.

Legend: I items · D dimensions · B users · K vectors of a user · Q their vectors, flat · M results.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import SEED
from benchmarks.child_process import run_in_child
from benchmarks.index.corpus import Vectors
from benchmarks.index.engines import build_engine
from benchmarks.index.truth import Ids, best, remove_ids, share_found
from benchmarks.machine import versions
from benchmarks.timing import print_progress, round_figure
from multitudes.atomic import write_text
from multitudes.batches.histories import event_times, followed_topics, gather_histories
from multitudes.data.prepared import PreparedData
from multitudes.index.item_table import select_topics
from multitudes.index.protocol import Index, Topics
from multitudes.retrieval.preferences import draw_topics
from multitudes.seeding import generator
from multitudes.training.runs import Run, open_run

ENGINES = ("inverted",)
DEPTHS = (10, 20, 50, 100, 200, 500, 1_000)
PLAIN, UNSEEN, TOPIC = "all items", "without the seen", "within a topic"
_USERS = 600  # half of them tune
_SEEN = 1_000  # of the newest items of a user
_TOPICS = 5  # followed ones that a user's explicit vectors are made for
_TOPIC_DEPTH = 100
_SCANNED = 0.05  # share of items: a larger topic is left to the engine, since a scan of it would promise nothing
_ONE_SIDED = 1.645  # standard errors below the mean: 95 % confidence


class Corpus(NamedTuple):
    """The items of a run, by ascending id."""

    item_I: Ids
    vector_ID: Vectors
    topics: Topics


class UserQueries(NamedTuple):
    """Vectors of some users, and whose they are."""

    query_QD: Vectors
    user_Q: Ids


class Question(NamedTuple):
    """One way of asking, and the exact answers."""

    name: str
    depth: int
    excluded: list[Ids] | None
    topic_Q: Ids | None
    wanted: Sequence[Ids]


def parse_run(text: str) -> tuple[str, Path]:
    """Return name and folder of ``NAME=DIR``; of ``DIR`` alone, the name is the folder's."""
    name, equals, folder = text.rpartition("=")
    path = Path(folder).resolve()
    return (name, path) if equals else (path.name, path)


def measure_all(runs: Mapping[str, Path], out: Path) -> None:
    """Measure each run in a process of its own, and keep its record in place of an earlier one of the name."""
    records = json.loads(out.read_text(encoding="utf-8")) if out.exists() else []
    for number, (name, run) in enumerate(runs.items()):
        print(f"run {number + 1} of {len(runs)}: {name}", file=sys.stderr, flush=True)
        new = {"name": name, **run_in_child(measure, 1, run=str(run)).value, "versions": versions(), "seeds": [SEED]}
        records = [old for old in records if old["name"] != name] + [new]
        write_text(out, json.dumps(records, indent=1, allow_nan=False) + "\n")


def measure(run: str) -> dict[str, Any]:
    """Return the figures of one run."""
    trained = open_run(run)
    corpus, rng = _corpus(trained), generator(SEED, "index", "runs")
    user_B = rng.permutation(trained.prepared.n_users)[:_USERS].astype(np.int64)
    tuning, asked = (_vectors(trained, half_B) for half_B in np.array_split(user_B, 2))
    wanted = questions(corpus, asked, _seen(trained.prepared, asked.user_Q), rng)
    return {
        "method": trained.config.method,
        "items": len(corpus.item_I),
        "dimension": corpus.vector_ID.shape[1],
        "mean_cosine": _mean_cosine(asked),
        "topics": len(np.unique(corpus.topics.topic)),
        "users": {"tuning": len(np.unique(tuning.user_Q)), "asking": len(np.unique(asked.user_Q))},
        "queries": {"tuning": len(tuning.query_QD), "asking": len(asked.query_QD)},
        "engines": {engine: _figures(engine, corpus, tuning, asked, wanted) for engine in ENGINES},
    }


def questions(corpus: Corpus, asked: UserQueries, seen: list[Ids], rng: np.random.Generator) -> list[Question]:
    """Return every way of asking, with the answers of the exact search.

    Args:
        corpus: the items.
        asked: who asks.
        seen: ids that each query leaves out.
        rng: draws a topic for each query, if there are any.
    """
    depths = [depth for depth in DEPTHS if depth <= len(corpus.item_I) // 2] or [1]
    most = depths[-1] + max(map(len, seen), default=0)
    best_QM = corpus.item_I[best(asked.query_QD, corpus.vector_ID, most, print_progress("exact answers"))]
    found = [Question(PLAIN, depth, None, None, list(best_QM[:, :depth])) for depth in depths]
    found += [Question(UNSEEN, depth, seen, None, remove_ids(best_QM, seen, depth)) for depth in depths]
    if len(corpus.topics.topic):
        topic_Q = rng.choice(corpus.topics.topic, len(asked.query_QD))
        found.append(Question(TOPIC, _TOPIC_DEPTH, None, topic_Q, _within(corpus, asked.query_QD, topic_Q)))
    return found


def recall(live: Index, asked: UserQueries, question: Question) -> dict[str, Any]:
    """Return the mean recall and its lower bound; a user's vectors are alike, so users are what is counted."""
    _, depth, excluded, topic_Q, wanted = question
    hits = live.search(asked.query_QD, depth, excluded=excluded, topic_Q=topic_Q)
    share_Q = share_found([hits.ids(query) for query in range(len(wanted))], wanted)
    _, place_Q, count_B = np.unique(asked.user_Q, return_inverse=True, return_counts=True)
    share_B = np.bincount(place_Q, share_Q) / count_B
    error = float(share_B.std()) / len(share_B) ** 0.5
    return {
        "question": question.name,
        "depth": depth,
        "recall": round_figure(float(share_B.mean())),
        "at_least": round_figure(float(share_B.mean()) - _ONE_SIDED * error),
    }


def _figures(
    engine: str, corpus: Corpus, tuning: UserQueries, asked: UserQueries, wanted: list[Question]
) -> dict[str, Any]:
    scanned = int(_SCANNED * len(corpus.item_I))
    live = build_engine(engine, *corpus, tuning.query_QD, print_progress(engine), scanned)
    return {"info": live.info(), "found": [recall(live, asked, question) for question in wanted]}


def _corpus(run: Run) -> Corpus:
    vector_ID, prepared = run.item_vectors(), run.prepared
    item_I = np.flatnonzero(vector_ID.any(axis=1))
    return Corpus(item_I, vector_ID[item_I], select_topics(prepared.item_topic_offset, prepared.item_topic, item_I))


def _vectors(run: Run, user_B: Ids) -> UserQueries:
    """Return the vectors of users as they are served: by their whole history, for some of the topics they follow."""
    prepared, length = run.prepared, run.config.model.history
    end_B = prepared.event_offset[user_B + 1]
    topic_BC = draw_topics(followed_topics(prepared, user_B), _TOPICS if "explicit" in run.kinds(1) else 0, user_B)
    times_BL = event_times(prepared.event_time, end_B, length)
    vectors = run.user_vectors(gather_histories(prepared, user_B, end_B, length), topic_BC, time_BL=times_BL)
    count_B = vectors.mask_BK.sum(axis=1)
    return UserQueries(np.ascontiguousarray(vectors.vectors_BKD[vectors.mask_BK]), np.repeat(user_B, count_B))


def _mean_cosine(asked: UserQueries) -> float | None:
    """Return the mean cosine between two vectors of a user; None where users have one vector."""
    unit_QD = asked.query_QD / np.linalg.norm(asked.query_QD, axis=1, keepdims=True)
    of_users = [unit_QD[asked.user_Q == user] for user in np.unique(asked.user_Q)]
    pairs = [(own_KD @ own_KD.T)[np.triu_indices(len(own_KD), 1)] for own_KD in of_users]
    return round_figure(float(np.concatenate(pairs).mean())) if any(len(pair) for pair in pairs) else None


def _seen(prepared: PreparedData, user_Q: Ids) -> list[Ids]:
    """Return the newest items of each query's user; one array for all queries of a user."""
    of_user: dict[int, NDArray[np.int64]] = {}
    for user in np.unique(user_Q).tolist():
        past = prepared.event_item[prepared.event_offset[user] : prepared.event_offset[user + 1]]
        of_user[user] = np.unique(past[past > 0][-_SEEN:]).astype(np.int64)
    return [of_user[user] for user in user_Q.tolist()]


def _within(corpus: Corpus, query_QD: Vectors, topic_Q: Ids) -> list[Ids]:
    """Return the best items of each query within its topic."""
    owner_M = np.repeat(np.arange(len(corpus.item_I)), np.diff(corpus.topics.offset))
    wanted: list[Ids] = [np.zeros(0, dtype=np.int64)] * len(query_QD)
    for topic in np.unique(topic_Q).tolist():
        rows, asking = np.unique(owner_M[corpus.topics.topic == topic]), np.flatnonzero(topic_Q == topic)
        found = best(query_QD[asking], corpus.vector_ID[rows], _TOPIC_DEPTH)
        for query, row_M in zip(asking.tolist(), found, strict=True):
            wanted[query] = corpus.item_I[rows[row_M]]
    return wanted
