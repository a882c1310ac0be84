"""The retriever: from requests to recommendations, with one release.

A request passes through these steps, for all requests of a batch together:

1. ``user_context``: the user's history, followed topics and seen items, as numbers of the release.
2. ``user_vectors``: the vectors of the user's interests, from the user tower; ``preferences`` mutes and boosts them.
3. ``search``: search the index, blend the lists of the vectors, fill up with popular items; ``rows`` keeps a list for
   each interest, where a request asks for rows.
4. ``response``: names, titles and ids.

Legend: B requests of a batch.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from multitudes.api import SimilarItem
from multitudes.batches.user_vectors import UserVectors
from multitudes.errors import UsageError
from multitudes.ids import Id
from multitudes.progress import Progress, silent
from multitudes.release.manifest import read_settings
from multitudes.release.release import Release
from multitudes.retrieval.calibration import with_owners, with_tastes
from multitudes.retrieval.catalogue import Catalogue, popular_items
from multitudes.retrieval.config import RetrieveConfig, with_defaults
from multitudes.retrieval.preferences import (
    Preferences,
    boost_factors,
    history_weights,
    keep_strongest,
    mask_muted,
    set_shares,
)
from multitudes.retrieval.request import Degradation, Request, Shortfall
from multitudes.retrieval.resolved_request import CachedUser, ResolvedRequest, VectorCache, resolve_request
from multitudes.retrieval.response import IdList, IdListBuilder, Recommendation, ResponseBuilder
from multitudes.retrieval.rows import find_rows
from multitudes.retrieval.search import NO_ITEMS, Candidates, StageTimer, find_candidates, no_timing, popular_candidates
from multitudes.retrieval.snapshot import LatestSnapshot, Snapshot
from multitudes.retrieval.user_vectors import vectors_for_requests

_USERS_PER_BATCH = 256
R = TypeVar("R")


class Retriever:
    """Recommends items with one release; needs no torch.

    Items that are added to the release or removed from it are taken into account within a second. Safe for use by
    several threads.
    """

    def __init__(self, release: Release, config: RetrieveConfig | None = None, *, cached_users: int = 0) -> None:
        """Create a retriever.

        Args:
            release: the release to recommend from.
            config: settings of retrieval; by default those that were published with the release.
            cached_users: size of the cache of user vectors, for requests with ``Degradation.CACHED``.
        """
        published = read_settings(
            RetrieveConfig, release.manifest.retrieval, f"{release.path}/manifest.json: retrieval"
        )
        self.config = with_defaults(config or published, published)
        self.vector_cache = VectorCache(cached_users)
        self._latest = LatestSnapshot(release)

    @property
    def release(self) -> Release:
        """The release with all item updates until now."""
        return self._latest().release

    @property
    def catalogue(self) -> Catalogue:
        """The items that can be retrieved now."""
        return self._latest().catalogue

    @classmethod
    def open(
        cls,
        path: str | Path,
        config: RetrieveConfig | None = None,
        *,
        cached_users: int = 0,
        trust: Path | None = None,
    ) -> "Retriever":
        """Open a release and return a retriever.

        Args:
            path: a folder of releases, of which the current one is opened, or the folder of one version.
            config: settings of retrieval; by default those that were published with the release.
            cached_users: size of the cache of user vectors, for requests with ``Degradation.CACHED``.
            trust: a public key, or a folder of them, one of which must have signed the release; None: no signature is
                needed.

        Returns:
            The retriever.

        Raises:
            ArtefactError: nothing is released there, the release is damaged or of another format version, or no
                trusted key signed it.
            UsageError, MissingError: ``trust`` holds no public key.
        """
        return cls(Release.open(path, trust=trust), config, cached_users=cached_users)

    def recommend(
        self,
        user_id: Id | None = None,
        *,
        history: Sequence[Id] | None = None,
        followed_topics: Sequence[str] | None = None,
        n: int = 100,
        rows: int | None = None,
        exclude: Sequence[Id] = (),
        exclude_seen: bool | None = None,
        calibration: float | None = None,
        request_id: str = "",
    ) -> Recommendation:
        """Recommend items to a user of the release, or to an anonymous user with a history and followed topics.

        Args:
            user_id: a user of the release. An unknown user gets popular items, and the answer is marked as degraded.
            history: item ids of an anonymous user, newest last.
            followed_topics: topic names of an anonymous user.
            n: number of candidates; with ``rows``, of each row.
            rows: number of rows, at most: in place of one list, one for each interest and followed topic; None: one
                list.
            exclude: item ids that are not returned, beside those that the user has seen.
            exclude_seen: whether items of the history are left out; None: as ``[retrieve] exclude_seen`` says.
            calibration: part of the list that is divided among the tastes of the history; None: as set.
            request_id: determines which followed topics are drawn, so a request can be replayed.

        Returns:
            The candidates, best first, and the interests that brought them. It has fewer than ``n`` candidates only
            if the release has no other items.

        Raises:
            UsageError: neither or both of a user and a description are given, or ``n``, ``rows`` or
                ``calibration`` is out of bounds.
            ArtefactError: the user tower does not fit the release.
        """
        request = Request(
            user_id,
            history=history,
            followed_topics=followed_topics,
            n=n,
            rows=rows,
            exclude=exclude,
            exclude_seen=exclude_seen,
            calibration=calibration,
            request_id=request_id,
        )
        return self.answer([request])[0]

    def recommend_all(
        self, *, n: int = 100, request_id: str = "", progress: Progress = silent
    ) -> Iterator[Recommendation]:
        """Recommend items to every user of the release.

        Args:
            n: number of candidates of each user.
            request_id: determines which followed topics are drawn.
            progress: called with the number of users that are done.

        Yields:
            One recommendation for each user, by user number. All come from the items that the release has at the
            beginning.

        Raises:
            UsageError: ``n`` is below 1.
        """
        snapshot = self._latest()
        users = snapshot.release.user_ids
        for start in range(0, len(users), _USERS_PER_BATCH):
            batch = users[start : start + _USERS_PER_BATCH].to_list()
            requests = [Request(user, n=n, request_id=request_id) for user in batch]
            yield from self._respond(snapshot, snapshot.recommendations, requests, Degradation.NONE)
            progress(start + len(batch), len(users))

    def answer(
        self, requests: Sequence[Request], *, degradation: Degradation = Degradation.NONE, timer: StageTimer = no_timing
    ) -> list[Recommendation]:
        """Answer a batch of requests with one call of the user tower and one search.

        The batch does not affect the answers: each is the same as alone.

        Args:
            requests: the requests. Requests for the same number of candidates share a search.
            degradation: the least degradation of each answer; its ``reason`` says what was left out.
            timer: called at the end of each stage.

        Returns:
            One answer for each request, in their order.

        Raises:
            ArtefactError: the user tower does not fit the release.
        """
        snapshot = self._latest()
        return self._respond(snapshot, snapshot.recommendations, requests, degradation, timer)

    def id_lists(self, requests: Sequence[Request]) -> list[IdList]:
        """Answer a batch of requests with ids and arrays only, for a program that sends thousands.

        Args:
            requests: the requests.

        Returns:
            One list for each request, in their order, with the candidates that ``answer`` gives.

        Raises:
            ArtefactError: the user tower does not fit the release.
        """
        return self.respond(requests, lambda snapshot: IdListBuilder(snapshot.release))

    def respond(self, requests: Sequence[Request], make_builder: Callable[[Snapshot], ResponseBuilder[R]]) -> list[R]:
        """Answer a batch of requests in a form of the caller's; no user vectors are cached.

        Args:
            requests: the requests, which may suppose what the users did not do.
            make_builder: returns what builds an answer, from the snapshot that all answers come from.

        Returns:
            One answer for each request, in their order.

        Raises:
            ArtefactError: the user tower does not fit the release.
        """
        snapshot = self._latest()
        return self._respond(snapshot, make_builder(snapshot), requests, Degradation.NONE, caches=False)

    def recommend_popular(self, request: Request, shortfall: Shortfall) -> Recommendation:
        """Recommend popular items, without the user tower and without a search.

        Args:
            request: the request.
            shortfall: why the answer has nothing better.

        Returns:
            The answer, without interests.
        """
        snapshot = self._latest()
        resolved = self._resolve(snapshot, request, Degradation.NONE)
        if request.state_error:  # a cause outside of the retrieval comes first
            shortfall = shortfall._replace(cause="state")
        resolved = resolved._replace(degradation=Degradation.POPULAR, shortfalls=(shortfall,))
        return self._respond_popular(snapshot, snapshot.recommendations, resolved)

    def forget(self, user_id: Id) -> None:
        """Remove a user from the cache of user vectors."""
        self.vector_cache.remove(user_id)

    def _respond(
        self,
        snapshot: Snapshot,
        builder: ResponseBuilder[R],
        requests: Sequence[Request],
        degradation: Degradation,
        timer: StageTimer = no_timing,
        *,
        caches: bool = True,
    ) -> list[R]:
        """Answer a batch of requests in the form of ``builder``."""
        all_resolved = [self._resolve(snapshot, request, degradation) for request in requests]
        timer("users")
        with_vectors = [b for b, resolved in enumerate(all_resolved) if resolved.degradation < Degradation.POPULAR]
        searched = [all_resolved[b] for b in with_vectors]
        retrieved = self._retrieve(snapshot, builder, searched, degradation, timer, caches)
        responses = dict(zip(with_vectors, retrieved, strict=True))
        return [
            responses[b] if b in responses else self._respond_popular(snapshot, builder, resolved)
            for b, resolved in enumerate(all_resolved)
        ]

    def _resolve(self, snapshot: Snapshot, request: Request, degradation: Degradation) -> ResolvedRequest:
        if request.user_state is not None and request.user_state.erased:
            self.forget(request.user_state.user_id)
        return resolve_request(snapshot.contexts, request, degradation, self.vector_cache)

    def _retrieve(
        self,
        snapshot: Snapshot,
        builder: ResponseBuilder[R],
        requests: Sequence[ResolvedRequest],
        degradation: Degradation,
        timer: StageTimer,
        caches: bool,
    ) -> list[R]:
        """Answer requests by a search with the vectors of their users."""
        if not requests:
            return []
        preferences = [Preferences.from_request(resolved.request, snapshot.release) for resolved in requests]
        all_vectors = vectors_for_requests(snapshot.release, requests, preferences, self.config)
        if caches:  # before what this request asks of its list, which the next one may not
            self._cache_vectors(requests, all_vectors)
        all_vectors = self._with_shares_and_tastes(all_vectors, snapshot, requests, preferences)
        vectors = mask_muted(all_vectors, preferences)
        boost_BK = boost_factors(all_vectors, preferences)
        if degradation > Degradation.NONE:
            vectors = keep_strongest(vectors, self.config, boost_BK)
        item_BL = np.concatenate([resolved.context.histories.item_BL for resolved in requests])
        vectors = with_owners(vectors, item_BL, snapshot.catalogue)
        timer("tower")
        excluded = [self._excluded_items(snapshot, *row) for row in zip(requests, preferences, strict=True)]
        n_B = np.array([resolved.request.n for resolved in requests])
        candidates = self._search(snapshot.catalogue, vectors, boost_BK, n_B, excluded, timer)
        candidates = self._add_repeats(snapshot, requests, preferences, candidates)
        for b, resolved in enumerate(requests):
            if resolved.request.rows is not None:
                candidates[b] = find_rows(
                    candidates[b],
                    vectors.select(slice(b, b + 1)),
                    snapshot.catalogue,
                    resolved.request.rows,
                    resolved.request.n,
                    excluded[b],
                    self.config,
                    None if boost_BK is None else boost_BK[b],
                )
                timer("search")
        responses = [
            builder.build(resolved, b, vectors, candidates[b], preferences[b].unknown_topics)
            for b, resolved in enumerate(requests)
        ]
        timer("names")
        return responses

    def _with_shares_and_tastes(
        self,
        vectors: UserVectors,
        snapshot: Snapshot,
        requests: Sequence[ResolvedRequest],
        preferences: Sequence[Preferences],
    ) -> UserVectors:
        """Return the vectors with the shares that requests set, and the part of the list of each taste."""
        vectors = set_shares(vectors, [resolved.request for resolved in requests])
        asked = [resolved.request.calibration for resolved in requests]
        calibration_B = np.array([self.config.calibration or 0.0 if one is None else one for one in asked])
        positives = [items for resolved in requests for items in resolved.context.positives()]
        weights = history_weights(vectors, [resolved.context for resolved in requests], positives, preferences)
        return with_tastes(vectors, positives, snapshot.catalogue, calibration_B, weights)

    def _search(
        self,
        catalogue: Catalogue,
        vectors: UserVectors,
        boost_BK: NDArray[np.float64] | None,
        n_B: NDArray[np.int64],
        excluded: list[NDArray[np.int64]],
        timer: StageTimer,
    ) -> list[Candidates]:
        """Search once for all users with the same number of candidates.

        The first candidates of a longer list are not those of a shorter list, so each length has its own search.
        """
        candidates: dict[int, Candidates] = {}
        for n in np.unique(n_B).tolist():
            rows = np.flatnonzero(n_B == n)
            vectors_of_n = vectors if len(rows) == len(n_B) else vectors.select(rows)
            boost = None if boost_BK is None else boost_BK[rows]
            found = find_candidates(vectors_of_n, catalogue, n, [excluded[b] for b in rows], self.config, timer, boost)
            candidates |= zip(rows.tolist(), found, strict=True)
        return [candidates[b] for b in range(len(n_B))]

    def _respond_popular(self, snapshot: Snapshot, builder: ResponseBuilder[R], resolved: ResolvedRequest) -> R:
        """Answer a request with popular items."""
        preferences = Preferences.from_request(resolved.request, snapshot.release)
        excluded = self._excluded_items(snapshot, resolved, preferences)
        item_N = popular_items(snapshot.catalogue, resolved.request.n, excluded)
        popular = popular_candidates(item_N, snapshot.catalogue.user_counts(item_N))
        (candidates,) = self._add_repeats(snapshot, [resolved], [preferences], [popular])
        return builder.build_popular(resolved, candidates, preferences.unknown_topics)

    def _add_repeats(
        self,
        snapshot: Snapshot,
        requests: Sequence[ResolvedRequest],
        preferences: Sequence[Preferences],
        found: list[Candidates],
    ) -> list[Candidates]:
        """Give own items their places in the lists of requests that allow seen items."""
        rows = [b for b, own in enumerate(requests) if self._allows_seen(own) and own.request.rows is None]
        if not rows or not self._has_repeats(snapshot):
            return found
        assert snapshot.repeats is not None
        with_repeats = snapshot.repeats.add_repeats(
            [found[b] for b in rows],
            [requests[b].context.own[0] for b in rows],
            [requests[b].request.n for b in rows],
            [_not_returned(snapshot, requests[b], preferences[b]) for b in rows],
            snapshot.catalogue,
            self.config.repeat_share,
        )
        merged = dict(zip(rows, with_repeats, strict=True))
        return [merged.get(b, candidates) for b, candidates in enumerate(found)]

    def _allows_seen(self, resolved: ResolvedRequest) -> bool:
        exclude_seen = resolved.request.exclude_seen
        return not (self.config.exclude_seen if exclude_seen is None else exclude_seen)

    def _finds_seen(self, snapshot: Snapshot, resolved: ResolvedRequest) -> bool:
        """Return whether a search is to find seen items: they are allowed, and have no source of their own."""
        has_source = self._has_repeats(snapshot) and resolved.request.rows is None
        return self._allows_seen(resolved) and not has_source

    def _has_repeats(self, snapshot: Snapshot) -> bool:
        return snapshot.repeats is not None and self.config.repeat_share != 0

    def _excluded_items(
        self, snapshot: Snapshot, resolved: ResolvedRequest, preferences: Preferences
    ) -> NDArray[np.int64]:
        """Return the item numbers that a search excludes.

        Seen items are among them, unless the search is to find them.
        """
        seen, others = resolved.context.seen[0], _not_returned(snapshot, resolved, preferences)
        if self._finds_seen(snapshot, resolved):
            return others
        return np.union1d(seen, others) if len(others) else seen

    def _cache_vectors(self, requests: Sequence[ResolvedRequest], vectors: UserVectors) -> None:
        if not self.vector_cache.size:
            return
        for b, resolved in enumerate(requests):
            request = resolved.request
            if request.user_id is not None and resolved.cached_vectors is None and not request.state_error:
                cached = CachedUser(resolved.context, vectors.select(slice(b, b + 1)))
                self.vector_cache.put(request.user_id, cached)


def _not_returned(snapshot: Snapshot, resolved: ResolvedRequest, preferences: Preferences) -> NDArray[np.int64]:
    """Return the item numbers that are not returned in any case: excluded by the request, or of a muted topic."""
    exclude = resolved.request.exclude
    excluded = snapshot.contexts.item_numbers(exclude) if exclude else NO_ITEMS
    muted = [snapshot.catalogue.index.items_of(topic) for topic in sorted(preferences.muted_topics)]
    return np.unique(np.concatenate([excluded, *muted])) if len(excluded) or muted else NO_ITEMS


def similar_items(release: Release, item_id: Id, n: int) -> list[SimilarItem] | None:
    """Return the items whose vectors have the largest inner products with the vector of an item.

    Args:
        release: the release to search.
        item_id: the item.
        n: number of items to return.

    Returns:
        The nearest items, nearest first, without the item itself; None if the release does not have the item.
    """
    number = np.array([release.item_names.number(item_id)])
    try:
        vector_1D = release.index.vectors(number)
    except UsageError:  # unknown, or removed
        return None
    hits = release.index.search(vector_1D, n, excluded=[number])
    known = [
        (release.item_names.name(item), score)
        for item, score in zip(hits.ids(0).tolist(), hits.scores(0).tolist(), strict=True)
        if item <= len(release.item_names)  # a shared index may hold items that were added after this snapshot
    ]
    return [SimilarItem(name.id, name.title, score, rank) for rank, (name, score) in enumerate(known, start=1)]
