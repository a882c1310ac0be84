"""Files that were changed, with checksums made anew, are refused in one line that names the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest

from multitudes.cli.main import run
from multitudes.errors import ArtefactError
from multitudes.index import approximate, files
from multitudes.index.factory import load_index
from multitudes.index.live import LiveIndex
from multitudes.release import checks, manifest
from multitudes.release.release import Release
from multitudes.retrieval.retriever import Retriever
from tests.release.small_release import ITEM_VECTORS, TOPICS, publish_small, user_tower

REPEATS = {"item_weights": [0.0] * 7, "share_weights": [0.0] * 3, "hit_rate": 0.5, "depth": 10, "exponent": 0.5}
Damage = Callable[[np.ndarray], np.ndarray]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    publish_small(tmp_path, repeats=REPEATS, positive_actions=("view",))
    return tmp_path / "versions" / "0001"


def sign(folder: Path, **changes: Any) -> None:
    """Make all checksums anew, as somebody would who changes a release on purpose."""
    index = {name: value for name, value in read(folder / "index" / "index.json").items() if name != "xxh3"}
    info = {name: value for name, value in index.items() if name not in {"format", "version", "files"}}
    files.write_description(folder / "index", info)
    manifest.write_manifest(folder, manifest.read_manifest(folder).model_copy(update=changes))


def read(file: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(file.read_text())
    return record


def refused(folder: Path, match: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Expect one line and exit code 4 of opening and of ``doctor``."""
    with pytest.raises(ArtefactError, match=match) as caught:
        Release.open(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert run(["recommend", str(folder), "--user", "ann"]) == 4
    assert run(["doctor", str(folder.parent.parent)]) == 4
    assert "ok serving" not in " ".join(capsys.readouterr().out.split())


def at(place: int, value: object) -> Damage:
    def damage(array: np.ndarray) -> np.ndarray:
        array[place] = value
        return array

    return damage


ARRAY_DAMAGES: list[tuple[str, Damage]] = [
    *((f"{name}_offset", lambda array: array[::-1]) for name in ("item_topic", "event", "seen", "follow", "own")),
    *((f"{name}_offset", at(1, 10**6)) for name in ("item_topic", "event", "seen", "follow", "own")),
    *((f"{name}_offset", lambda array: array[:-1]) for name in ("item_topic", "seen", "follow", "own")),
    *((f"{name}_offset", lambda array: array + 1) for name in ("event", "seen")),
    *((name, lambda array: array[:-1]) for name in ("item_input", "item_count", "item_usable", "item_topic")),
    *((name, lambda array: array[:-1]) for name in ("event_item", "event_time", "event_action", "event_valid")),
    *((name, lambda array: array[:-1]) for name in ("seen_item", "follow_topic", "user_feature", "own_item")),
    *((name, lambda array: array[:-1]) for name in ("own_count", "own_newest", "own_oldest")),
    *((name, at(0, 21)) for name in ("event_item", "seen_item", "own_item", "item_topic")),
    *((name, at(0, -1)) for name in ("event_item", "seen_item", "own_item", "item_topic", "item_count")),
    *((name, at(0, -1)) for name in ("follow_topic", "own_count", "own_newest", "own_oldest")),
    *((name, at(0, 3)) for name in ("follow_topic", "event_action")),
    *((name, at(0, np.nan)) for name in ("item_input", "item_repeat_rate")),
    *((name, lambda array: array[None]) for name in ("item_input", "item_count", "seen_item", "item_repeat_rate")),
    *((name, lambda array: array.astype(np.float64)) for name in ("item_input", "event_offset", "own_count")),
    ("item_repeat_rate", lambda array: np.concatenate([array, array])),
    *((name, lambda array: array[:0]) for name in ("item_count", "event_offset", "item_repeat_rate")),
]


@pytest.mark.parametrize(("name", "damage"), ARRAY_DAMAGES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(ARRAY_DAMAGES)])
def test_a_damaged_array_is_refused_by_name(name: str, damage: Damage, folder: Path, capsys):
    Release.open(folder)  # the control
    file = folder / f"{name}.npy"
    np.save(file, damage(np.load(file)))
    sign(folder)
    refused(folder, r"\.npy: |\.arrow: |manifest.json: counts", capsys)


INDEX_DAMAGES: list[tuple[str, Damage]] = [
    ("ids", lambda array: array[::-1]),
    ("ids", lambda array: array + 1),
    ("ids", lambda array: array.astype(np.int32)),
    ("ids", lambda array: array[:-1]),
    ("vectors", at(3, np.nan)),
    ("vectors", at(3, 1e30)),
    ("vectors", lambda array: array[:, 0]),
    ("vectors", lambda array: array[:0]),
    ("topics", lambda array: array[::-1]),
    ("topic_offset", lambda array: array[::-1]),
    ("topic_offset", lambda array: array[:-1]),
    ("topic_row", at(0, 20)),
    ("topic_row", at(0, -1)),
]


@pytest.mark.parametrize(("name", "damage"), INDEX_DAMAGES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(INDEX_DAMAGES)])
def test_a_damaged_array_of_the_index_is_refused(name: str, damage: Damage, folder: Path, capsys):
    file = folder / "index" / f"{name}.npy"
    np.save(file, damage(np.load(file)))
    sign(folder)
    refused(folder, "index", capsys)


@pytest.mark.parametrize("name", ["users.arrow", "items.arrow", "topics.arrow"])
def test_names_that_lead_out_of_their_file_are_refused_or_harmless(folder, name):
    whole, opened = (folder / name).read_bytes(), 0
    for seed in range(100):
        rng, changed = np.random.default_rng(seed), bytearray(whole)
        for place in rng.integers(len(whole), size=3):
            changed[place] ^= 1 << int(rng.integers(8))
        (folder / name).write_bytes(changed)
        sign(folder)
        try:
            release = Release.open(folder)
        except ArtefactError:
            continue
        opened += 1
        assert release.items.rows()
        assert release.user_ids.to_list()
        assert release.topics
    assert 0 < opened < 100


