"""What the explorer shows of a release: the map of its items, its users, and a user with interests and candidates.

The answers are those of the retriever. Nothing is stored, and nothing is logged as served: nobody was recommended
anything. Other releases can be shown beside the one that serves; two of them are open at a time.

Legend: L history · K vectors · N candidates.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Final, NamedTuple
from weakref import ReferenceType, ref

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes import api
from multitudes.errors import ArtefactError, UsageError
from multitudes.ids import Id
from multitudes.index.item_table import select_topics
from multitudes.release.item_map import ItemMap, name_regions, open_item_map
from multitudes.release.release import Release
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.release_trial import ReleaseTrial
from multitudes.retrieval.request import Request
from multitudes.retrieval.response import Retrieval
from multitudes.retrieval.retriever import Retriever
from multitudes.state.protocol import Event, UserState

_MAX_TOPICS: Final = 1_000
_ROWS, _ROW_LENGTH = 5, 10
_ADDED: Final = "explorer-"  # begins the event ids of supposed events
_MAX_OPEN: Final = 2  # other releases: people look at two in turn


class Explorer:
    """Answers the questions of the explorer's page; safe for use by several threads."""

    def __init__(
        self,
        get_retriever: Callable[[], Retriever],
        is_hidden: Callable[[Id], bool] = lambda _: False,
        images: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Answer with the retriever of the moment; ``is_hidden``: whether a user asked to be erased; URLs of images."""
        self._get_retriever, self._is_hidden, self._images = get_retriever, is_hidden, images
        self._map: tuple[ReferenceType[Release], ItemMap] | None = None  # a release that no longer serves is freed
        self._opening = Lock()

    def map(self) -> api.ExploreMapResponse:
        """Return the map of the release that answers now."""
        retriever = self._get_retriever()
        release = retriever.release
        laid_out = self._item_map(release)
        topics = select_topics(release.item_topic_offset, release.item_topic, laid_out.item_S)
        regions = name_regions(laid_out.position_S2, topics, len(release.topics))
        return api.ExploreMapResponse(
            release=release.version,
            method=release.manifest.method,
            users=release.n_users,
            items=len(release.index),
            text_user_ids=not release.user_numbers.has_integer_ids,
            topics=tuple(release.topics[1 : _MAX_TOPICS + 1]),
            map=self._map_items(release, laid_out.item_S),
            regions=tuple(api.MapRegion(release.topics[topic], round(x, 4), round(y, 4)) for topic, x, y in regions),
            calibration=retriever.config.calibration or 0.0,
        )

    def draw_users(self, n: int, seed: int | None = None) -> list[Id]:
        """Return ``n`` users with a history, drawn by the seed (None: at random), or all if fewer, by user number.

        Users who are hidden are left out after the draw.
        """
        release = self._get_retriever().release
        with_history = np.flatnonzero(np.diff(release.event_offset) > 0)
        drawn = np.random.default_rng(seed).choice(with_history, min(n, len(with_history)), replace=False)
        return [user_id for user_id in release.user_ids[np.sort(drawn)].to_list() if not self._is_hidden(user_id)]

    def search_items(self, text: str, n: int) -> api.ExploreItemsResponse:
        """Return the items whose titles contain ``text``, or whose id it is, most popular first."""
        release, words = self._get_retriever().release, text.lower().strip()  # as ``to_lowercase`` below
        table = release.items.select(
            number=pl.int_range(1, pl.len() + 1),
            found=pl.col("title").fill_null("").str.to_lowercase().str.contains(words, literal=True)
            | (pl.col("item_id").cast(pl.String) == text.strip()),
        )
        found = table.filter("found")["number"].to_numpy() if words else np.zeros(0, dtype=np.int64)
        found = found[np.isin(found, release.index.ids())]
        best = found[np.argsort(-release.item_count[found], kind="stable")[:n]]
        return api.ExploreItemsResponse(self._map_items(release, best))

    def explore(
        self, request: api.ExploreRequest, user_state: UserState | None = None, state_error: str = ""
    ) -> api.ExploreResponse | None:
        """Return a user with history, interests and candidates; None if nothing is known of them, or they were erased.

        ``user_state`` is what a state store holds of the user, and ``state_error`` why it could not be read.
        """
        if request.user_id is not None and self._is_hidden(request.user_id):
            return None
        retriever = self._get_retriever()
        full = _retrieval_request(request, user_state, state_error, int(time.time()))
        requests = [full, replace(full, rows=_ROWS, n=_ROW_LENGTH), *_one_vector_requests(full, retriever.release)]
        snapshot = retriever.snapshot()
        retrieved = retriever.retrieve(snapshot, requests)
        recommendation, by_row, *rest = map(snapshot.recommendations.build, retrieved)
        release, context = snapshot.release, retrieved[0].resolved.context
        followed = [topic for topic in context.histories.follow_BF[0].tolist() if topic > 0]
        is_known = context.user >= 0 or context.histories.item_BL.any() or followed
        if request.user_id is not None and not is_known:
            return None
        item_N = release.item_names.numbers([candidate.item_id for candidate in recommendation.candidates])
        lists = [*(one.candidates for one in (recommendation, *rest)), *(row.candidates for row in by_row.rows)]
        shown = {str(candidate.item_id) for one in lists for candidate in one}
        return api.ExploreResponse(
            user_id=recommendation.user_id,
            release=recommendation.release,
            reason=recommendation.reason,
            followed_topics=tuple(release.topics[topic] for topic in followed),
            history=self._history(release, retrieved[0], request.added),
            interests=recommendation.interests,
            candidates=recommendation.candidates,
            map=self._map_items(release, item_N),
            one_vector=rest[0].candidates if rest else None,
            rows=by_row.rows,
            images={item: self._images[item] for item in shown & self._images.keys()},
        )

    def _history(self, release: Release, retrieval: Retrieval, added: Sequence[Id]) -> tuple[api.ExploredEvent, ...]:
        """Return the history, newest first, without items that the release does not know."""
        context, vectors = retrieval.resolved.context, retrieval.vectors
        item_L = context.histories.item_BL[0]
        interest_L = np.full(len(item_L), -1) if vectors is None else vectors.assignment_BL[0]
        time_BL = None if release.manifest.ordered_only else context.time_BL
        supposed = release.item_names.numbers(added).tolist()
        known, events = np.flatnonzero(item_L > 0), []
        for place, row in zip(self._map_items(release, item_L[known]), known.tolist(), strict=True):
            item, interest = int(item_L[row]), int(interest_L[row])
            is_added = item in supposed
            if is_added:  # an earlier event with the same item is one that happened
                supposed.remove(item)
            time_s = None if time_BL is None else int(time_BL[0, row])
            events.append(api.ExploredEvent(place, time_s, interest if interest >= 0 else None, is_added))
        return tuple(events)

    def _item_map(self, release: Release) -> ItemMap:
        """Return the map of a release, which is laid out once if the release has none."""
        with self._opening:
            if self._map is None or self._map[0]() is not release:
                self._map = ref(release), open_item_map(release)
            return self._map[1]

    def _map_items(self, release: Release, item_N: NDArray[np.int64]) -> tuple[api.MapItem, ...]:
        ids, titles = release.item_names.columns(item_N)
        position_N2 = self._item_map(release).positions(release.index, item_N)
        x_N, y_N = ([None if np.isnan(v) else round(v, 4) for v in column] for column in position_N2.T.tolist())
        return tuple(map(api.MapItem, ids, titles, x_N, y_N, release.item_count[item_N].tolist()))


def _retrieval_request(
    request: api.ExploreRequest, user_state: UserState | None, state_error: str, now_s: int
) -> Request:
    """Return the request to the retriever; supposed events end the history."""
    history = None if request.history is None else [*request.history, *request.added]
    if request.user_id is not None and request.added:
        state = user_state or UserState(request.user_id)
        events = tuple(
            Event(f"{_ADDED}{place}", request.user_id, item, now_s + place) for place, item in enumerate(request.added)
        )
        user_state = state._replace(events=(*state.events, *events))
    elif request.user_id is None and history is None:
        history = list(request.added)
    alike = ("user_id", "followed_topics", "n", "calibration", "mute_topics", "boost_topics")
    return Request(
        **{name: getattr(request, name) for name in (*alike, "mute_interests", "boost_interests")},
        history=history,
        request_id="explorer",  # the same topics are drawn at each change
        user_state=user_state,
        time_s=now_s if user_state is not None else None,
        state_error=state_error,
        interest_shares={one.number: one.share for one in request.interest_shares},
    )


def _one_vector_requests(request: Request, release: Release) -> list[Request]:
    """Return the same request for the vector of the whole history alone; nothing if the method has none."""
    kinds = release.manifest.kinds
    if "unconditioned" not in kinds:
        return []
    shares = {kinds.index("unconditioned"): 1.0}  # a mute of the others would take their tastes along
    return [replace(request, mute_interests=(), boost_interests=(), interest_shares=shares, calibration=0.0)]


class NamedExplorer(NamedTuple):
    """The explorer of a release, and how the page names the release."""

    name: str
    explorer: Explorer


class OtherReleases:
    """The other versions in the folder of the release that serves; the two that one thread opened last stay open."""

    def __init__(
        self,
        get_retriever: Callable[[], Retriever],
        beside: NamedExplorer | None = None,
        trial: ReleaseTrial | None = None,
        trust: Path | None = None,
    ) -> None:
        """Use the folder of the release that serves; ``beside`` stays open, others are opened after a trial."""
        self._get_retriever, self._beside = get_retriever, beside
        self._trial, self._trust = trial, trust
        self._opened: tuple[NamedExplorer, ...] = ()  # the newest last

    def names(self) -> tuple[str, ...]:
        """Return the names of the releases: the one that stays open, and then the versions, newest first."""
        given = () if self._beside is None else (self._beside.name,)
        return given + tuple(version for version in self._versions() if version not in given)

    def find(self, name: str) -> Explorer | None:
        """Return the explorer of a release; None if it is not open."""
        is_open = (one for one in (self._beside, *self._opened) if one is not None)
        return next((one.explorer for one in is_open if one.name == name), None)

    def open(self, name: str) -> Explorer:
        """Return the explorer of a release, which is opened if necessary, with its map; the oldest is closed for it.

        Raises:
            UsageError: there is no such release.
            ArtefactError: it is damaged, cannot answer, or no trusted key signed it.
        """
        found = self.find(name)
        if found is None:
            self._opened = self._opened[1 - _MAX_OPEN :]  # before the next is opened: each takes memory
            found = self._open_version(name)
            self._opened = (*self._opened, NamedExplorer(name, found))
        return found

    def close(self) -> None:
        """Free the versions that are open."""
        self._opened = ()

    def _open_version(self, name: str) -> Explorer:
        if name not in self._versions():
            known = ", ".join(self.names()) or "none"
            raise UsageError(f"no release {name!r:.80} to show beside the one that serves; there are: {known}")
        folder = self._get_retriever().release.path.parent / name
        try:
            if self._trial is not None:
                self._trial.run(folder)
            retriever = Retriever.open(folder, trust=self._trust)
        except ArtefactError as error:  # clients must not see paths of this machine
            raise ArtefactError(str(error).replace(str(folder), name)) from None
        explorer = Explorer(lambda: retriever)
        explorer.map()  # now, since laying it out takes long
        return explorer

    def _versions(self) -> list[str]:
        """Return the versions in the folder of the one that serves, without it, newest first."""
        serving = self._get_retriever().release.path
        try:
            versions = ReleaseStore(serving.parent.parent).versions()
        except ArtefactError:  # it is in no folder of releases
            return []
        return [version for version in reversed(versions) if version != serving.name]
