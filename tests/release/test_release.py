"""A release is opened whole or refused with the name of what is wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multitudes.errors import ArtefactError
from multitudes.index.files import record_checksum
from multitudes.release import manifest as manifests
from multitudes.release.release import ARRAYS, Release


@pytest.fixture
def folder(releases: Path) -> Path:
    return releases / "versions" / "0001"


def test_what_was_written_is_read(shared_releases: Path):
    release = Release.open(shared_releases)
    assert release.version == "0001"
    assert (release.n_users, release.n_items) == (3, 20)
    assert release.user_ids.to_list() == ["ann", "bob", "eve"]
    assert release.topics == ["", "Drama", "Crime"]
    assert release.seen_items(0).tolist() == [1, 2, 3, 4, 11]
    assert len(release.index) == 20
    assert release.manifest.created_at.tzinfo is not None
    for name, dtype in ARRAYS.items():
        assert getattr(release, name).dtype == dtype
    assert [i.name for i in release.user_tower.get_inputs()] == ["input_BLD", "valid_BL", "topic_BC"]


def test_every_byte_is_guarded(folder: Path):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert len(files) >= len(ARRAYS) + 7
    for path in files:
        whole = path.read_bytes()
        last = bytes([whole[-1] ^ 1])
        for damaged in (whole[:-1] + last, whole[:-1], None):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            with pytest.raises(ArtefactError, match=path.name):
                Release.open(folder)
            path.write_bytes(whole)
    Release.open(folder)  # the control


def rewrite(path: Path, record: dict[str, Any]) -> None:
    """Write a manifest with a right checksum of its own."""
    record = {name: value for name, value in record.items() if name != "xxh3"}
    path.write_text(json.dumps(record | {"xxh3": record_checksum(record)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 1}, "multitudes-release version 1; expected multitudes-release version 2"),
        ({"format": "other"}, "other version 2; expected multitudes-release version 2"),
        ({"kinds": ["sideways"]}, "'kinds.0' is wrong or missing"),
        ({"colour": "red"}, "'colour' is wrong or missing"),
    ],
)
def test_a_manifest_that_this_version_cannot_read_is_refused(folder: Path, change: dict[str, object], message: str):
    path = folder / "manifest.json"
    rewrite(path, json.loads(path.read_text()) | change)
    with pytest.raises(ArtefactError, match=message):
        Release.open(folder)


@pytest.mark.parametrize("name", ["../../x", "/etc/hostname", "index/../x", "a/b", "..", "", "a\0b"])
def test_a_manifest_names_no_file_outside_of_its_release(folder: Path, name: str):
    path = folder / "manifest.json"
    record = json.loads(path.read_text())
    record["files"][name] = record["files"]["item_count.npy"]
    rewrite(path, record)
    with pytest.raises(ArtefactError, match=r"manifest.json: names the file .*; expected files of this release"):
        Release.open(folder)


@pytest.mark.parametrize("rows", ["-5", "25000000000", "99999999999999999999"])
def test_an_array_of_impossible_size_is_one_line(folder: Path, rows: str):
    head = f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({rows},), }}".ljust(117) + "\n"
    (folder / "item_count.npy").write_bytes(b"\x93NUMPY\x01\x00" + bytes([118, 0]) + head.encode())
    manifests.write_manifest(folder, manifests.read_manifest(folder))
    with pytest.raises(ArtefactError, match=r"item_count.npy: damaged or cut short"):
        Release.open(folder)


@pytest.mark.parametrize(("size", "message"), [(200 << 30, "larger than 256 MiB"), (1 << 20, "damaged")])
def test_a_manifest_of_zeros_is_one_line(folder: Path, size: int, message: str):
    with (folder / "manifest.json").open("wb") as stream:
        stream.truncate(size)  # sparse
    with pytest.raises(ArtefactError, match=rf"manifest.json: {message}"):
        Release.open(folder)


@pytest.mark.parametrize("change", [("4,", "5,"), ("topics_per_request", "topics_per_requesu"), ("view", "viev")])
def test_what_a_manifest_says_is_guarded_by_a_checksum_of_its_own(folder: Path, change: tuple[str, str]):
    path = folder / "manifest.json"
    whole = path.read_text()
    assert change[0] in whole
    path.write_text(whole.replace(*change, 1))
    with pytest.raises(ArtefactError, match=r"manifest.json: damaged, or changed by hand"):
        Release.open(folder)
    path.write_text(json.dumps({name: value for name, value in json.loads(whole).items() if name != "xxh3"}))
    with pytest.raises(ArtefactError, match=r"manifest.json: damaged, or changed by hand"):
        Release.open(folder)
    rewrite(path, json.loads(whole))
    Release.open(folder)  # the control


def test_a_damaged_manifest_and_a_foreign_folder_are_refused_by_name(folder: Path, tmp_path: Path):
    for text in ("{", "[" * 200_000):
        (folder / "manifest.json").write_text(text)
        with pytest.raises(ArtefactError, match=r"manifest.json: damaged"):
            Release.open(folder)
    with pytest.raises(ArtefactError, match="no releases here"):
        Release.open(tmp_path / "elsewhere")
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()
    with pytest.raises(ArtefactError, match=r"manifest.json: not a plain file"):
        Release.open(folder)


def test_an_array_of_another_type_and_a_tower_that_is_no_model_are_refused(folder: Path):
    (folder / "user_tower.onnx").write_bytes(b"no model")
    manifests.write_manifest(folder, manifests.read_manifest(folder))
    release = Release.open(folder)
    with pytest.raises(ArtefactError, match=r"user_tower.onnx: ONNX Runtime cannot load it"):
        _ = release.user_tower
    np.save(folder / "item_count.npy", np.zeros(21, np.int32))
    manifests.write_manifest(folder, manifests.read_manifest(folder))
    with pytest.raises(ArtefactError, match=r"item_count.npy: holds int32 of shape .*; expected int64"):
        Release.open(folder)