@pytest.mark.parametrize("file", ["users.arrow", "items.arrow", "topics.arrow"])
def test_names_that_do_not_fit_are_refused(file: str, folder: Path, capsys):
    table = pl.read_ipc(folder / file)
    for damaged in (
        table[:-1],
        table.rename({table.columns[0]: "name"}),
        table.select(pl.lit(0.5).alias(table.columns[0])),
    ):
        damaged.write_ipc(folder / file)
        sign(folder)
        refused(folder, file if damaged.height != 1 else f"{file}|counts", capsys)
    (folder / file).write_bytes(b"PAR1")
    sign(folder)
    refused(folder, f"{file}: not an Arrow file", capsys)


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": {}},
        {"counts": {"users": 3, "items": 2_000_000_000, "topics": 2}},
        {"default_action": 9},
        {"kinds": ()},
        {"kinds": ("unconditioned",)},
        {"history_length": 10**6},
        {"retrieval": {"blend": "sideways"}},
        {"repeats": {}},
        {"index": {"tuning": {"promise": {}}}},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_a_manifest_that_does_not_fit_is_refused(changes: dict[str, Any], folder: Path, capsys):
    assert run(["doctor", str(folder.parent.parent)]) == 0, "control"
    capsys.readouterr()
    sign(folder, **changes)
    assert run(["doctor", str(folder.parent.parent)]) == 4
    assert "ok serving" not in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "name", ["seen_item.npy", "users.arrow", "user_tower.onnx", "item_tower.onnx", "index/index.json"]
)
def test_no_file_is_read_without_a_checksum(name: str, folder: Path, capsys):
    record = read(folder / "manifest.json")
    for listed in ({}, {other: entry for other, entry in record["files"].items() if other != name}):
        changed = {key: value for key, value in record.items() if key != "xxh3"} | {"files": listed}
        changed["xxh3"] = files.record_checksum(changed)
        (folder / "manifest.json").write_text(json.dumps(changed))
        refused(folder, "manifest.json: has no checksum of ", capsys)


def test_no_file_of_an_index_is_read_without_a_checksum(folder: Path, capsys):
    description = folder / "index" / "index.json"
    record = {key: value for key, value in read(description).items() if key != "xxh3"}
    changes: list[dict[str, Any]] = [{"files": {}}, {"files": []}, {"files": {"ids.npy": {}}}, {"kind": 3}]
    for change in changes:
        changed = record | change
        description.write_text(json.dumps(changed | {"xxh3": files.record_checksum(changed)}))
        manifest.write_manifest(folder, manifest.read_manifest(folder))
        refused(folder, r"index.json: (has no checksum of ids.npy|damaged)", capsys)


def test_an_approximate_index_fits_its_vectors_and_its_tuning(tmp_path: Path):
    index = LiveIndex(approximate.build(np.arange(1, 21), ITEM_VECTORS, TOPICS))
    index.save(tmp_path)
    info = {name: value for name, value in read(tmp_path / "index.json").items() if name not in {"xxh3", "files"}}
    tunings: list[dict[str, Any]] = [{}, info["tuning"] | {"levels": [{"depth": "deep"}]}]
    for tuning in tunings:
        files.write_description(tmp_path, info | {"tuning": tuning})
        with pytest.raises(ArtefactError, match=r"index.json: 'tuning' is damaged"):
            load_index(tmp_path)
    for wrong in ({"effort": 10**6}, {"proposals": 10**9}):
        levels = [info["tuning"]["levels"][0] | wrong]
        files.write_description(tmp_path, info | {"tuning": info["tuning"] | {"levels": levels}})
        with pytest.raises(ArtefactError, match=r"index.json: 'tuning' is not of this engine"):
            load_index(tmp_path)
    for name in ("ids", "vectors"):
        np.save(tmp_path / f"{name}.npy", np.load(tmp_path / f"{name}.npy")[:-1])
    np.save(tmp_path / "topic_row.npy", np.minimum(np.load(tmp_path / "topic_row.npy"), 18))
    files.write_description(tmp_path, info)
    with pytest.raises(ArtefactError, match=r"inverted.faiss: holds 20 codes of 2 dimensions; expected 19 of 2"):
        load_index(tmp_path)


def test_large_arrays_are_read_at_places_and_by_doctor_in_full(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checks, "_SAMPLE_BYTES", 8)
    monkeypatch.setattr(checks, "_SAMPLE_PLACES", 2)
    array = np.load(folder / "item_input.npy")
    array[10] = np.nan  # neither first nor last
    np.save(folder / "item_input.npy", array)
    sign(folder)
    Release.open(folder)
    with pytest.raises(ArtefactError, match=r"item_input.npy: has numbers that are not finite"):
        Release.open(folder, whole=True)
    array[10], array[20] = 0, np.nan
    np.save(folder / "item_input.npy", array)
    sign(folder)
    with pytest.raises(ArtefactError, match=r"item_input.npy: has numbers that are not finite"):
        Release.open(folder)


def test_a_tower_of_another_release_never_serves_and_an_intact_one_does(folder: Path, capsys):
    sign(folder)
    assert len(Retriever.open(folder).recommend("ann", n=5).candidates) == 5
    onnx.save(user_tower(3, np.zeros((3, 3), dtype=np.float32)), str(folder / "user_tower.onnx"))
    sign(folder)
    assert run(["doctor", str(folder.parent.parent)]) == 4
    assert "ok serving" not in " ".join(capsys.readouterr().out.split())
