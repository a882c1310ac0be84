"""Invalid input is rejected in one line and changes nothing; a damaged file never gives an answer."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multitudes.errors import ArtefactError, DataError, UsageError
from multitudes.index import approximate, files
from multitudes.index.exact import ExactIndex
from multitudes.index.factory import load_index
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Topics
from tests.index import worlds
from tests.index.worlds import World, ask, csr, latent, plain_world

D = 4
EYE = np.eye(2, D)
ENGINES: list[Any] = [ExactIndex, approximate]
engines = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.__name__)


def world(seed: int = 0) -> World:
    rng = np.random.default_rng(seed)
    return plain_world(latent(rng, 60, D), latent(rng, 5, D), 60, [[1 + i % 3] for i in range(60)])


def small(engine: Any, seed: int = 0, changes: bool = True) -> LiveIndex:
    """Return a live index that went through every kind of change."""
    it = world(seed)
    index = LiveIndex(engine.build(it.ids, it.vectors_nD, it.topics()))
    if changes:
        index.add(np.arange(58, 70), np.random.default_rng(seed + 1).standard_normal((12, D)), csr([[2]] * 12))
        index.remove([0, 69])
    return index


BAD_ITEMS = {
    "not a number": ([1, 2], EYE + np.array([[np.nan], [0]]), None, "not finite"),
    "infinite": ([1, 2], EYE - np.array([[np.inf], [0]]), None, "not finite"),
    "infinite after the cast": ([1, 2], EYE + np.array([[1e39], [0]]), None, "not finite"),
    "a score with itself overflows": ([1, 2], EYE + np.array([[1e30], [0]]), None, "longer than 1e19"),
    "words for numbers": ([1, 2], np.array([["1"] * D] * 2), None, "vectors are <U1"),
    "objects": ([1, 2], np.array([[None] * D] * 2), None, "vectors are object"),
    "complex numbers": ([1, 2], EYE * 1j, None, "vectors are complex128"),
    "one row": ([1, 2], np.ones(2), None, "expected a matrix"),
    "a cube": ([1, 2], np.ones((2, D, 1)), None, "expected a matrix"),
    "an id twice": ([7, 7], EYE, None, "id 7 is given twice"),
    "fewer ids": ([1], EYE, None, "1 ids, 2 vectors"),
    "ids of floats": ([1.0, 2.0], EYE, None, "expected integers"),
    "ids of words": (["a", "b"], EYE, None, "expected integers"),
    "ids that are objects": (np.array([2**70, 1], dtype=object), EYE, None, "expected integers"),
    "ids beyond 63 bits": (np.array([2**63, 1], dtype=np.uint64), EYE, None, "too large"),
    "a matrix of ids": ([[1], [2]], EYE, None, "expected integers"),
    "topics of other items": ([1, 2], EYE, csr([[1]]), "expected 2 items"),
    "topics that end early": ([1, 2], EYE, Topics(np.array([0, 1, 5]), np.array([1, 1])), "expected 2 items"),
    "topics that go back": ([1, 2], EYE, Topics(np.array([0, 2, 1]), np.array([1])), "expected 2 items"),
    "topic 0": ([1, 2], EYE, csr([[0], [1]]), "numbered from 1"),
    "topics of floats": ([1, 2], EYE, Topics(np.array([0, 1, 2]), np.array([1.5, 2.0])), "topics are float64"),
}
bad_items = pytest.mark.parametrize(("ids", "vectors", "topics", "message"), BAD_ITEMS.values(), ids=BAD_ITEMS.keys())


@engines
@bad_items
def test_a_build_rejects_invalid_items(engine: Any, ids: Any, vectors: Any, topics: Any, message: str):
    engine.build(np.array([1, 2], np.int32), EYE, csr([[1], [2]]))  # the control: float64 and int32 are taken
    with pytest.raises(DataError, match=message):
        engine.build(ids, vectors, topics)


@bad_items
def test_a_rejected_addition_changes_nothing(ids: Any, vectors: Any, topics: Any, message: str):
    index, before = small(ExactIndex), small(ExactIndex)
    with pytest.raises(DataError, match=message):
        index.add(ids, vectors, topics)
    check_equal(index, before)
    index.add([1, 2], EYE, csr([[1], [2]]))  # the control: what is taken does change it
    with pytest.raises(AssertionError):
        check_equal(index, before)


def check_equal(index: LiveIndex, other: LiveIndex) -> None:
    assert worlds.identical(ask(index, world()), ask(other, world()))
    assert index.info() == other.info()
    assert [index.items_of(t).tolist() for t in range(4)] == [other.items_of(t).tolist() for t in range(4)]


def test_an_addition_of_another_width_is_rejected_with_both_widths():
    index, before = small(ExactIndex), small(ExactIndex)
    with pytest.raises(DataError, match="have 5 dimensions; the index holds 4"):
        index.add([1, 2], np.eye(2, 5))
    check_equal(index, before)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([5, 999], UsageError, "id 999 is not in the index of 70 items"),
        ([5, 0], UsageError, "id 0 is not in the index"),  # it was removed before
        ([5, 69], UsageError, "id 69 is not in the index"),  # it was added and removed
        ([5.0], DataError, "expected integers"),
        (["5"], DataError, "expected integers"),
        (np.array([2**64 - 1], dtype=np.uint64), DataError, "too large"),  # not -1
    ],
)
def test_a_rejected_removal_changes_nothing(ids: Any, error: type[Exception], message: str):
    index, before = small(ExactIndex), small(ExactIndex)
    index.add([-1, -2], EYE)
    before.add([-1, -2], EYE)
    with pytest.raises(error, match=message):
        index.remove(ids)
    check_equal(index, before)


@engines
def test_invalid_queries_are_rejected(engine: Any):
    index = small(engine)
    good = np.ones((2, D), np.float32)
    index.search(good.astype(np.float64), 1)  # the control
    for query, error, message in [
        (np.ones((2, D - 1)), UsageError, "3 dimensions; the index holds 4"),
        (good * np.nan, DataError, "vector of a query"),
        (good * np.inf, DataError, "vector of a query"),
        (good.astype(np.float64) * 1e39, DataError, "vector of a query"),
        (good.astype(str), DataError, "vectors are <U"),
        (np.ones(D), DataError, "expected a matrix"),
    ]:
        with pytest.raises(error, match=message):
            index.search(query, 1)
    with pytest.raises(UsageError, match="1 exclusions for 2 queries"):
        index.search(good, 1, excluded=[np.array([1])])
    index.search(good, 1, excluded=[np.array([]), np.array([1], np.int32)])  # the control
    for ids in (np.array([1.0]), np.array(["1"]), np.array([[1]])):
        with pytest.raises(UsageError, match=r"an exclusion is .* give a row of integer ids"):
            index.search(good, 1, excluded=[np.array([2]), ids])
    with pytest.raises(UsageError, match="3 limits for 2 queries"):
        index.search(good, np.array([1, 2, 3]))
    with pytest.raises(UsageError, match="limits are float64"):
        index.search(good, np.array([1.5, 2.0]))
    with pytest.raises(UsageError, match="1 topics for 2 queries"):
        index.search(good, 1, topic_Q=np.array([1]))
    with pytest.raises(UsageError, match="topics are float64"):
        index.search(good, 1, topic_Q=np.array([1.0, 2.0]))
    with pytest.raises(UsageError, match="id 999 is not in the index"):
        index.vectors(np.array([1, 999]))
    with pytest.raises(UsageError, match="id 69 is not in the index"):
        index.vectors(np.array([1, 69]))
    with pytest.raises(DataError, match="expected integers"):
        index.vectors(np.array([1.5]))


# Files


def flipped(whole: bytes) -> Iterator[bytes]:
    """Yield copies with one byte changed: at both ends, in the middle, and at places between."""
    for place in sorted({0, len(whole) - 1, *(len(whole) * i // 16 for i in range(16))}):
        yield whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :]


def cut(whole: bytes) -> Iterator[bytes]:
    """Yield copies that end early, or late."""
    yield from (whole[:-2], whole[: len(whole) // 2], b"", whole + b"\0")


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.__name__)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Give the folders of two indexes of one kind, and see afterwards that the first is whole again."""
    for name, seed in (("index", 0), ("other", 5)):
        (tmp_path / name).mkdir()
        small(request.param, seed, changes=False).save(tmp_path / name)
    before = ask(load_index(tmp_path / "index"), world())
    yield tmp_path / "index", tmp_path / "other"
    assert worlds.identical(ask(load_index(tmp_path / "index"), world()), before)


