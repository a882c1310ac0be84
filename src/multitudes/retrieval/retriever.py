"""The retriever: from requests to recommendations, with one release.

A request passes through these steps, for all requests of a batch together:

1. ``resolved_request``, ``user_context``: the user's history, followed topics and seen items, with the numbers of the
   release.
2. ``user_vectors``: the vectors of the user's interests, from the user tower.
3. ``allocation``: the share of each vector and the part of each taste, as the request changes them.
4. ``search``: search the index, blend the lists of the vectors, fill up with popular items; ``repeats`` adds what the
   user returns to, and ``rows`` keeps a list for each interest, where a request asks for rows.
5. ``response``: names, titles and ids.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.api import SimilarItem, VectorsResponse
from multitudes.batches.histories import MAX_TOWER_TOPICS
from multitudes.batches.user_vectors import UserVectors
from multitudes.errors import ArtefactError, MissingError, MultitudesError, UnavailableError, UsageError, one_line
from multitudes.extras import missing_package
from multitudes.ids import Id
from multitudes.progress import Progress, silent
from multitudes.release.manifest import read_settings
from multitudes.release.release import Release
from multitudes.retrieval.allocation import apply_requests
from multitudes.retrieval.catalogue import Catalogue, popular_items
from multitudes.retrieval.config import RetrieveConfig, with_defaults
from multitudes.retrieval.neighbours import release_neighbours
from multitudes.retrieval.own_store import describe_vectors, found_lists
from multitudes.retrieval.repeats import RepeatSource
from multitudes.retrieval.request import Degradation, Request, Shortfall, time_shortfall
from multitudes.retrieval.resolved_request import CachedUser, ResolvedRequest, VectorCache, resolve_requests
from multitudes.retrieval.response import IdList, Recommendation, RecommendationBuilder, Retrieval
from multitudes.retrieval.rows import find_rows
from multitudes.retrieval.search import NO_ITEMS, Candidates, StageTimer, find_candidates, no_timing, popular_candidates
from multitudes.retrieval.user_context import UserContextBuilder
from multitudes.retrieval.user_vectors import vectors_for_requests

_USERS_PER_BATCH = 256
_REFRESH_INTERVAL_S = 0.25
_RETRY_AFTER_ERROR_S = 5.0
_WARM_USERS, _WARM_TOPICS = 8, 64  # more load nothing else


class Snapshot(NamedTuple):
    """A release with its item updates until some moment, and what answers from it. A request uses one."""

    release: Release
    catalogue: Catalogue
    contexts: UserContextBuilder
    recommendations: RecommendationBuilder
    repeats: RepeatSource | None

    @classmethod
    def from_release(cls, release: Release) -> "Snapshot":
        """Return the snapshot of a release."""
        neighbours = release_neighbours(release)
        catalogue = Catalogue(release.index, release.item_count, release.item_taste, neighbours)
        builders = UserContextBuilder(release), RecommendationBuilder(release, neighbours)
        return cls(release, catalogue, *builders, RepeatSource.from_release(release))


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
        self._snapshot = Snapshot.from_release(release)
        self._refreshing, self._next_refresh_s = Lock(), 0.0
        self.problem = ""  # why item updates are missing; empty if none is

    @property
    def release(self) -> Release:
        """The release with all item updates until now."""
        return self.snapshot().release

    @property
    def catalogue(self) -> Catalogue:
        """The items that can be retrieved now."""
        return self.snapshot().catalogue

    @classmethod
    def open(
        cls,
        path: str | Path,
        config: RetrieveConfig | None = None,
        *,
        cached_users: int = 0,
        trust: Path | None = None,
    ) -> "Retriever":
        """Open a release and return a retriever; without its item updates if they are damaged: ``problem`` names it.

        Args:
            path: a folder of releases, of which the current one is opened, or the folder of one version.
            config: settings of retrieval; by default those that were published with the release.
            cached_users: size of the cache of user vectors, for requests with ``Degradation.CACHED``.
            trust: a public key, or a folder of them, one of which must have signed the release; None: no signature is
                needed.

        Raises:
            ArtefactError: nothing is released there, the release is damaged or of another format version, or no
                trusted key signed it.
            UsageError, MissingError: ``trust`` holds no public key.
        """
        return cls(Release.open(path, trust=trust, updates=False), config, cached_users=cached_users)

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
            UsageError: neither or both of a user and a description are given, ``n``, ``rows`` or ``calibration`` is
                out of bounds, or an id is not of the type of those of the release.
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
        users = () if user_id is None else (user_id,)
        self.snapshot().release.check_id_types(users, (*(history or ()), *exclude))
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
        snapshot = self.snapshot()
        users = snapshot.release.user_ids
        for start in range(0, len(users), _USERS_PER_BATCH):
            batch = users[start : start + _USERS_PER_BATCH].to_list()
            requests = [Request(user, n=n, request_id=request_id) for user in batch]
            yield from map(snapshot.recommendations.build, self.retrieve(snapshot, requests, caches=True))
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
        snapshot = self.snapshot()
        retrieved = self.retrieve(snapshot, requests, degradation, timer, caches=True)
        answers = list(map(snapshot.recommendations.build, retrieved))
        timer("names")
        return answers

    def id_lists(self, requests: Sequence[Request]) -> list[IdList]:
        """Return a list for each of the requests, in their order: the candidates of ``answer`` as ids and arrays.

        For a program that sends thousands of requests.

        Raises:
            ArtefactError: the user tower does not fit the release.
        """
        snapshot = self.snapshot()
        return [IdList.build(snapshot.release, one) for one in self.retrieve(snapshot, requests)]

    def vectors(self, requests: Sequence[Request]) -> list[VectorsResponse]:
        """Return what a vector store with the items of the release searches with, for each request.

        ``answer`` makes the lists of what it found: send it the same requests with their ``found``.

        Args:
            requests: the requests, without rows.

        Returns:
            Of each request its vectors, how many items each is to find, and what to filter; no vectors of a user of
            whom nothing is known.

        Raises:
            ArtefactError: the user tower does not fit the release.
        """
        answers = self.answer([replace(request, vectors_only=True) for request in requests])
        return [one.search for one in answers if one.search is not None]

    def recommend_popular(self, request: Request, shortfall: Shortfall) -> Recommendation:
        """Answer a request with popular items, without the user tower and without a search; the shortfall says why."""
        snapshot = self.snapshot()
        (resolved,) = self._resolve(snapshot, [request], Degradation.NONE)
        if request.state_error:  # a cause outside of the retrieval comes first
            shortfall = shortfall._replace(cause="state")
        resolved = resolved._replace(degradation=Degradation.POPULAR, shortfalls=(shortfall,))
        return snapshot.recommendations.build(self._retrieve_popular(snapshot, resolved))

    def snapshot(self) -> Snapshot:
        """Return the latest snapshot; one thread looks for item updates, at most four times a second."""
        if monotonic() >= self._next_refresh_s and self._refreshing.acquire(blocking=False):
            try:
                self._next_refresh_s = monotonic() + _REFRESH_INTERVAL_S
                release = self._snapshot.release.latest()
                if release is not self._snapshot.release:
                    self._snapshot = Snapshot.from_release(release)
                self.problem = ""
            except (MultitudesError, OSError) as error:  # the snapshot stays usable
                self._next_refresh_s = monotonic() + _RETRY_AFTER_ERROR_S
                if str(error) != self.problem:
                    logging.getLogger(__name__).error("%s; serving without its changes", error)
                self.problem = str(error)
            finally:
                self._refreshing.release()
        return self._snapshot

    def _resolve(
        self, snapshot: Snapshot, requests: Sequence[Request], degradation: Degradation
    ) -> list[ResolvedRequest]:
        for one in requests:
            if one.user_state is not None and one.user_state.erased:
                self.vector_cache.remove(one.user_state.user_id)
        return resolve_requests(snapshot.contexts, requests, degradation, self.vector_cache)

    def retrieve(
        self,
        snapshot: Snapshot,
        requests: Sequence[Request],
        degradation: Degradation = Degradation.NONE,
        timer: StageTimer = no_timing,
        *,
        caches: bool = False,
    ) -> list[Retrieval]:
        """Return what is found for each of the requests, by a search, or popular items for an unknown user.

        Args:
            snapshot: what all answers come from.
            requests: the requests, in the order of what is returned.
            degradation: the least degradation of each answer.
            timer: called at the end of each stage.
            caches: cache the user vectors: no request supposes what its user did not do.

        Raises:
            ArtefactError: the user tower does not fit the release.
        """
        resolved = self._resolve(snapshot, requests, degradation)
        timer("users")
        searched = [one for one in resolved if one.degradation < Degradation.POPULAR]
        found = iter(self._search(snapshot, searched, degradation, timer, caches) if searched else ())
        return [
            next(found) if one.degradation < Degradation.POPULAR else self._retrieve_popular(snapshot, one)
            for one in resolved
        ]

    def _search(
        self,
        snapshot: Snapshot,
        requests: Sequence[ResolvedRequest],
        degradation: Degradation,
        timer: StageTimer,
        caches: bool,
    ) -> list[Retrieval]:
        """Search with the vectors of the users, once for all requests for the same number of candidates."""
        vectors = vectors_for_requests(snapshot.release, requests, self.config)
        if caches:  # before what this request asks of its list, which the next one may not
            self._cache_vectors(requests, vectors)
        vectors = apply_requests(vectors, requests, snapshot.catalogue, self.config, degradation)
        timer("tower")
        excluded = [self._excluded_items(snapshot, one) for one in requests]
        for b in [b for b, one in enumerate(requests) if one.preferences.muted_interests]:
            muted = _muted_by_name(snapshot, requests[b], vectors.select(slice(b, b + 1)))
            excluded[b] = np.union1d(excluded[b], muted)
        candidates = [popular_candidates(NO_ITEMS, NO_ITEMS, vectors.kinds)] * len(requests)
        groups: dict[tuple[int, bool], list[int]] = {}
        for b, one in enumerate(requests):
            if not one.request.vectors_only:
                groups.setdefault((one.request.n, one.request.found is not None), []).append(b)
        for (n, has_lists), members in groups.items():  # a longer list does not begin as a shorter one
            own = vectors if len(members) == len(requests) else vectors.select(np.array(members))
            left_out, found = [excluded[b] for b in members], [requests[b].request.found or () for b in members]
            lists = None
            if has_lists:
                lists = found_lists(snapshot.release, snapshot.catalogue, found, own, n, left_out, self.config)
            of_n = find_candidates(own, snapshot.catalogue, n, left_out, self.config, timer, lists=lists)
            for b, one_list in zip(members, of_n, strict=True):
                candidates[b] = one_list
        candidates = self._add_repeats(snapshot, requests, candidates)
        retrieved = []
        for b, resolved in enumerate(requests):
            own, rows_asked = vectors.select(slice(b, b + 1)), resolved.request.rows
            if rows_asked is not None:
                n, items = resolved.request.n, snapshot.catalogue
                candidates[b] = find_rows(candidates[b], own, items, rows_asked, n, excluded[b], self.config)
                timer("search")
            retrieved.append(self._as_asked(snapshot, Retrieval(resolved, candidates[b], own)))
        return retrieved

    def _retrieve_popular(self, snapshot: Snapshot, resolved: ResolvedRequest) -> Retrieval:
        item_N = popular_items(snapshot.catalogue, resolved.request.n, self._excluded_items(snapshot, resolved))
        kinds = snapshot.release.manifest.kinds
        popular = popular_candidates(item_N, snapshot.catalogue.user_counts(item_N), kinds)
        (candidates,) = self._add_repeats(snapshot, [resolved], [popular])
        return self._as_asked(snapshot, Retrieval(resolved, candidates))

    def _as_asked(self, snapshot: Snapshot, retrieved: Retrieval) -> Retrieval:
        """Add what a store searches with, where a request asks for that."""
        resolved, release = retrieved.resolved, snapshot.release
        if not resolved.request.vectors_only:
            return retrieved
        unmuted = resolved._replace(preferences=resolved.preferences._replace(muted_topics=frozenset()))
        excluded = self._excluded_items(snapshot, unmuted)  # a store filters a topic by its name
        search = describe_vectors(release, resolved, retrieved.vectors, excluded, self.config)
        return retrieved._replace(search=search)

    def _add_repeats(
        self, snapshot: Snapshot, requests: Sequence[ResolvedRequest], found: list[Candidates]
    ) -> list[Candidates]:
        """Give own items their places in the lists of requests that allow seen items."""
        rows = [b for b, one in enumerate(requests) if self._has_repeats(snapshot, one)]
        if not rows or snapshot.repeats is None:
            return found
        with_repeats = snapshot.repeats.add_repeats(
            [found[b] for b in rows],
            [requests[b].context.own for b in rows],
            [requests[b].request.n for b in rows],
            [_not_returned(snapshot, requests[b]) for b in rows],
            snapshot.catalogue,
        )
        merged = dict(zip(rows, with_repeats, strict=True))
        return [merged.get(b, candidates) for b, candidates in enumerate(found)]

    def _allows_seen(self, resolved: ResolvedRequest) -> bool:
        exclude_seen = resolved.request.exclude_seen
        return not (self.config.exclude_seen if exclude_seen is None else exclude_seen)

    def _has_repeats(self, snapshot: Snapshot, resolved: ResolvedRequest) -> bool:
        """Return whether own items join the list: seen items are allowed, and have a source of their own."""
        return self._allows_seen(resolved) and snapshot.repeats is not None and resolved.request.rows is None

    def _excluded_items(self, snapshot: Snapshot, resolved: ResolvedRequest) -> NDArray[np.int64]:
        """Return the items that a search does not return: with the seen ones, unless it is to find those."""
        seen, others = resolved.context.seen, _not_returned(snapshot, resolved)
        if self._allows_seen(resolved) and not self._has_repeats(snapshot, resolved):
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


def _not_returned(snapshot: Snapshot, resolved: ResolvedRequest) -> NDArray[np.int64]:
    """Return the item numbers that are not returned in any case: excluded by the request, or of a muted topic."""
    exclude = resolved.request.exclude
    excluded = snapshot.release.item_names.numbers(exclude) if exclude else NO_ITEMS
    muted = [snapshot.catalogue.index.items_of(topic) for topic in sorted(resolved.preferences.muted_topics)]
    return np.unique(np.concatenate([excluded, *muted])) if len(excluded) or muted else NO_ITEMS


def _muted_by_name(snapshot: Snapshot, one: ResolvedRequest, vectors: UserVectors) -> NDArray[np.int64]:
    """Return the items that have all topics in the name of an implicit interest that a request mutes."""
    items_of, item_BL = snapshot.catalogue.index.items_of, one.context.histories.item_BL
    named = snapshot.recommendations.namer.topics_in_names(vectors, item_BL, one.preferences.muted_interests)
    return np.concatenate([NO_ITEMS, *(reduce(np.intersect1d, map(items_of, topics)) for topics in named)])


def warm_up(retriever: Retriever) -> None:
    """Answer a few requests, so that everything that is loaded or computed on first use is ready.

    Afterwards the release does not read its folder any more: the folder may be deleted while the release serves.

    Raises:
        ArtefactError: the release cannot answer: it is damaged, or its files do not fit together.
        MissingError: a package that its method needs is not installed.
        UnavailableError: the server of its index does not answer.
    """
    try:
        _answer_requests(retriever)
    except (ArtefactError, MissingError, UnavailableError):
        raise
    except ModuleNotFoundError as error:
        raise missing_package(error) from None
    except Exception as error:  # whatever a damaged release raises
        path, repair = retriever.release.path, "publish the run again"
        raise ArtefactError(f"{path}: cannot answer a request ({one_line(error)}); {repair}") from error


def _answer_requests(retriever: Retriever) -> None:
    release = retriever.release
    _ = release.identity, release.user_numbers, release.item_names.number(0)
    users = np.unique(np.linspace(0, max(0, release.n_users - 1), _WARM_USERS).astype(np.int64))[: release.n_users]
    for number in users.tolist():
        request = Request(release.user_ids[number], state_error="warming")
        retriever.recommend_popular(request, time_shortfall("popular items"))
        retriever.answer([request])
    topics = release.topics[1:_WARM_TOPICS]
    step = max(1, min(MAX_TOWER_TOPICS, retriever.config.topics_per_request))
    for start in range(0, len(topics), step):
        retriever.recommend(followed_topics=topics[start : start + step])


def similar_items(release: Release, item_id: Id, n: int) -> list[SimilarItem] | None:
    """Return the ``n`` items whose vectors have the largest inner products with that of an item, nearest first.

    The item itself is not among them; None if the release does not have it.
    """
    number = np.array([release.item_names.number(item_id)])
    try:
        vector_1D = release.index.vectors(number)
    except UsageError:  # unknown, or removed
        return None
    hits = release.index.search(vector_1D, n, excluded=[number])
    number_N, score_N, names = hits.ids(0), hits.scores(0), release.item_names
    known_N = number_N <= len(names)  # a shared index may hold items that were added after this snapshot
    found = zip(*names.columns(number_N[known_N]), score_N[known_N].tolist(), strict=True)
    return [SimilarItem(*one, rank) for rank, one in enumerate(found, start=1)]
