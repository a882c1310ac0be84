"""The neighbours of an item: those whose vectors have the largest inner product with its own.

From a release to recommendations: users of the data, people who are not in it, or everybody in batch.

Legend: B requests that are answered together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.user_vectors import UserVectors
from multitudes.config import parse
from multitudes.errors import UsageError
from multitudes.ids import Id
from multitudes.progress import Progress, silent
from multitudes.release.release import Release
from multitudes.retrieval.catalogue import Catalogue, popular_items
from multitudes.retrieval.config import RetrieveConfig, resolve_shares, with_blend, with_shares
from multitudes.retrieval.preferences import Preferences, boost_factors, keep_strongest, mask_muted
from multitudes.retrieval.request import Degradation, Request, Shortfall
from multitudes.retrieval.response import IdList, IdListBuilder, Recommendation, ResponseBuilder
from multitudes.retrieval.search import Candidates, StageTimer, find_candidates, no_timing
from multitudes.retrieval.snapshot import LatestSnapshot, Snapshot
from multitudes.retrieval.user_context import CachedUser, ResolvedRequest, VectorCache, resolve_request
from multitudes.retrieval.user_vectors import vectors_for_requests


@dataclass(frozen=True)
class SimilarItem:
    """One item near another."""

    item_id: Id
    title: str | None
    score: float
    rank: int  # from 1


def similar_items(release: Release, item_id: Id, n: int) -> list[SimilarItem] | None:
    """Return the ``n`` nearest items, nearest first, without the item itself; None: the release has no such item."""
    number = np.array([release.item_names.number(item_id)])
    try:
        vector_1D = release.index.vectors(number)
    except UsageError:  # unknown, or it has gone
        return None
    hits = release.index.search(vector_1D, n, excluded=[number])
    known = [
        (release.item_names.name(item), score)
        for item, score in zip(hits.ids(0).tolist(), hits.scores(0).tolist(), strict=True)
        if item <= len(release.item_names)  # an index that many processes share may hold items that have come since
    ]
    return [SimilarItem(name.id, name.title, score, rank) for rank, (name, score) in enumerate(known, start=1)]


_USERS_PER_BATCH = 256
_NO_ITEMS = np.zeros(0, dtype=np.int64)
T = TypeVar("T")  # the form of an answer


class Retriever:
    """Recommends from one release. Needs no torch.

    Items that come and go are seen within a second, without a restart; threads may share a retriever.
    """

    def __init__(self, release: Release, config: RetrieveConfig | None = None, *, cached_users: int = 0) -> None:
        """Answer from ``release``.

        Args:
            release: what to answer from.
            config: how to retrieve, in place of what was published with the release.
            cached_users: the vectors of so many users are kept for ``Effort.CACHED``.
        """
        published = parse(RetrieveConfig, release.manifest.retrieval, f"{release.path}/manifest.json: retrieval")
        self.config = with_shares(with_blend(config or published, published.blend), resolve_shares(published))
        self.vector_cache = VectorCache(cached_users)
        self._latest = LatestSnapshot(release)

    @property
    def release(self) -> Release:
        """What is served: the release with the items that came and went until now."""
        return self._latest().release

    @property
    def catalogue(self) -> Catalogue:
        """The items that can be retrieved now."""
        return self._latest().catalogue

    @classmethod
    def open(cls, path: str | Path, config: RetrieveConfig | None = None, *, cached_users: int = 0) -> "Retriever":
        """Open the current release of a folder of releases, or one version's own folder.

        Args:
            path: the folder.
            config: how to retrieve, in place of what was published with the release.
            cached_users: the vectors of so many users are kept for ``Effort.CACHED``.

        Raises:
            ArtefactError: nothing is released there, or the release is damaged or of another version.
        """
        return cls(Release.open(path), config, cached_users=cached_users)

    def recommend(
        self,
        user_id: Id | None = None,
        *,
        history: Sequence[Id] | None = None,
        followed_topics: Sequence[str] | None = None,
        n: int = 100,
        exclude: Sequence[Id] = (),
        request_id: str = "",
    ) -> Recommendation:
        """Recommend to a user of the data, or to somebody described by a history and followed topics.

        Args:
            user_id: a user of the data. One who is not known gets popular items, marked as degraded.
            history: item ids, newest last, in place of a user of the data.
            followed_topics: topic names, in place of a user of the data.
            n: how many candidates.
            exclude: item ids that must not come back, beside those already seen.
            request_id: name of the request; decides which followed topics are drawn, so that it can be replayed.

        Raises:
            UsageError: neither or both of a user and a description are given, or ``n`` is below 1.
        """
        ask = Request(
            user_id, history=history, followed_topics=followed_topics, n=n, exclude=exclude, request_id=request_id
        )
        return self.answer([ask])[0]

    def recommend_all(
        self, *, n: int = 100, request_id: str = "", progress: Progress = silent
    ) -> Iterator[Recommendation]:
        """Recommend to every user of the release, in the order of their numbers, from the items that are there now.

        Raises:
            UsageError: ``n`` is below 1.
        """
        serving = self._latest()
        users = serving.release.user_ids
        for start in range(0, len(users), _USERS_PER_BATCH):
            some = users[start : start + _USERS_PER_BATCH].to_list()
            asks = [Request(user, n=n, request_id=request_id) for user in some]
            yield from self._respond(serving, serving.recommendations, asks, Degradation.NONE)
            progress(start + len(some), len(users))

    def answer(
        self, requests: Sequence[Request], *, degradation: Degradation = Degradation.NONE, timer: StageTimer = no_timing
    ) -> list[Recommendation]:
        """Answer several requests together, each as it would be alone: one call of the tower, one search.

        Args:
            requests: the requests; those for equally many candidates share a search.
            degradation: how much is done for each at most; less than full is said in the answer's ``reason``.
            timer: is told when each stage ends.

        Raises:
            UsageError: a request cannot be answered; see ``Ask.check``.
        """
        serving = self._latest()
        return self._respond(serving, serving.recommendations, requests, degradation, timer)

    def id_lists(self, requests: Sequence[Request]) -> list[IdList]:
        """Answer several requests as ``answer`` does, in ids and numbers: for a program that asks for thousands.

        Raises:
            UsageError: a request cannot be answered; see ``Ask.check``.
        """
        serving = self._latest()
        return self._respond(serving, IdListBuilder(serving.release), requests, Degradation.NONE)

    def recommend_popular(self, request: Request, shortfall: Shortfall) -> Recommendation:
        """Recommend popular items, without tower and search; ``shortfall`` is the reason given."""
        request.check()
        serving = self._latest()
        found = self._resolve(serving, request, Degradation.NONE)
        if request.state_error:  # what is outside of the retrieval comes first
            shortfall = shortfall._replace(cause="state")
        return self._respond_popular(
            serving, serving.recommendations, found._replace(degradation=Degradation.POPULAR, shortfalls=(shortfall,))
        )

    def forget(self, user_id: Id) -> None:
        """Forget what is remembered of a user."""
        self.vector_cache.remove(user_id)

    def _respond(
        self,
        snapshot: Snapshot,
        builder: ResponseBuilder[T],
        requests: Sequence[Request],
        degradation: Degradation,
        timer: StageTimer = no_timing,
    ) -> list[T]:
        for ask in requests:
            ask.check()
        cases = [self._resolve(snapshot, ask, degradation) for ask in requests]
        timer("people")
        spoken_for = [b for b, one in enumerate(cases) if one.degradation < Degradation.POPULAR]
        retrieved = self._retrieve(snapshot, builder, [cases[b] for b in spoken_for], degradation, timer)
        answers = dict(zip(spoken_for, retrieved, strict=True))
        return [
            answers[b] if b in answers else self._respond_popular(snapshot, builder, one) for b, one in enumerate(cases)
        ]

    def _resolve(self, snapshot: Snapshot, request: Request, degradation: Degradation) -> ResolvedRequest:
        if request.user_state is not None and request.user_state.erased:
            self.forget(request.user_state.user_id)
        return resolve_request(snapshot.contexts, request, degradation, self.vector_cache)

    def _retrieve(
        self,
        snapshot: Snapshot,
        builder: ResponseBuilder[T],
        requests: Sequence[ResolvedRequest],
        degradation: Degradation,
        timer: StageTimer,
    ) -> list[T]:
        """Answer those for whom vectors can speak."""
        if not requests:
            return []
        wishes = [Preferences.of(one.request, snapshot.release) for one in requests]
        made = vectors_for_requests(snapshot.release, requests, wishes, self.config)
        self._cache_vectors(requests, made)
        vectors, boost_BK = mask_muted(made, wishes), boost_factors(made, wishes, self.config)
        if degradation > Degradation.NONE:
            vectors = keep_strongest(vectors, self.config, boost_BK)
        timer("tower")
        left_out = [self._excluded_items(snapshot, *row) for row in zip(requests, wishes, strict=True)]
        n_B = np.array([one.request.n for one in requests])
        found = self._search(snapshot.catalogue, vectors, boost_BK, n_B, left_out, timer)
        answers = [builder.build(one, b, vectors, found[b], wishes[b].unknown_topics) for b, one in enumerate(requests)]
        timer("names")
        return answers

    def _search(
        self,
        catalogue: Catalogue,
        vectors: UserVectors,
        boost_BK: NDArray[np.float64] | None,
        n_B: NDArray[np.int64],
        excluded: list[NDArray[np.int64]],
        timer: StageTimer,
    ) -> list[Candidates]:
        """Search for all at once; those who ask for another number of candidates are searched for apart.

        (The best of more candidates are not the candidates that would have been best of fewer.)
        """
        found: dict[int, Candidates] = {}
        for n in np.unique(n_B).tolist():
            rows = np.flatnonzero(n_B == n)
            some = vectors if len(rows) == len(n_B) else vectors.select(rows)
            boost = None if boost_BK is None else boost_BK[rows]
            lists = find_candidates(some, catalogue, n, [excluded[b] for b in rows], self.config, timer, boost)
            found |= zip(rows.tolist(), lists, strict=True)
        return [found[b] for b in range(len(n_B))]

    def _respond_popular(self, snapshot: Snapshot, builder: ResponseBuilder[T], resolved: ResolvedRequest) -> T:
        wishes = Preferences.of(resolved.request, snapshot.release)
        item_N = popular_items(snapshot.catalogue, resolved.request.n, self._excluded_items(snapshot, resolved, wishes))
        return builder.build_popular(resolved, item_N, snapshot.catalogue.event_counts(item_N), wishes.unknown_topics)

    def _excluded_items(
        self, snapshot: Snapshot, resolved: ResolvedRequest, preferences: Preferences
    ) -> NDArray[np.int64]:
        """Return the item numbers that must not come back: seen, excluded, or of a muted topic."""
        seen, exclude = resolved.context.seen[0], resolved.request.exclude
        excluded = snapshot.contexts.item_numbers(exclude) if exclude else _NO_ITEMS
        muted = [snapshot.catalogue.index.items_of(topic) for topic in sorted(preferences.muted_topics)]
        return np.unique(np.concatenate([seen, excluded, *muted])) if len(excluded) or muted else seen

    def _cache_vectors(self, requests: Sequence[ResolvedRequest], vectors: UserVectors) -> None:
        if not self.vector_cache.size:
            return
        for b, one in enumerate(requests):
            if one.request.user_id is not None and one.cached_vectors is None and not one.request.state_error:
                self.vector_cache.put(one.request.user_id, CachedUser(one.context, vectors.select(slice(b, b + 1))))
