"""From a release to recommendations: users of the data, people who are not in it, or everybody in batch.

Legend: B requests that are answered together.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.vectors import UserVectors
from multitudes.config import parse
from multitudes.ids import Id
from multitudes.progress import Progress, silent
from multitudes.release.release import Release
from multitudes.retrieve.ask import Ask, Effort
from multitudes.retrieve.batch import vectors_of
from multitudes.retrieve.cases import Case, case
from multitudes.retrieve.catalogue import Catalogue
from multitudes.retrieve.find import Candidates, find
from multitudes.retrieve.listed import Form, Listed, Lister
from multitudes.retrieve.plan import RetrieveConfig, blended, completed, division
from multitudes.retrieve.popular import popular
from multitudes.retrieve.recommendation import Recommendation
from multitudes.retrieve.remembered import Memory, Remembered
from multitudes.retrieve.serving import Newest, Serving
from multitudes.retrieve.shortfall import Shortfall
from multitudes.retrieve.stages import Stage, unmeasured
from multitudes.retrieve.wishes import Wishes, boosts, strongest, unmuted

_USERS_AT_ONCE = 256
_NOTHING = np.zeros(0, dtype=np.int64)
T = TypeVar("T")  # the form of an answer


class Retriever:
    """Recommends from one release. Needs no torch.

    Items that come and go are seen within a second, without a restart; threads may share a retriever.
    """

    def __init__(self, release: Release, config: RetrieveConfig | None = None, *, remember: int = 0) -> None:
        """Answer from ``release``.

        Args:
            release: what to answer from.
            config: how to retrieve, in place of what was published with the release.
            remember: the vectors of so many users are kept for ``Effort.CACHED``.
        """
        published = parse(RetrieveConfig, release.manifest.retrieval, f"{release.path}/manifest.json: retrieval")
        self.config = completed(blended(config or published, published.blend), division(published))
        self.remembered = Remembered(remember)
        self._newest = Newest(release)

    @property
    def release(self) -> Release:
        """What is served: the release with the items that came and went until now."""
        return self._newest().release

    @property
    def catalogue(self) -> Catalogue:
        """The items that can be retrieved now."""
        return self._newest().catalogue

    @classmethod
    def open(cls, path: str | Path, config: RetrieveConfig | None = None, *, remember: int = 0) -> "Retriever":
        """Open the current release of a folder of releases, or one version's own folder.

        Args:
            path: the folder.
            config: how to retrieve, in place of what was published with the release.
            remember: the vectors of so many users are kept for ``Effort.CACHED``.

        Raises:
            ArtefactError: nothing is released there, or the release is damaged or of another version.
        """
        return cls(Release.open(path), config, remember=remember)

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
        ask = Ask(user_id, history=history, follows=follows, n=n, exclude=exclude, request=request)
        return self.answer([ask])[0]

    def recommend_all(
        self, *, n: int = 100, request: str = "", progress: Progress = silent
    ) -> Iterator[Recommendation]:
        """Recommend to every user of the release, in the order of their numbers, from the items that are there now.

        Raises:
            UsageError: ``n`` is below 1.
        """
        serving = self._newest()
        users = serving.release.user_ids
        for start in range(0, len(users), _USERS_AT_ONCE):
            some = users[start : start + _USERS_AT_ONCE].to_list()
            asks = [Ask(user, n=n, request=request) for user in some]
            yield from self._answer(serving, serving.presenter, asks, Effort.FULL)
            progress(start + len(some), len(users))

    def answer(
        self, asks: Sequence[Ask], *, effort: Effort = Effort.FULL, stage: Stage = unmeasured
    ) -> list[Recommendation]:
        """Answer several requests together, each as it would be alone: one call of the tower, one search.

        Args:
            asks: the requests; those for equally many candidates share a search.
            effort: how much is done for each at most; less than full is said in the answer's ``reason``.
            stage: is told when each stage ends.

        Raises:
            UsageError: a request cannot be answered; see ``Ask.check``.
        """
        serving = self._newest()
        return self._answer(serving, serving.presenter, asks, effort, stage)

    def listed(self, asks: Sequence[Ask]) -> list[Listed]:
        """Answer several requests as ``answer`` does, in ids and numbers: for a program that asks for thousands.

        Raises:
            UsageError: a request cannot be answered; see ``Ask.check``.
        """
        serving = self._newest()
        return self._answer(serving, Lister(serving.release), asks, Effort.FULL)

    def popular(self, ask: Ask, short: Shortfall) -> Recommendation:
        """Answer with what is popular, without tower and search; ``short`` says why, to whoever reads the answer."""
        ask.check()
        serving = self._newest()
        found = self._case(serving, ask, Effort.FULL)
        if ask.stateless:  # what is outside of the retrieval comes first
            short = short._replace(cause="state")
        return self._popular(serving, serving.presenter, found._replace(effort=Effort.POPULAR, shortfalls=(short,)))

    def forget(self, user_id: Id) -> None:
        """Forget what is remembered of a user."""
        self.remembered.forget(user_id)

    def _answer(
        self, serving: Serving, form: Form[T], asks: Sequence[Ask], effort: Effort, stage: Stage = unmeasured
    ) -> list[T]:
        for ask in asks:
            ask.check()
        cases = [self._case(serving, ask, effort) for ask in asks]
        stage("people")
        spoken_for = [b for b, one in enumerate(cases) if one.effort < Effort.POPULAR]
        retrieved = self._retrieved(serving, form, [cases[b] for b in spoken_for], effort, stage)
        answers = dict(zip(spoken_for, retrieved, strict=True))
        return [answers[b] if b in answers else self._popular(serving, form, one) for b, one in enumerate(cases)]

    def _case(self, serving: Serving, ask: Ask, effort: Effort) -> Case:
        if ask.person is not None and ask.person.forgotten:
            self.forget(ask.person.user_id)
        return case(serving.people, ask, effort, self.remembered)

    def _retrieved(
        self, serving: Serving, form: Form[T], cases: Sequence[Case], effort: Effort, stage: Stage
    ) -> list[T]:
        """Answer those for whom vectors can speak."""
        if not cases:
            return []
        wishes = [Wishes.of(one.ask, serving.release) for one in cases]
        made = vectors_of(serving.release, cases, wishes, self.config)
        self._remember(cases, made)
        vectors, boost_BK = unmuted(made, wishes), boosts(made, wishes, self.config)
        if effort > Effort.FULL:
            vectors = strongest(vectors, self.config, boost_BK)
        stage("tower")
        left_out = [self._left_out(serving, *row) for row in zip(cases, wishes, strict=True)]
        n_B = np.array([one.ask.n for one in cases])
        found = self._found(serving.catalogue, vectors, boost_BK, n_B, left_out, stage)
        answers = [form.recommendation(one, b, vectors, found[b], wishes[b].unknown) for b, one in enumerate(cases)]
        stage("names")
        return answers

    def _found(
        self,
        catalogue: Catalogue,
        vectors: UserVectors,
        boost_BK: NDArray[np.float64] | None,
        n_B: NDArray[np.int64],
        left_out: list[NDArray[np.int64]],
        stage: Stage,
    ) -> list[Candidates]:
        """Search for all at once; those who ask for another number of candidates are searched for apart.

        (The best of more candidates are not the candidates that would have been best of fewer.)
        """
        found: dict[int, Candidates] = {}
        for n in np.unique(n_B).tolist():
            rows = np.flatnonzero(n_B == n)
            some = vectors if len(rows) == len(n_B) else vectors.rows(rows)
            boost = None if boost_BK is None else boost_BK[rows]
            lists = find(some, catalogue, n, [left_out[b] for b in rows], self.config, stage, boost)
            found |= zip(rows.tolist(), lists, strict=True)
        return [found[b] for b in range(len(n_B))]

    def _popular(self, serving: Serving, form: Form[T], one: Case) -> T:
        wishes = Wishes.of(one.ask, serving.release)
        item_N = popular(serving.catalogue, one.ask.n, self._left_out(serving, one, wishes))
        return form.popular(one, item_N, serving.catalogue.events(item_N), wishes.unknown)

    def _left_out(self, serving: Serving, one: Case, wishes: Wishes) -> NDArray[np.int64]:
        """Return the item numbers that must not come back: seen, excluded, or of a muted topic."""
        seen, exclude = one.asked.seen[0], one.ask.exclude
        excluded = serving.people.item_numbers(exclude) if exclude else _NOTHING
        muted = [serving.catalogue.index.items_of(topic) for topic in sorted(wishes.muted)]
        return np.unique(np.concatenate([seen, excluded, *muted])) if len(excluded) or muted else seen

    def _remember(self, cases: Sequence[Case], made: UserVectors) -> None:
        if not self.remembered.size:
            return
        for b, one in enumerate(cases):
            if one.ask.user_id is not None and one.vectors is None and not one.ask.stateless:
                self.remembered.keep(one.ask.user_id, Memory(one.asked, made.rows(slice(b, b + 1))))
