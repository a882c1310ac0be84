"""Signed releases: what a service with a trusted key serves, tried as who can write the folder and has another key."""

import json
import mmap
import os
import resource
import shutil
import stat
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest

from multitudes.cli.main import run
from multitudes.errors import ArtefactError, MissingError, UsageError
from multitudes.index.factory import IndexConfig, build_index, load_index
from multitudes.release import manifest, release
from multitudes.release.manifest import read_manifest, write_manifest
from multitudes.release.release import Release
from multitudes.release.signature import (
    SIGNATURE,
    check_signature,
    make_key_pair,
    read_private_key,
    sign_release,
    signed_files,
)
from multitudes.release.store import CURRENT, ReleaseStore
from multitudes.retrieval.inspection import inspect_release
from multitudes.retrieval.release_trial import ReleaseTrial
from multitudes.retrieval.release_watcher import ReleaseWatcher
from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.rollback import rollback
from tests.release.small_release import publish_small


def key_pair(folder: Path, name: str) -> tuple[Path, Path]:
    private = folder / name
    return private, make_key_pair(private)[0]


def sign(folder: Path, private: Path) -> None:
    sign_release(folder, read_private_key(private))


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A folder with two releases, both signed, and the key pair."""
    folder = tmp_path_factory.mktemp("signed")
    keys = key_pair(folder, "ours")
    for version in ("0001", "0002"):
        publish_small(folder / "releases")
        sign(folder / "releases" / "versions" / version, keys[0])
    return folder / "releases", *keys


@pytest.fixture
def copy(signed, tmp_path):
    """A copy of it that a test may damage."""
    shutil.copytree(signed[0], tmp_path / "releases")
    return tmp_path / "releases"


def test_a_signed_release_opens_and_its_signer_is_named(signed):
    releases, _, public = signed
    assert Release.open(releases, trust=public).version == "0002"
    signer = check_signature(releases / "versions" / "0001", public)
    assert signer.name == "ours"
    assert signer.fingerprint.startswith("ed25519:")
    assert check_signature(releases / "versions" / "0001", None) == ("", signer.fingerprint)
    assert Release.open(releases).version == "0002", "without a trusted key none is asked for"


def change_with_checksums(folder: Path) -> None:
    """Change a file as somebody would who knows the format: every checksum is right."""
    titles = folder / "items.arrow"
    titles.write_bytes(titles.read_bytes().replace(b"Film 101", b"Film 666"))
    write_manifest(folder, read_manifest(folder))
    Release.open(folder)


def change_the_list(folder: Path) -> None:
    """Change the digest in the signature's own list too."""
    record = json.loads((folder / SIGNATURE).read_text())
    record["files"]["item_count.npy"] = "0" * 64
    (folder / SIGNATURE).write_text(json.dumps(record))


def replace_key(folder: Path) -> None:
    """Sign it anew, with another key."""
    sign(folder, key_pair(folder.parents[2], "other")[0])


def link(name: str):

    def change(folder: Path) -> None:
        (folder / name).rename(folder.parents[2] / "linked")
        (folder / name).symlink_to(folder.parents[2] / "linked")

    return change


