"""What explains the candidates of a release, and how alike the lists of a user's interests are.

::

    python -m benchmarks.explanations RELEASES...

For 200 users drawn by seed 0, 20 candidates each. Printed for each folder of releases:

* the candidates that an interest brought, and those that one explains;
* whether an item has a topic of the name of the interest that explains it, and, as the control, of a random interest of
  the same user;
* the share of places that the 100 best items of two implicit interests have in common; for a release with a linear
  history as it is served, and with the same sum in every vector (``own`` 0).
"""

import argparse
from itertools import combinations

import numpy as np

from multitudes.ids import Id
from multitudes.release.release import Release
from multitudes.retrieval.response import Recommendation
from multitudes.retrieval.retriever import Retriever
from multitudes.seeding import generator

USERS, CANDIDATES, PLACES = 200, 20, 100


def item_topics(release: Release) -> dict[Id, set[str]]:
    """Return the topics of each published item by id."""
    rows = zip(release.item_topic_offset[1:-1], release.item_topic_offset[2:], strict=True)
    topics = [{release.topics[topic] for topic in release.item_topic[start:stop].tolist()} for start, stop in rows]
    return dict(zip(release.items["item_id"].to_list(), topics, strict=True))


def explained(answers: list[Recommendation], topics: dict[Id, set[str]]) -> str:
    """Return the shares of the candidates of users with interests."""
    draw = generator(0, "random interest")
    rows: list[list[bool]] = []
    for answer in answers:
        by_number = {interest.number: interest for interest in answer.interests if interest.kind != "unconditioned"}
        for candidate in answer.candidates if by_number else ():
            named = by_number.get(-1 if candidate.explained_by is None else candidate.explained_by)
            other = by_number[int(draw.choice(list(by_number)))]
            fits = [bool(one and topics[candidate.item_id] & set(one.name.split(" · "))) for one in (named, other)]
            rows.append([candidate.source in ("implicit", "explicit"), named is not None, *fits])
    brought, has_interest, fits_named, fits_other = np.mean(rows, axis=0)
    return (
        f"{len(rows)} candidates: an interest brought {brought:.3f}, explains {has_interest:.3f}; the item has a"
        f" topic of its name in {fits_named:.3f}, of the name of a random interest in {fits_other:.3f}"
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
        print(f"{path}: {explained(answers, item_topics(release))}")
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
