"""Whether the interests and reasons of a release say why a candidate is shown: for users drawn by seed.

    python -m benchmarks.reasons RELEASES [--users 100] [--n 20] [--seed 0]

Prints JSON, shares of candidates:

* ``with_reason``: that name an own item; ``named``: that are for an interest of the history;
* ``topic_shared``: of the named ones, that share a topic with the typical topics in the interest's name; and with the
  name of another interest of the same user, drawn at random (the control);
* ``not_found``: that are for an interest which did not find them;
* ``muted_own``, ``muted_others``: that leave the list when an interest is muted: of those whose topics include all of
  its name, and of those that share none;
* ``faithful``: that fall out of 100 places, or by half of their rank or more, when the named own item is taken from the
  history, and when another own item, drawn at random, is taken (the control). The users ask with their history, so the
  whole path answers anew.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from multitudes.api import Candidate, Interest
from multitudes.ids import Id
from multitudes.retrieval.request import Request
from multitudes.retrieval.response import Recommendation
from multitudes.retrieval.retriever import Retriever

_PLACES = 100


class _Counts(dict[str, list[bool]]):
    def count(self, name: str, value: bool) -> None:
        self.setdefault(name, []).append(bool(value))

    def shares(self) -> dict[str, dict[str, float | int]]:
        return {name: {"share": round(float(np.mean(seen)), 4), "of": len(seen)} for name, seen in self.items()}


def measure(retriever: Retriever, users: int, n: int, seed: int) -> dict[str, dict[str, float | int]]:
    """Return each share and of how many it is."""
    release, draw, counts = retriever.release, np.random.default_rng(seed), _Counts()
    offset, topic_of = release.item_topic_offset, release.item_topic
    number = release.item_names.number

    def topics(item_id: Id) -> set[str]:
        item = number(item_id)
        return {release.topics[t] for t in topic_of[offset[item] : offset[item + 1]].tolist()}

    for user in draw.choice(release.n_users, min(users, release.n_users), replace=False).tolist():
        user_id = release.user_ids[user]
        (answer,) = retriever.answer([Request(user_id, n=n)])
        implicit = [one for one in answer.interests if one.kind == "implicit"]
        for candidate in answer.candidates:
            _count_candidate(counts, candidate, implicit, topics(candidate.item_id), draw)
        for interest in implicit:
            (muted,) = retriever.answer([Request(user_id, n=n, mute_interests=(interest.number,))])
            _count_muted(
                counts, answer, muted, _name(interest), {c.item_id: topics(c.item_id) for c in answer.candidates}
            )
        _count_faithful(counts, retriever, user, draw)
    return counts.shares()


def _name(interest: Interest) -> set[str]:
    """Return the topics in the name of an interest."""
    name = interest.name.split(", like ")[0]
    return set() if name.startswith("like ") else set(name.split(" · "))


def _count_candidate(
    counts: _Counts, candidate: Candidate, implicit: Sequence[Interest], topics: set[str], draw: np.random.Generator
) -> None:
    counts.count("with_reason", bool(candidate.because))
    own = next((one for one in implicit if one.number == candidate.interest), None)
    counts.count("named", own is not None)
    if own is None:
        return
    counts.count("not_found", own.number not in candidate.found_by)
    others = [one for one in implicit if one is not own and _name(one)]
    if _name(own) and others:
        counts.count("topic_shared", bool(topics & _name(own)))
        counts.count("topic_shared_with_another", bool(topics & _name(others[draw.integers(len(others))])))


def _count_muted(
    counts: _Counts, answer: Recommendation, muted: Recommendation, name: set[str], topics: dict[Id, set[str]]
) -> None:
    left = {one.item_id for one in muted.candidates}
    for candidate in answer.candidates:
        of_item = topics[candidate.item_id]
        if name and name <= of_item:
            counts.count("muted_own", candidate.item_id not in left)
        elif name and not name & of_item:
            counts.count("muted_others", candidate.item_id not in left)


def _count_faithful(counts: _Counts, retriever: Retriever, user: int, draw: np.random.Generator) -> None:
    """Ask with the history, and without one of its items."""
    own = retriever.release.own_items(user)
    items = retriever.release.item_names.ids(own.item_M[np.argsort(own.newest_M)])
    if len(items) < 3:
        return
    before = retriever.recommend(history=items, n=_PLACES)
    with_reason = [one for one in before.candidates[:20] if one.because]
    if not with_reason:
        return
    candidate = with_reason[draw.integers(len(with_reason))]
    named = candidate.because[0].item_id
    other = items[draw.choice([i for i, item in enumerate(items) if item != named])]
    for name, taken in (("faithful", named), ("faithful_to_another", other)):
        after = retriever.recommend(history=[i for i in items if i != taken], exclude=[taken], n=_PLACES)
        rank = next((one.rank for one in after.candidates if one.item_id == candidate.item_id), None)
        counts.count(name, rank is None or rank >= 1.5 * candidate.rank)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", type=Path)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    shares = measure(Retriever.open(given.releases), given.users, given.n, given.seed)
    print(json.dumps({"users": given.users, "n": given.n, "seed": given.seed, "shares": shares}, indent=1))


if __name__ == "__main__":
    main()
