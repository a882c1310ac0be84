"""After any history of changes, an index answers like one built from its current items."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from multitudes.errors import UsageError
from multitudes.index.exact import ExactIndex
from multitudes.index.factory import load_index
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import ANY_TOPIC, Topics
from tests.index import worlds
from tests.index.worlds import World, csr, latent, plain_world

D = 3
ids_of_a_batch = st.lists(st.integers(0, 30), unique=True, max_size=8)


def small(n: int = 40) -> tuple[LiveIndex, World]:
    """Return a live index of n items with topics 1 to 3, and its world."""
    rng = np.random.default_rng(4)
    world = plain_world(latent(rng, n, 8), latent(rng, 5, 8), n, [[1 + i % 3] for i in range(n)])
    return LiveIndex(ExactIndex.build(world.ids, world.vectors_nD, topics=world.topics())), world


class AnyHistory(RuleBasedStateMachine):
    """A live index beside a dictionary that says what it has to hold."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(0)
        self.held: dict[int, tuple[np.ndarray, list[int]]] = {i: (np.ones(D, np.float32) * i, [1]) for i in range(6)}
        ids, vectors_nD, topics = self.columns()
        self.index = LiveIndex(ExactIndex.build(ids, vectors_nD, topics=csr(topics)))

    def columns(self) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
        ids = np.array(sorted(self.held), dtype=np.int64)
        vectors_nD = np.array([self.held[i][0] for i in ids.tolist()], dtype=np.float32).reshape(len(ids), D)
        return ids, vectors_nD, [self.held[i][1] for i in ids.tolist()]

    @rule(ids=ids_of_a_batch, seed=st.integers(0, 99))
    def add(self, ids: list[int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        vectors_nD = worlds.whole_numbers(rng, len(ids), D)
        topics = [rng.integers(1, 4, rng.integers(3)).tolist() for _ in ids]
        self.index.add(np.array(ids, dtype=np.int64), vectors_nD, csr(topics))
        self.held |= {i: (v, t) for i, v, t in zip(ids, vectors_nD, topics, strict=True)}

    @rule(ids=ids_of_a_batch)
    def remove(self, ids: list[int]) -> None:
        known = [i for i in ids if i in self.held]
        if len(known) < len(ids):
            with pytest.raises(UsageError, match="is not in the index"):
                self.index.remove(ids)
        self.index.remove(np.array(known, dtype=np.int64))
        self.held = {i: item for i, item in self.held.items() if i not in known}

    @invariant()
    def answers_as_what_is_left(self) -> None:
        ids, vectors_nD, topics = self.columns()
        query_QD = worlds.whole_numbers(self.rng, 4, D)
        nothing = np.zeros(0, np.int64)
        world = World(
            ids, vectors_nD, topics, query_QD, np.array([50, 3, 5, 0]), [nothing, ids[:4], nothing, nothing],
            np.array([ANY_TOPIC, ANY_TOPIC, 2, 1]),
        )  # fmt: skip
        if len(ids):
            worlds.check_contents(self.index, world)
            worlds.check_answers(self.index, world)
            worlds.check_ranking(self.index, world)
        else:
            assert (worlds.ask(self.index, world).count_Q == 0).all()
            assert len(self.index) == len(self.index.ids()) == 0


AnyHistory.TestCase.settings = settings(max_examples=15, stateful_step_count=10, deadline=None)
TestAnyHistory = AnyHistory.TestCase


def test_changes_are_counted():
    index, _ = small()
    index.add([7, 100, 101], np.ones((3, 8)))
    index.remove([3, 101])
    told = index.info()
    assert (told["items"], told["added"], told["replaced"], told["removed"]) == (40, 1, 1, 1)
    index.add([3], np.ones((1, 8)))
    assert index.info()["removed"] == 0


def test_a_thousand_single_additions_leave_few_layers_and_copy_each_item_a_few_times(monkeypatch: pytest.MonkeyPatch):
    index, _ = small()
    copied: list[int] = []
    build = ExactIndex.build

    def counted(ids: np.ndarray, vectors: np.ndarray, topics: Topics | None = None) -> ExactIndex:
        copied.append(len(ids))
        return build(ids, vectors, topics)

    monkeypatch.setattr(ExactIndex, "build", counted)  # a large segment is never built again
    most = 0
    for i in range(1_000):
        index.add([1_000 + i], np.full((1, 8), i))
        most = max(most, len(index._layers))
    assert len(index) == 1_040
    assert most <= 7
    assert sum(copied) < 30 * 1_000, "one copy of all for each addition would be 500,000"


@pytest.mark.parametrize("change", ["added", "removed"])
def test_an_index_with_changes_is_not_saved(change: str, tmp_path: Path):
    index, _ = small()
    index.save(tmp_path)
    assert len(load_index(tmp_path)) == 40
    if change == "added":
        index.add([200], np.ones((1, 8)))
    else:
        index.remove([0])
    with pytest.raises(UsageError, match=f"'{change}': 1"):
        index.save(tmp_path)
    assert len(load_index(tmp_path)) == 40