def replace_by(make, name: str):
    """Make something else in the place of a file."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return change


def write_text(text: str):
    return lambda folder: (folder / SIGNATURE).write_text(text)


def keep_other_members(**members: object):
    def change(folder: Path) -> None:
        record = json.loads((folder / SIGNATURE).read_text())
        (folder / SIGNATURE).write_text(json.dumps(record | members))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / SIGNATURE).unlink(), "missing, so nobody signed this release"),
        (link(SIGNATURE), r"signature.json: cannot be read \(Too many levels of symbolic links\)"),
        (replace_by(Path.mkdir, SIGNATURE), "signature.json: not a plain file"),
        (change_with_checksums, "items.arrow: was changed after the release was signed"),
        (lambda folder: (folder / "item_count.npy").unlink(), "item_count.npy: was signed and is missing"),
        (lambda folder: os.truncate(folder / "items.arrow", 1 << 40), "items.arrow: was changed after"),
        (lambda folder: (folder / "weights.bin").touch(), "weights.bin: was added after the release was signed"),
        (lambda folder: (folder / "index" / "x").touch(), "index/x: was added after the release was signed"),
        (change_the_list, "not a valid signature"),
        (replace_key, "signed by ed25519:.*, not by a key of .*ours.pub"),
        (link("user_tower.onnx"), "user_tower.onnx: a link"),
        (link("index"), "index: a link"),
        (replace_by(os.mkfifo, "user_tower.onnx"), "user_tower.onnx: not a plain file"),
        (replace_by(os.mkfifo, SIGNATURE), "signature.json: not a plain file"),
        (write_text("[]"), "not a signature of the format"),
        (write_text("[" * 100_000), "not a signature of the format"),
        (write_text(" " * (1 << 21)), "not a signature of the format"),
        (keep_other_members(signature="AA=="), "not a valid signature"),
        (keep_other_members(key="AA=="), "not a valid signature"),
        (keep_other_members(key=1), "not a valid signature"),
        (keep_other_members(files=[1]), "not a valid signature"),
        (keep_other_members(files={}), "not a valid signature"),
        (keep_other_members(format="multitudes-signature-0"), "not a signature of the format"),
    ],
)
def test_what_the_trusted_key_did_not_sign_is_rejected_before_it_is_read(damage, message, signed, copy, monkeypatch):
    folder = copy / "versions" / "0002"
    damage(folder)
    monkeypatch.setattr(manifest, "read_manifest", None)
    with pytest.raises(ArtefactError, match=message):
        Release.open(copy, trust=signed[2])
    with pytest.raises(ArtefactError, match=message):
        rollback(copy, "0002", trust=signed[2])


def replace_all(folder: Path) -> None:
    """Put other files in the place of those of a release, each with the right checksum."""
    others = shutil.copytree(folder, folder.parents[2] / "others")
    change_with_checksums(others)
    for file in [file for file in others.rglob("*") if file.is_file()]:
        file.replace(folder / file.relative_to(others))


def write_in_place(folder: Path) -> None:
    (folder / "items.arrow").write_bytes((folder / "items.arrow").read_bytes())


def cut(folder: Path) -> None:
    for file in folder.rglob("*.npy"):
        os.truncate(file, 100)


def swap_folders(folder: Path) -> None:
    """Put another folder in the place of that of a release."""
    others = shutil.copytree(folder, folder.parents[2] / "others")
    change_with_checksums(others)
    folder.rename(folder.parents[2] / "former")
    others.rename(folder)


def do_when_it_is_opened(monkeypatch, action) -> None:
    """Do something between the check of a release and its opening."""

    def act_and_read(files: Path) -> manifest.Manifest:
        monkeypatch.undo()
        action()
        return read_manifest(files)

    monkeypatch.setattr(release, "read_manifest", act_and_read)


def is_as_signed(opened: Release, releases: Path) -> bool:
    before = Release.open(releases)
    return (
        opened.identity == before.identity
        and opened.items.equals(before.items)
        and opened.user_ids.equals(before.user_ids)
        and opened.topics == before.topics
        and all(tower.get_outputs() for tower in (opened.user_tower, opened.item_tower))
    )


@pytest.mark.parametrize("replace", [replace_all, swap_folders])
def test_what_is_replaced_after_it_was_opened_is_never_read(replace, signed, copy):
    folder = copy / "versions" / "0002"
    opened = Release.open(copy, trust=signed[2])
    replace(folder)
    assert "Film 666" in Release.open(copy).items["title"].to_list()
    shutil.rmtree(folder)
    assert opened.path == folder
    assert is_as_signed(opened, signed[0])


def test_another_folder_in_the_place_of_one_that_was_checked_is_not_read(signed, copy, monkeypatch):
    folder = copy / "versions" / "0002"
    do_when_it_is_opened(monkeypatch, lambda: swap_folders(folder))
    assert is_as_signed(Release.open(copy, trust=signed[2]), signed[0])
    assert "Film 666" in Release.open(copy).items["title"].to_list()


@pytest.mark.parametrize("change", [replace_all, write_in_place, cut])
def test_a_file_that_is_changed_after_its_check_is_served_as_signed(change, signed, copy, monkeypatch):
    folder = copy / "versions" / "0002"
    do_when_it_is_opened(monkeypatch, lambda: change(folder))
    assert is_as_signed(Release.open(copy, trust=signed[2]), signed[0])


@pytest.mark.parametrize("moment", ["read_manifest", "check_release", "open_tower"])
def test_what_is_written_through_a_mapping_after_the_check_is_neither_parsed_nor_executed(
    moment, signed, copy, monkeypatch
):
    """A page that was written to before the check is written to again without another time of the file."""
    request = Request(history=[101, 111], followed_topics=["Drama"], n=10)
    expected = Retriever.open(signed[0]).answer([request])
    with ExitStack() as stack:
        mappings = [map_and_write(file, stack) for file in (copy / "versions" / "0002").rglob("*") if file.is_file()]

        def act(*arguments: object, **options: object) -> object:
            monkeypatch.undo()
            for mapping in mappings:
                mapping[:] = mapping[::-1]
            return former(*arguments, **options)

        former = getattr(release, moment)
        monkeypatch.setattr(release, moment, act)
        opened = Release.open(copy, trust=signed[2])
        assert is_as_signed(opened, signed[0])
        assert Retriever(opened).answer([request]) == expected


def map_and_write(file: Path, stack: ExitStack) -> mmap.mmap:
    """Map a file for writing, and write what it holds to its first page."""
    with file.open("r+b") as stream:
        mapping = stack.enter_context(mmap.mmap(stream.fileno(), 0))
    mapping[:] = mapping[:]
    return mapping


def open_files() -> set[tuple[str, str]]:
    """Return the open descriptors; those of earlier tests may be closed at any moment, with their garbage."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the folder
            found.add((descriptor.name, str(descriptor.readlink())))
    return found


