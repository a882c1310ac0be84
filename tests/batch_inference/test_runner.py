"""Everybody is answered once, whatever interrupts; what is damaged or of something else is refused by its name."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from multitudes.batch_inference.recommender import BatchConfig
from multitudes.batch_inference.results import shard_name, write_shard
from multitudes.batch_inference.runner import recommend_all
from multitudes.cli.main import run
from multitudes.errors import ArtefactError, DataError, UsageError
from multitudes.locks import lock
from tests.batch_inference.results import read
from tests.flushing import Flushing
from tests.release.small_release import publish_small

CONFIG = BatchConfig(n=4)


@pytest.fixture
def others(tmp_path: Path) -> Path:
    table = pl.DataFrame(
        {"user_id": ["new", "fan"], "history": [[101, 111], None], "followed_topics": [None, ["Crime"]]}
    )
    table.write_parquet(tmp_path / "others.parquet")
    return tmp_path / "others.parquet"


def parts(out: Path) -> dict[str, tuple[int, bytes]]:
    """What each finished shard is: the same file, with the same bytes."""
    return {file.name: (file.stat().st_ino, file.read_bytes()) for file in sorted(out.glob("part-*.parquet"))}


def test_every_user_is_answered_once_those_of_the_table_behind_those_of_the_release(releases, others, tmp_path):
    done = recommend_all(releases, tmp_path / "out", CONFIG, extra_users=others, shard_users=2)
    assert done == (5, 20, 1)
    assert [row["user_id"] for row in read(tmp_path / "out")] == ["ann", "bob", "eve", "new", "fan"]
    assert len(parts(tmp_path / "out")) == 3, "two shards of the release, one of the table"
    whole = recommend_all(releases, tmp_path / "whole", CONFIG, extra_users=others)
    assert (whole, read(tmp_path / "whole")) == (done, read(tmp_path / "out")), "shards change nothing"


def test_a_shard_is_on_the_disk_before_it_counts_as_done(releases, tmp_path, monkeypatch):
    flushing, out = Flushing(monkeypatch), tmp_path / "out"
    recommend_all(releases, out, CONFIG, shard_users=2)
    assert len(parts(out)) == 2
    assert [flushing.missing(out / name) for name in (*parts(out), "batch.json")] == [[], [], []]


def test_what_is_done_is_kept_and_the_rest_is_made(releases, tmp_path, monkeypatch):
    out, write = tmp_path / "out", write_shard

    def stopped(folder, shard, *rest):
        if shard == 1:
            raise KeyboardInterrupt
        write(folder, shard, *rest)

    monkeypatch.setattr("multitudes.batch_inference.runner.write_shard", stopped)
    with pytest.raises(KeyboardInterrupt):
        recommend_all(releases, out, CONFIG, shard_users=1)
    first = parts(out)
    assert list(first) == [shard_name(0)]
    with pytest.raises(ArtefactError, match="not finished; run the same command again to finish it"):
        read(out)
    monkeypatch.setattr("multitudes.batch_inference.runner.write_shard", write)
    (out / ".part-00001.parquet.part").write_bytes(b"half of a shard, left by a killed process")
    assert recommend_all(releases, out, CONFIG, shard_users=1).users == 3
    assert parts(out)[shard_name(0)] == first[shard_name(0)]
    assert not list(out.glob(".part-*"))
    finished = parts(out)
    assert recommend_all(releases, out, CONFIG, shard_users=1).users == 3, "once more: it is there already"
    assert parts(out) == finished


def test_a_full_disk_is_one_line_and_keeps_what_is_done(releases, tmp_path, monkeypatch, capsys):
    out, write = tmp_path / "out", write_shard

    def full(folder, shard, tables, schema):
        def cut():
            yield from tables
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

        write(folder, shard, cut() if shard == 2 else tables, schema)

    monkeypatch.setattr("multitudes.batch_inference.runner.write_shard", full)
    call = ["recommend", str(releases), "--all", "--out", str(out), "--shard-users", "1"]
    assert run(call) == 5
    assert capsys.readouterr().err.count("\n") == 1
    assert list(parts(out)) == [shard_name(0), shard_name(1)]
    assert not list(out.glob(".part-*")), "what was half-written gives its room back"
    monkeypatch.setattr("multitudes.batch_inference.runner.write_shard", write)
    assert run(call) == 0
    assert len(read(out)) == 3


def test_a_cut_or_swapped_shard_is_refused_by_name_and_made_again_when_it_is_deleted(releases, tmp_path):
    out = tmp_path / "out"
    recommend_all(releases, out, CONFIG, shard_users=1)
    (out / "manifest.json").unlink()
    cut = out / shard_name(1)
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-9])
    with pytest.raises(
        ArtefactError, match=r"part-00001.parquet: truncated or damaged; delete it and run the same command"
    ):
        recommend_all(releases, out, CONFIG, shard_users=1)
    cut.write_bytes((out / shard_name(0)).read_bytes())
    with pytest.raises(ArtefactError, match=r"part-00001.parquet: shard 0 of 1 users; expected shard 1 of 1"):
        recommend_all(releases, out, CONFIG, shard_users=1)
    cut.unlink()
    recommend_all(releases, out, CONFIG, shard_users=1)
    assert cut.read_bytes() == whole


def test_a_second_run_into_the_folder_is_refused_and_so_is_another_question(releases, others, tmp_path):
    out = tmp_path / "out"
    recommend_all(releases, out, CONFIG, shard_users=1)
    with lock(out / ".lock"), pytest.raises(UsageError, match="another process is writing there"):
        recommend_all(releases, out, CONFIG, shard_users=1)
    for config, settings, message in (
        (BatchConfig(n=5), {}, "n = 4, and this is n = 5"),
        (CONFIG, {"shard_users": 2}, "shard_users = 1, and this is shard_users = 2"),
        (CONFIG, {"extra_users": others}, "users = 3, and this is users = 5"),
    ):
        with pytest.raises(UsageError, match=message):
            recommend_all(releases, out, config, **{"shard_users": 1, **settings})
    publish_small(releases)
    with pytest.raises(UsageError, match="release = 0001, and this is release = 0002"):
        recommend_all(releases, out, CONFIG, shard_users=1)
    assert recommend_all(releases, out, CONFIG, overwrite=True).users == 3
    assert list(parts(out)) == [shard_name(0)]
    assert {row["release"] for row in read(out)} == {"0002"}


def test_a_folder_that_another_version_began_is_refused_by_the_name_of_its_file_finished_or_not(releases, tmp_path):
    out = tmp_path / "out"
    recommend_all(releases, out, CONFIG)
    begun, made = out / "batch.json", parts(out)
    said = begun.read_text()
    for finished in (True, False):
        if not finished:
            (out / "manifest.json").unlink()
        begun.write_text(said.replace('"version": 1', '"version": 9'))
        with pytest.raises(
            ArtefactError, match=r"batch.json: multitudes-batch version 9; expected .* version 1; start again"
        ):
            recommend_all(releases, out, CONFIG)
        assert parts(out) == made
        begun.write_text(said)
        assert recommend_all(releases, out, CONFIG).users == 3, "the control"


def test_a_folder_of_somebody_else_and_an_unfit_table_are_refused(releases, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"exists and has no batch.json"):
        recommend_all(releases, tmp_path / "mine", CONFIG, overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()
    table = tmp_path / "table.parquet"
    for users, message in (
        (["new", "new"], r"table.parquet: user 'new' occurs twice"),
        (["new", "bob"], r"table.parquet: user 'bob' is in the release already"),
        ([1, 2], r"table.parquet: user_id is int64; this release has string"),
    ):
        pl.DataFrame({"user_id": users}).write_parquet(table)
        with pytest.raises(DataError, match=message):
            recommend_all(releases, tmp_path / "out", CONFIG, extra_users=table)
    table.write_text("user_id")
    with pytest.raises(UsageError, match=r"none.parquet: no such file"):
        recommend_all(releases, tmp_path / "out", CONFIG, extra_users=tmp_path / "none.parquet")
    with pytest.raises(DataError, match=r"table.parquet: cannot be read as Parquet"):
        recommend_all(releases, tmp_path / "out", CONFIG, extra_users=table)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_processes_side_by_side_give_the_same_answers(releases, others, tmp_path):
    alone = recommend_all(releases, tmp_path / "alone", CONFIG, extra_users=others, shard_users=1)
    threads = os.environ.get("OMP_NUM_THREADS")
    beside = recommend_all(releases, tmp_path / "beside", CONFIG, extra_users=others, shard_users=1, processes=2)
    assert (beside, read(tmp_path / "beside")) == (alone, read(tmp_path / "alone"))
    assert os.environ.get("OMP_NUM_THREADS") == threads


SLOWLY = """
import sys, time
from multitudes.batch_inference import runner
from multitudes.batch_inference.recommender import BatchConfig
from multitudes.batch_inference.runner import recommend_all

if __name__ == "__main__":
    recommend_all(sys.argv[1], sys.argv[2], BatchConfig(n=4), shard_users=1, processes=2)
else:  # in a worker
    write = runner.write_shard
    def slowly(folder, shard, *rest):
        if shard:
            print("waiting", flush=True)
            time.sleep(120)
        write(folder, shard, *rest)
    runner.write_shard = slowly
"""


@pytest.mark.slow
def test_a_killed_run_keeps_its_shards_and_leaves_no_worker(releases, tmp_path):
    (tmp_path / "slowly.py").write_text(SLOWLY)
    command = [sys.executable, str(tmp_path / "slowly.py"), str(releases), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "waiting\n"
        patience = time.monotonic() + 60
        while not (tmp_path / "out" / shard_name(0)).exists() and time.monotonic() < patience:
            time.sleep(0.05)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.read()  # ends when the last worker has: they hold the other end
    kept = parts(tmp_path / "out")
    assert list(kept) == [shard_name(0)]
    assert recommend_all(releases, tmp_path / "out", CONFIG, shard_users=1).users == 3
    assert parts(tmp_path / "out")[shard_name(0)] == kept[shard_name(0)]
