"""Remote tables give what local ones give: the same report, the same prepared folder, the same errors."""

import json
from pathlib import Path

import polars as pl
import pytest

from multitudes.cli.main import run
from multitudes.data.clean.attribution import FeedbackLogs
from multitudes.data.items_file import read_items
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.data.sample import sample_path
from tests.data.tables import NOW, events, users, write


def files(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.name != "manifest.json"}


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def prepared(data, out, **given):
    return prepare(data, out, PrepareConfig(split="leave_one_out", threads=1), now=NOW, **given).path


def test_movielens_at_a_url_prepares_to_the_same_bytes(tmp_path, store):
    address = store.upload(sample_path("movielens-small"), "movielens")
    here = prepare(sample_path("movielens-small"), tmp_path / "here", now=NOW).path
    there = prepare(address, tmp_path / "there", now=NOW).path
    assert files(here) == files(there)
    expected, found = manifest(here), manifest(there)
    assert {name: one.pop("address") for name, one in found["inputs"].items()} == {
        name: f"{address}/{name}" for name in ("events.parquet", "items.parquet", "users.parquet")
    }
    assert found == expected
    assert not [path for path in tmp_path.rglob("*") if "fetched" in path.name or "engine" in path.name]


def test_csv_and_folders_of_shards_are_tables_there_too(tmp_path, store):
    folder = write(tmp_path / "mixed", events=None, users=None)
    (folder / "events").mkdir()
    for part in (1, 0, 2):  # in the order of names, whatever the order in which they are written
        events()[part * 2 : part * 2 + 2].write_parquet(folder / "events" / f"{part}.parquet")
    (folder / "events" / "_SUCCESS").touch()
    (folder / "users.csv").write_text("user_id,followed_topics\n1,food | art\n2,sea\n")
    address = store.upload(folder, "mixed")
    here, there = prepared(folder, tmp_path / "here"), prepared(address, tmp_path / "there")
    assert files(here) == files(there)
    assert manifest(there)["inputs"]["events"]["sha256"] == manifest(here)["inputs"]["events"]["sha256"]


def test_items_and_logs_at_a_url_are_read(tmp_path, store):
    write(tmp_path / "few")
    address = store.upload(tmp_path / "few", "few")
    assert read_items(Path(f"{address}/items.parquet"), pl.Int64()).items["item_id"].to_list() == [10, 20, 30]
    folder = write(tmp_path / "other", events=None)
    (folder / "log").mkdir()
    events().write_parquet(folder / "log" / "0.parquet")
    logs = store.upload(folder / "log", "log")
    there = prepared(folder, tmp_path / "there", logs=FeedbackLogs(events=logs))
    assert files(prepared(folder, tmp_path / "here", logs=FeedbackLogs(events=folder / "log"))) == files(there)
    assert manifest(there)["inputs"]["logged events"]["address"] == logs


def test_the_command_takes_a_url_and_prints_it(tmp_path, store, capsys):
    address = store.upload(write(tmp_path / "few"), "few")
    out = tmp_path / "out"
    assert run(["prepare", address, "--out", str(out), "--split", "leave_one_out"]) == 0
    assert run(["prepare", f"{address}?region=eu-west-1", "--check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["data"] == address


def refusal(capsys, *arguments):
    code = run(list(arguments))
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert "defect" not in said
    return code, said


@pytest.mark.parametrize(
    ("address", "code", "expected"),
    [
        ("s3://no-such/shop", 2, "s3://no-such/shop: no such bucket"),
        ("s3://shop/nothing", 2, "s3://shop/nothing: no such folder"),
        ("s3://shop/few/events.parquet", 2, "expected the folder of the tables, got a file"),
        ("s3://shop/few?endpoint=1", 2, "Unexpected query parameter in S3 URI: 'endpoint'"),
        ("ftp://shop/few", 2, "expected one of s3://, gs://, abfs://, hdfs:// and file:///"),
        ("hdfs://127.0.0.1:1/few", 5, "hdfs:// is read by Hadoop's own library"),
        ("s3://shop/few?endpoint_override=127.0.0.1:1&scheme=http", 6, "s3://shop/few: the store does not answer"),
    ],
)
def test_a_url_without_tables_is_rejected_in_a_line(tmp_path, store, capsys, address, code, expected):
    store.upload(write(tmp_path / "few"), "few")
    found, said = refusal(capsys, "prepare", address, "--check")
    assert (found, expected in said) == (code, True), said


def test_wrong_tables_are_named_by_their_url(tmp_path, store, capsys):
    folder = write(tmp_path / "wrong", users=users().rename({"user_id": "user"}))
    address = store.upload(folder, "wrong")
    found, said = refusal(capsys, "prepare", address, "--check")
    assert (found, said.startswith(f"multitudes: {address}/users.parquet: column 'user_id' is missing")) == (3, True)
    store.put("wrong/users.parquet", b"no table")
    found, said = refusal(capsys, "prepare", address, "--check")
    assert (found, said.startswith(f"multitudes: {address}/users.parquet: cannot be read")) == (3, True)
    assert "fetched-" not in said
    store.put("wrong/users.parquet", b"")
    assert "the file is empty" in refusal(capsys, "prepare", address, "--check")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["prepare", "few", "--out"],
        ["train", "few", "--out"],
        ["recommend", "few", "--all", "--out"],
        ["publish", "few", "--to"],
        ["recommend", "few", "--all", "--out", "results", "--export"],
        ["readout", "few", "few", "--report"],
    ],
)
def test_an_output_at_a_url_is_rejected(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "few")
    for given in ([*arguments, "s3://shop/out"], [*arguments[:-1], f"{arguments[-1]}=s3://shop/out"]):
        found, said = refusal(capsys, *given)
        assert found == 2
        assert "s3://shop/out: expected a local path, got a URL" in said
    assert [path.name for path in tmp_path.iterdir()] == ["few"]


@pytest.mark.parametrize("arguments", [["init"], ["synth"], ["outcomes", "logs"]])
def test_an_output_without_an_option_is_rejected_at_a_url(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    found, said = refusal(capsys, *arguments, "s3://shop/out")
    assert (found, "s3://shop/out: expected a local path, got a URL" in said) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_key_in_a_url_is_never_printed(tmp_path, store, capsys):
    address = store.upload(write(tmp_path / "few", users=users(user_id=["1", "2"])), "few")
    secret = address.replace("s3://", "s3://KEY:SECRET@") + f"?endpoint_override={store.host}&scheme=http"
    said = (
        refusal(capsys, "prepare", secret, "--check")[1] + refusal(capsys, "prepare", secret + "&wrong=1", "--check")[1]
    )
    said += refusal(capsys, "prepare", str(tmp_path / "few"), "--out", secret)[1]
    assert "int64 in events.parquet" in said
    assert "KEY" not in said
    assert "SECRET" not in said