def test_what_is_wrong_with_a_signed_release_is_said_by_its_own_path_and_rejected_by_the_trial(signed, copy):
    folder = copy / "versions" / "0002"
    titles = folder / "items.arrow"
    titles.write_bytes(titles.read_bytes().replace(b"Film 101", b"Film 666"))  # and its checksum is not
    sign(folder, signed[1])
    before = open_files()
    with pytest.raises(ArtefactError, match=f"^{titles}: the checksum differs"):
        Release.open(copy, trust=signed[2])
    assert open_files() <= before
    change_with_checksums(copy / "versions" / "0002")
    with pytest.raises(ArtefactError, match="was changed after"):
        ReleaseTrial(600, trust=signed[2]).run(copy / "versions" / "0002")


def test_where_there_is_no_room_for_a_copy_it_is_said_and_no_file_stays_open(signed):
    """A limit on the size of files stands in for a full disk."""
    (soft, hard), before = resource.getrlimit(resource.RLIMIT_FSIZE), open_files()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(MissingError, match=r"/0002/\w+[.]\w+: cannot be copied into /.*; set TMPDIR to a folder"):
            Release.open(signed[0], trust=signed[2])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert open_files() <= before


def test_an_index_of_faiss_is_read_from_the_files_that_were_checked(signed, tmp_path):
    vectors = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    (tmp_path / "index").mkdir()
    build_index(np.arange(60), vectors, IndexConfig(kind="inverted")).save(tmp_path / "index")
    sign(tmp_path / "index", signed[1])
    with signed_files(tmp_path / "index", signed[2]) as files:
        (tmp_path / "index").rename(tmp_path / "former")
        assert len(load_index(files)) == 60


def test_the_service_follows_signed_releases_alone(signed, copy):
    watcher = ReleaseWatcher(copy, trust=signed[2])
    publish_small(copy)
    assert not watcher.poll()
    assert "0003/signature.json: missing, so nobody signed this release" in watcher.state().problem
    (copy / CURRENT).write_text("0001\n")  # back
    assert watcher.poll()
    change_with_checksums(copy / "versions" / "0002")
    (copy / CURRENT).write_text("0002\n")
    assert not watcher.poll()
    assert watcher.state()[::2] == ("0001", 2)
    with pytest.raises(ArtefactError, match="was changed after"):
        ReleaseWatcher(copy, trust=signed[2])


def test_a_folder_of_keys_trusts_each_of_them_until_it_is_taken_out(signed, copy, tmp_path):
    (tmp_path / "keys").mkdir()
    with pytest.raises(UsageError, match=r"has no public key \(\*.pub\), so no release can be trusted"):
        Release.open(copy, trust=tmp_path / "keys")
    key_pair(tmp_path / "keys", "new")
    shutil.copy(signed[2], tmp_path / "keys")
    assert check_signature(copy / "versions" / "0002", tmp_path / "keys").name == "ours"
    (tmp_path / "keys" / "ours.pub").unlink()
    with pytest.raises(ArtefactError, match="not by a key of"):
        Release.open(copy, trust=tmp_path / "keys")
    with pytest.raises(UsageError, match="not a public Ed25519 key"):
        Release.open(copy, trust=signed[1])
    with pytest.raises(MissingError, match="no such key"):
        Release.open(copy, trust=tmp_path / "none")


def test_an_empty_path_does_not_trust_what_lies_in_the_working_folder(signed, monkeypatch):
    releases, _, public = signed
    monkeypatch.chdir(public.parent)
    with pytest.raises(UsageError, match="the path of the public key is empty"):
        Release.open(releases, trust=Path())
    assert Release.open(releases, trust=public.parent).version == "0002", "the control: the folder by its name"


def test_a_private_key_is_its_owners_alone_and_never_replaced(tmp_path):
    private, public = key_pair(tmp_path, "mine")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="exists, and a key is never replaced"):
        make_key_pair(private)
    private.chmod(0o640)
    with pytest.raises(UsageError, match="other users may read this private key; chmod 600"):
        read_private_key(private)
    public.chmod(0o600)
    with pytest.raises(UsageError, match="not a private Ed25519 key"):
        read_private_key(public)


def test_doctor_says_who_signed(signed, copy, tmp_path, capsys):
    assert run(["keys", "pair", str(tmp_path / "other"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["public"] == str(tmp_path / "other.pub")

    def level(releases: Path, trust: Path | None) -> tuple[str, str]:
        (found,) = [
            each for each in inspect_release(ReleaseStore(releases), trust=trust) if each.subject == "signature"
        ]
        return found.level, found.text

    assert level(signed[0], signed[2])[0] == "ok"
    assert "signed by ours (ed25519:" in level(signed[0], signed[2])[1]
    assert level(signed[0], None)[0] == "note"
    assert level(signed[0], tmp_path / "other.pub")[0] == "damaged"
    (copy / "versions" / "0002" / SIGNATURE).unlink()
    assert level(copy, None)[1].startswith("not signed: whoever can write the folder")
    assert level(copy, signed[2])[0] == "damaged"