@pytest.mark.parametrize("damage", [flipped, cut])
def test_a_damaged_file_is_rejected_by_name(saved: tuple[Path, Path], damage: Callable[[bytes], Iterator[bytes]]):
    for file in sorted(saved[0].iterdir()):
        whole = file.read_bytes()
        for damaged in damage(whole):
            file.write_bytes(damaged)
            with pytest.raises(ArtefactError, match=file.name):
                load_index(saved[0])
        file.write_bytes(whole)


def test_an_incomplete_or_foreign_index_is_rejected_by_name(saved: tuple[Path, Path]):
    index, other = saved
    for file in sorted(index.iterdir()):
        whole, others = file.read_bytes(), (other / file.name).read_bytes()
        if whole == others:
            continue  # the ids and topics of both are the same
        file.write_bytes(others)
        with pytest.raises(ArtefactError, match="npy|faiss" if file.name == files.DESCRIPTION else file.name):
            load_index(index)
        file.write_bytes(whole)
    for file in sorted(saved[0].iterdir()):
        whole = file.read_bytes()
        file.unlink()
        with pytest.raises(ArtefactError, match=f"{file.name}: missing"):
            load_index(saved[0])
        file.write_bytes(whole)


@pytest.mark.parametrize("version", [files.FORMAT_VERSION - 1, files.FORMAT_VERSION + 1])
def test_another_format_is_rejected_with_both_versions(saved: tuple[Path, Path], version: int):
    description = saved[0] / files.DESCRIPTION
    whole = description.read_text()
    description.write_text(json.dumps(json.loads(whole) | {"version": version}))
    expected = f"index.json: multitudes-index version {version}; expected multitudes-index version"
    with pytest.raises(ArtefactError, match=expected):
        load_index(saved[0])
    description.write_text(whole)
