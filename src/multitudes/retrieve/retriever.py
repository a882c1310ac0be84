"""From a release to recommendations: users of the data, people who are not in it, or everybody in batch."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import NamedTuple

import numpy as np

from multitudes.config import parse
from multitudes.errors import ArtefactError, UsageError
from multitudes.ids import Id
from multitudes.progress import Progress, silent
from multitudes.release.release import Release
from multitudes.retrieve.allocate import shares
from multitudes.retrieve.ask import Ask, Effort
from multitudes.retrieve.catalogue import Catalogue
from multitudes.retrieve.conditions import draw
from multitudes.retrieve.find import find
from multitudes.retrieve.people import Asked, People
from multitudes.retrieve.plan import RetrieveConfig, blended, completed, division
from multitudes.retrieve.present import Presenter
from multitudes.retrieve.recommendation import Recommendation
from multitudes.retrieve.tower import user_vectors

_USERS_AT_ONCE = 256
_LOOK_EVERY_S = 0.25
_AFTER_ERROR_S = 5.0


class _Serving(NamedTuple):
    """One state of a release with all that answers from it; a request is answered from one alone."""

    release: Release
    catalogue: Catalogue
    people: People
    presenter: Presenter

    @classmethod
    def of(cls, release: Release) -> "_Serving":
        """Make what answers from a release."""
        return cls(release, Catalogue(release.index, release.item_count), People(release), Presenter(release))


class Retriever:
    """Recommends from one release. Needs no torch.

    Items that come and go are seen within a second, without a restart; threads may share a retriever.
    """

    def __init__(self, release: Release, config: RetrieveConfig | None = None) -> None:
        published = parse(RetrieveConfig, release.manifest.retrieval, f"{release.path}/manifest.json: retrieval")
        self.config = completed(blended(config or published, published.blend), division(published))
        self._serving = _Serving.of(release)
        self._looking, self._look_again_s = Lock(), 0.0

    @property
    def release(self) -> Release:
        """What is served: the release with the items that came and went until now."""
        return self._current().release

    @property
    def catalogue(self) -> Catalogue:
        """The items that can be retrieved now."""
        return self._current().catalogue

    @classmethod
    def open(cls, path: str | Path, config: RetrieveConfig | None = None) -> "Retriever":
        """Open the current release of a folder of releases, or one version's own folder.

        Args:
            path: the folder.
            config: how to retrieve, in place of what was published with the release.

        Raises:
            ArtefactError: nothing is released there, or the release is damaged or of another version.
        """
        return cls(Release.open(path), config)

    def recommend(
        self,
        user_id: Id | None = None,
        *,
        history: Sequence[Id] | None = None,
        follows: Sequence[str] | None = None,
        n: int = 100,
        exclude: Sequence[Id] = (),
        request: str = "",
    ) -> Recommendation:
        """Recommend to a user of the data, or to somebody described by a history and followed topics.

        Args:
            user_id: a user of the data. One who is not known gets popular items, marked as degraded.
            history: item ids, newest last, in place of a user of the data.
            follows: topic names, in place of a user of the data.
            n: how many candidates.
            exclude: item ids that must not come back, beside those already seen.
            request: name of the request; decides which followed topics are drawn, so that it can be replayed.

        Raises:
            UsageError: neither or both of a user and a description are given, or ``n`` is below 1.
        """
        described = history is not None or follows is not None
        if described == (user_id is not None):
            raise UsageError("give either a user or a history and follows")
        serving = self._current()
        people = serving.people
        if user_id is None:
            asked = people.described(history or (), follows or ())
            return self._answer(serving, asked, n, exclude, request)[0]
        number = people.number(user_id)
        if number is None:
            nobody = people.described((), (), name=user_id)
            return self._answer(serving, nobody, n, exclude, request, f"user {user_id!r} is not in this release")[0]
        return self._answer(serving, people.known(np.array([number])), n, exclude, request)[0]

    def answer(self, asks: Sequence[Ask], *, effort: Effort = Effort.FULL) -> list[Recommendation]:
        """Answer several requests together, each as it would be alone: one call of the tower, one search.

        Raises:
            UsageError: a request cannot be answered; see ``Ask.check``.
        """
        del effort  # every request is answered in full for now
        for ask in asks:
            ask.check()
        return [
            self.recommend(
                ask.user_id, history=ask.history, follows=ask.follows, n=ask.n, exclude=ask.exclude, request=ask.request
            )
            for ask in asks
        ]

    def popular(self, ask: Ask, reason: str) -> Recommendation:
        """Answer with what is popular, without tower and search; ``reason`` says why, to whoever reads the answer."""
        ask.check()
        serving = self._current()
        nobody = serving.people.described((), (), name=ask.user_id)
        return self._answer(serving, nobody, ask.n, ask.exclude, ask.request, reason)[0]

    def recommend_all(
        self, *, n: int = 100, request: str = "", progress: Progress = silent
    ) -> Iterator[Recommendation]:
        """Recommend to every user of the release, in the order of their numbers, from the items that are there now.

        Raises:
            UsageError: ``n`` is below 1.
        """
        serving = self._current()
        n_users = serving.release.n_users
        for start in range(0, n_users, _USERS_AT_ONCE):
            user_B = np.arange(start, min(start + _USERS_AT_ONCE, n_users))
            yield from self._answer(serving, serving.people.known(user_B), n, (), request)
            progress(int(user_B[-1]) + 1, n_users)

    def _current(self) -> _Serving:
        """Return the newest state; looks for another at most a few times a second, and in one thread."""
        if monotonic() >= self._look_again_s and self._looking.acquire(blocking=False):
            try:
                self._look_again_s = monotonic() + _LOOK_EVERY_S
                release = self._serving.release.refreshed()
                if release is not self._serving.release:
                    self._serving = _Serving.of(release)
            except ArtefactError as error:  # who serves goes on with what is good; who opens is refused
                self._look_again_s = monotonic() + _AFTER_ERROR_S
                logging.getLogger(__name__).error("%s; serving without its changes", error)
            finally:
                self._looking.release()
        return self._serving

    def _answer(
        self, serving: _Serving, asked: Asked, n: int, exclude: Sequence[Id], request: str, unknown: str = ""
    ) -> list[Recommendation]:
        """Answer B users; ``unknown`` says why no vector may speak for them."""
        if n < 1:
            raise UsageError(f"{n} candidates were asked for; ask for at least 1")
        columns = serving.release.manifest.kinds.count("explicit")
        drawn = min(columns, self.config.topics_per_request)
        topic_BC = draw(asked.histories.follow_BF, drawn, self.config.seed, asked.user_B, request)
        topic_BC = np.pad(topic_BC, ((0, 0), (0, columns - drawn)))
        vectors = user_vectors(serving.release, asked.histories, topic_BC, asked.time_BL)
        if unknown:
            vectors = vectors._replace(mask_BK=np.zeros_like(vectors.mask_BK))
        excluded = serving.people.item_numbers(exclude)
        seen = [np.union1d(items, excluded) for items in asked.seen] if len(excluded) else asked.seen
        found = find(vectors, serving.catalogue, n, seen, self.config)
        share_BK = shares(vectors, self.config)
        return [
            serving.presenter.recommendation(
                asked, b, vectors, share_BK[b], some, f"{unknown}: popular items" if unknown else some.reason
            )
            for b, some in enumerate(found)
        ]
