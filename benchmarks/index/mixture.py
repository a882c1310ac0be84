"""``python -m benchmarks.index.mixture``: one search for all vectors of a user beside one for each vector.

Users have an unconditioned vector, implicit ones and five followed topics, as those of the service's benchmark;
*single* has the first vector alone, searched as every release of one vector is. A user has seen items near the first
vectors. The ways are asked in turn, in one thread. The overlap is the share of the exact list of most probable items.

Legend: n items · B users · K vectors of a user · D dimensions.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import SEED
from benchmarks.index.corpus import KINDS, Corpus, Kind, Vectors
from benchmarks.index.truth import Ids
from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.markdown import format_number, table
from benchmarks.timing import print_progress, round_figure, spread
from multitudes.atomic import write_text
from multitudes.batches.user_vectors import InterestKind, UserVectors
from multitudes.index.exact import ExactIndex
from multitudes.index.factory import IndexConfig, build_embedded, load_embedded
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Topics
from multitudes.retrieval.allocation import vector_shares
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.search import Candidates, find_candidates, mixture_queries
from multitudes.seeding import generator

RESULTS = ROOT / "benchmarks" / "results" / "mixture.json"
N = 200
_WIDTH, _TOPICS, _FOLLOWED, _IMPLICIT, _SEEN = 64, 100, 5, 6, 300
_LOOKED_AT = 20_000  # items of which the nearest to a user were seen: of all, they would be too near
_SCALE = np.float32(10)  # temperature 0.1
_TUNING_USERS = 200
_CONTENT = 4  # raise it where a kept index would no longer be what is measured
_EXACT_UP_TO = 200_000  # items; beyond, the exact index takes long and is not timed
_COUNTS: dict[InterestKind, int] = {"unconditioned": 1, "implicit": _IMPLICIT, "explicit": _FOLLOWED}
_KINDS = tuple(kind for kind, count in _COUNTS.items() for _ in range(count))


class EachVector(LiveIndex):
    """An index in which each vector is searched by itself."""

    has_mixture = False


class _World(NamedTuple):
    corpus: Corpus
    item_nD: Vectors
    topics: Topics
    centre_TD: Vectors

    @classmethod
    def draw(cls, kind: Kind, items: int) -> "_World":
        corpus = Corpus(kind, items, _WIDTH)
        item_nD = np.concatenate(list(corpus.chunks()))
        centre_TD = corpus.users(_TOPICS, "topics")[:, 0]
        parts = np.array_split(item_nD, max(1, items // 50_000))
        topic_n = 1 + np.concatenate([(part @ centre_TD.T).argmax(axis=1) for part in parts])
        return cls(corpus, item_nD, Topics(np.arange(items + 1), topic_n), centre_TD)

    def users(self, count: int, group: str) -> UserVectors:
        """Return users with one to six implicit vectors."""
        rng, drawn_BKD = generator(SEED, "mixture", group), self.corpus.users(count, group)
        topic_BK = np.zeros((count, len(_KINDS)), dtype=np.int64)
        topic_BK[:, -_FOLLOWED:] = 1 + np.argsort(-drawn_BKD[:, 0] @ self.centre_TD.T, axis=1)[:, :_FOLLOWED]
        mask_BK = np.ones(topic_BK.shape, dtype=np.bool_)
        mask_BK[:, 1 : 1 + _IMPLICIT] = np.arange(_IMPLICIT) < rng.integers(1, _IMPLICIT + 1, count)[:, None]
        weight_BK = np.ones(topic_BK.shape, dtype=np.float32)
        weight_BK[:, 1 : 1 + _IMPLICIT] = rng.dirichlet(np.ones(_IMPLICIT), count)
        return UserVectors(_KINDS, drawn_BKD * _SCALE, weight_BK * mask_BK, mask_BK, topic_BK, np.full((count, 1), -1))

    def seen(self, users: UserVectors) -> list[Ids]:
        """Return what each user has seen."""
        rng = generator(SEED, "mixture", "seen")
        row_S = rng.choice(len(self.item_nD), min(_LOOKED_AT, len(self.item_nD) // 2), replace=False)
        item_SD = self.item_nD[row_S]
        nearness = [(vectors_KD[:3] @ item_SD.T).max(axis=0) for vectors_KD in users.vectors_BKD]
        return [np.sort(row_S[np.argpartition(-near_S, _SEEN)[:_SEEN]]) + 1 for near_S in nearness]


def measure(kind: Kind, items: int, users: int, rounds: int, work: Path) -> dict[str, Any]:
    """Return the figures of a corpus."""
    circumstances, world = MeasurementContext(), _World.draw(kind, items)
    built, info = _open(world, work / f"mixture-{kind}-{items}-{_CONTENT}")
    asked = world.users(users, "asked")
    seen, config = world.seen(asked), RetrieveConfig()
    exact = ExactIndex.build(np.arange(1, items + 1), world.item_nD, world.topics)
    engines = {"inverted": (built, EachVector(built.segment))}
    if items <= _EXACT_UP_TO:
        engines["exact"] = (LiveIndex(exact), EachVector(exact))
    count = np.zeros(items + 1, dtype=np.int64)
    catalogues = {name: [Catalogue(index, count) for index in pair] for name, pair in engines.items()}
    mask_BK = asked.mask_BK & (asked.topic_BK == 0)
    unfollowing = asked._replace(mask_BK=mask_BK, weight_BK=asked.weight_BK * mask_BK)
    alone = UserVectors(
        _KINDS[:1],
        asked.vectors_BKD[:, :1],
        asked.weight_BK[:, :1],
        asked.mask_BK[:, :1],
        asked.topic_BK[:, :1],
        asked.assignment_BL,
    )
    ways = {
        **{(name, "one search"): (asked, pair[0]) for name, pair in catalogues.items()},
        **{(name, "one search, no topics"): (unfollowing, pair[0]) for name, pair in catalogues.items()},
        **{(name, "each vector"): (asked, pair[1]) for name, pair in catalogues.items()},
        **{(name, "single"): (alone, pair[0]) for name, pair in catalogues.items()},
    }
    cpu = {way: np.zeros((rounds, users)) for way in ways}
    found = {way: list[Candidates]() for way in ways}
    progress = print_progress(f"{items:,} {kind}")
    for turn in range(rounds):
        for user in range(users):
            progress(turn * users + user, rounds * users, "requests")
            for way, (vectors, catalogue) in ways.items():
                one = vectors.select(slice(user, user + 1))
                began = time.thread_time()
                (answer,) = find_candidates(one, catalogue, N, [seen[user]], config)
                cpu[way][turn, user] = 1000 * (time.thread_time() - began)
                if turn == 0:
                    found[way].append(answer)
    exactly = Catalogue(LiveIndex(exact), count)
    wanted = {
        id(vectors): find_candidates(vectors, exactly, N, seen, config) for vectors in (asked, unfollowing, alone)
    }
    batch = {way: _batch_ms(*of, seen, config, rounds) for way, of in ways.items()}
    return {
        "step": {"kind": kind, "items": items},
        "settings": {"users": users, "rounds": rounds, "n": N},
        **circumstances.head(),
        "seeds": [SEED],
        "figures": {
            "ways": [
                {
                    "engine": engine,
                    "way": way,
                    "cpu_ms": spread(np.median(cpu[engine, way], axis=1).tolist()),
                    "batch_cpu_ms": batch[engine, way],
                    "overlap": _overlap(found[engine, way], wanted[id(ways[engine, way][0])]),
                    "shortest": min(len(one.item_N) for one in found[engine, way]),
                }
                for engine, way in ways
            ],
            "mixture": info,
        },
    }


def _open(world: _World, folder: Path) -> tuple[LiveIndex, dict[str, Any]]:
    """Return the inverted index of a world, built where it is not there."""
    if not (folder / "index.json").exists():
        users = world.users(_TUNING_USERS, "tuning")
        shares = vector_shares(users, RetrieveConfig())
        queries = mixture_queries(users, shares, RetrieveConfig(), 0, world.seen(users))
        index = build_embedded(
            np.arange(1, len(world.item_nD) + 1),
            world.item_nD,
            IndexConfig(kind="inverted"),
            topics=world.topics,
            queries=users.vectors_BKD[users.mask_BK],
            users=queries,
            progress=print_progress("build"),
        )
        folder.mkdir(parents=True)
        index.save(folder)
    index = load_embedded(folder)
    return index, index.info().get("mixture", {})


def _batch_ms(
    vectors: UserVectors, catalogue: Catalogue, seen: list[Ids], config: RetrieveConfig, rounds: int
) -> dict[str, float]:
    """Return the milliseconds of a user where all are asked in one call."""
    ms = []
    for _ in range(rounds):
        began = time.thread_time()
        find_candidates(vectors, catalogue, N, seen, config)
        ms.append(1000 * (time.thread_time() - began) / len(seen))
    return spread(ms)


def _overlap(found: Sequence[Candidates], wanted: Sequence[Candidates]) -> float:
    shares = [np.isin(want.item_N, got.item_N).mean() for got, want in zip(found, wanted, strict=True)]
    return round_figure(float(np.mean(shares)))


def section(records: Sequence[dict[str, Any]]) -> list[str]:
    """Return the section of docs/index-figures.md; no lines without records."""
    if not records:
        return []
    rows = [
        [
            f"{record['step']['items']:,} {record['step']['kind']}",
            one["engine"],
            one["way"],
            format_number(one["cpu_ms"]["median"]),
            format_number(one["batch_cpu_ms"]["median"]),
            "" if one["overlap"] is None else f"{one['overlap']:.3f}",
        ]
        for record in records
        for one in record["figures"]["ways"]
    ]
    head = ["corpus", "engine", "way", "CPU ms of a request", "of a user in a batch", "overlap with the exact list"]
    return [
        "## One search for all vectors of a user",
        "",
        f"The blend `mixture`, lists of {N}: 2 to 7 vectors that may bring any item and {_FOLLOWED} followed topics, of"
        f" {_TOPICS}; {_SEEN} seen items; one thread, search and blend together. *Each vector*: one search for each, as"
        " HNSW and Milvus do it, blended afterwards. *Single*: one vector. *No topics*: the same users,"
        " who follow nothing. Measured by"
        " `python -m benchmarks.index.mixture`, the ways in turn"
        f" (load {', '.join(str(record['load']['after']) for record in records)}; commits"
        f" {', '.join(str(record['versions'].get('commit')) for record in records)}).",
        "",
        *table(head, rows),
        *_tuned(records),
    ]


def _tuned(records: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        [
            f"{record['step']['items']:,} {record['step']['kind']}",
            asked,
            f"{level['depth']:,}",
            f"{level['effort']:,}",
            f"{level['proposals']:,}",
            f"{level['recall']:.3f}",
            f"{level['checked']:.3f}",
            f"{record['figures']['mixture']['error']:.3f}",
        ]
        for record in records
        for asked, name in (("any", "levels"), ("with topics", "with_topics"))
        for level in record["figures"]["mixture"].get(name, [])
    ]
    head = ["corpus", "users", "depth", "pairs", "candidates", "overlap", "on held-out users", "error of log Z"]
    return ["As tuned:", "", *table(head, rows)]


def main() -> None:
    """Measure and keep the records."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index.mixture", description="Measure mixtures.")
    parser.add_argument("--items", nargs="+", type=int, default=[100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=ROOT / ".bench-index")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    records: list[dict[str, Any]] = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else []
    for items in given.items:
        for kind in given.kinds:
            step = {"kind": kind, "items": items}
            made = measure(kind, items, given.users, given.rounds, given.work)
            records = [record for record in records if record["step"] != step] + [made]
            write_text(given.out, json.dumps(records, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
