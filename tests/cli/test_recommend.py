"""The commands around a release: recommend, export, releases, rollback."""

import json
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.cells import cell_len
from rich.console import Console

from multitudes import api
from multitudes.cli.main import run
from multitudes.cli.recommend import print_recommendation
from multitudes.errors import ArtefactError, UnavailableError
from multitudes.index.factory import IndexConfig
from multitudes.retrieval.item_updates import add_items
from multitudes.retrieval.response import Recommendation
from tests.release.small_release import publish_small


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("releases")
    publish_small(root)
    publish_small(root)
    return root


@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_explained_table_fits_the_terminal_and_names_interests_and_items(releases, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    assert run(["recommend", str(releases), "--user", "ann", "--n", "4", "--explain"]) == 0
    lines = capsys.readouterr().out.partition("next: ")[0].splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for expected in ("user ann", "whole history", "Drama", "Crime", "Film 111", "because of", "found by"):
        assert expected in text
    assert ("implicit" in text) == (width == 160), "the kind is shown where there is room"


@pytest.mark.parametrize("width", [40, 160])
def test_each_row_has_its_title_above_its_own_ranks(releases, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    assert run(["recommend", str(releases), "--user", "bob", "--rows", "5", "--n", "2"]) == 0
    blocks = capsys.readouterr().out.partition("next: ")[0].strip().split("\n\n")[1:]
    assert [block.splitlines()[0] for block in blocks] == ["Crime, like Film 111", "Drama", "Crime"]
    assert [[line.split()[0] for line in block.splitlines()[2:]] for block in blocks] == [["1", "2"]] * 3
    assert run(["recommend", str(releases), "--user", "bob", "--rows", "5", "--n", "2", "--json"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["title"] for row in record["rows"]] == ["Crime, like Film 111", "Drama", "Crime"]
    assert record["candidates"] == [one for row in record["rows"] for one in row["candidates"]]


def test_two_interests_whose_names_begin_alike_stay_apart_in_a_narrow_table():
    films = ("Downing Mona (2000)", "Pulp Fiction (1994)", "大丈夫日记")
    names = [f"Comedy · Drama · Romance, like {film}" for film in films]
    interests = [api.Interest(k, "implicit", name, 0.5, (name,), 1, None) for k, name in enumerate(names)]
    printed = StringIO()
    shown = Recommendation("ann", "0001", (), tuple(interests))
    print_recommendation(shown, explain=True, console=Console(file=printed, width=60))
    for ending in ("(2000)", "(1994)", "大丈夫日记"):
        assert printed.getvalue().count(ending) == 2, "the name, and its item"
    assert max(map(cell_len, printed.getvalue().splitlines())) <= 60


def test_a_title_breaks_no_row_and_tells_the_terminal_nothing(tmp_path: Path, capsys):
    publish_small(tmp_path / "own")
    title = "Two\nlines, \x1b[31mred, \u202eback, \N{WOMAN}\u200d\N{GIRL}"
    pl.DataFrame({"item_id": [201], "topics": [["Drama"]], "title": [title]}).write_parquet(tmp_path / "new.parquet")
    add_items(tmp_path / "own", tmp_path / "new.parquet")
    assert run(["recommend", str(tmp_path / "own"), "--history", "201", "--n", "2", "--explain"]) == 0
    assert run(["recommend", str(tmp_path / "own"), "--followed-topics", "Drama", "--n", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("Two lines,  [31mred,  back, \N{WOMAN}\u200d\N{GIRL}") == 4, (
        "as origin of an interest, reason of two, and found"
    )
    assert not {"\x1b", "\u202e"} & set(out)


def test_an_anonymous_user_gets_candidates_and_learns_what_is_unknown(releases: Path, capsys):
    topics = "Crime,drama,Opera"
    assert run(["recommend", str(releases), "--history", "101, 999", "--followed-topics", topics, "--n", "2"]) == 0
    captured = capsys.readouterr()
    assert "unknown items: 999\nunknown topics: 'drama', 'Opera'\n" in captured.out
    assert "'drama' is not a topic of this release; did you mean 'Drama'?" in captured.err
    assert "'Opera' is not a topic of this release\n" in captured.err


def test_all_users_go_to_a_folder_and_on_to_json_lines(releases: Path, tmp_path: Path, capsys):
    results, lines = tmp_path / "results", tmp_path / "results.jsonl"
    assert run(["recommend", str(releases), "--all", "--out", str(results), "--n", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["users"] == 3
    assert pl.read_parquet(results / "*.parquet")["user_id"].to_list() == ["ann", "bob", "eve"]
    call = ["recommend", str(releases), "--all", "--out", str(results), "--n", "5", "--export"]
    assert run([*call, str(lines)]) == 0, "what is finished is exported"
    assert [json.loads(line)["user_id"] for line in lines.read_text().splitlines()] == ["ann", "bob", "eve"]
    assert run(["recommend", str(releases), "--all", "--out", str(results)]) == 2, "other candidates"
    assert run([*call, str(tmp_path / "results.csv")]) == 2
    assert "ends in .jsonl or .parquet" in capsys.readouterr().err
    assert run(["recommend", str(releases), "--all", "--out", str(results), "--overwrite"]) == 0


def test_the_reasons_of_all_users_are_in_their_folder_and_in_both_exports(releases: Path, tmp_path: Path):
    results = tmp_path / "results"
    call = ["recommend", str(releases), "--all", "--out", str(results), "--n", "5", "--shard-users", "2", "--explain"]
    assert run([*call, "--vectors"]) == 0
    settings = results / "batch.json"
    settings.write_text(settings.read_text().replace('"explain": true', '"explain": false'))
    assert run([*call, "--vectors"]) == 2, "the shards that exist have no reasons"
    assert run([*call, "--vectors", "--overwrite"]) == 0
    for name in ("lines.jsonl", "flat.parquet"):
        assert run([*call, "--vectors", "--export", str(tmp_path / name)]) == 0
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert [one["name"] for one in lines[0]["interests"]] == ["whole history", "Drama", "Crime"]
    assert "vector" not in lines[0]["interests"][0]
    assert {tuple(one["because"]) for one in lines[0]["candidates"]} <= {(101, 102), (111,)}
    flat = pl.read_parquet(tmp_path / "flat.parquet")
    assert flat.columns[-1] == "because"
    assert flat["because"].to_list() == [one["because"] for line in lines for one in line["candidates"]]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "give one of"),
        (["--user", "ann", "--all"], 2, "give one of"),
        (["--user", "ann", "--history", "101"], 2, "give one of"),
        (["--all"], 2, "give --out FOLDER"),
        (["--all", "--out", "x", "--shard-users", "9" * 30], 2, "--shard-users"),
        (["--user", "ann", "--n", "9" * 30], 2, "--n"),
        (["--user", "ann", "--out", "x.parquet"], 2, "does not read --out"),
        (["--history", "abc"], 2, "item 'abc': the ids of this data are integers"),
        (["--user", "ann", "--n", "0"], 2, "n"),
        (["--user", "ann", "--rows", "0"], 2, "rows = 0; expected 1 to 20"),
        (["--all", "--out", "x", "--rows", "2"], 2, "'recommend --all' does not read --rows"),
        (["--user", "ann", "--processes", "2"], 2, "'recommend --user' does not read --processes; leave it out"),
        (["--history", "101", "--overwrite"], 2, "'recommend --history' does not read --overwrite; leave it out"),
        (["--all", "--out", "x", "--exclude", "101"], 2, "'recommend --all' does not read --exclude"),
    ],
)
def test_wrong_calls_are_one_line_with_their_code(releases, arguments, code, message, capsys):
    assert run(["recommend", str(releases), *arguments]) == code
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_releases_are_listed_and_rolled_back(tmp_path: Path, capsys):
    publish_small(tmp_path)
    publish_small(tmp_path)
    assert run(["releases", str(tmp_path), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert listed["current"] == "0002"
    assert [row["serves"] for row in listed["versions"]] == [False, True]
    assert run(["rollback", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["version"] == "0001"
    assert run(["rollback", str(tmp_path)]) == 2
    assert "0001 is the oldest version" in capsys.readouterr().err
    assert run(["rollback", str(tmp_path), "0002"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}: version 0002 serves\n"


def test_a_version_that_cannot_be_opened_is_listed_as_such_and_is_not_rolled_back_to(tmp_path: Path, capsys):
    publish_small(tmp_path)
    publish_small(tmp_path)
    (tmp_path / "versions" / "0001" / "manifest.json").write_text("{")
    assert run(["releases", str(tmp_path)]) == 0
    assert "0001 cannot serve: " in capsys.readouterr().err
    assert run(["rollback", str(tmp_path)]) == 4
    assert "Version 0002 still serves" in capsys.readouterr().err
    assert (tmp_path / "CURRENT").read_text().strip() == "0002"


@pytest.mark.parametrize("lost", [True, False])
def test_a_version_whose_index_a_server_lost_is_marked_and_a_server_that_fails_is_asked_once(
    tmp_path: Path, capsys, monkeypatch, lost
):
    for _ in range(3):
        publish_small(tmp_path)
    asked = []

    def load(folder: Path) -> None:
        asked.append(folder.parent.name)
        if lost and folder.parent.name == "0002":
            raise ArtefactError("table t is gone")
        if not lost:
            raise UnavailableError("no answer within 2 s")

    monkeypatch.setattr("multitudes.retrieval.rollback.load_index", load)
    assert run(["releases", str(tmp_path), "--json"]) == 0
    assert not asked, "an embedded index is not opened"
    monkeypatch.setattr(IndexConfig, "built_in", ())
    capsys.readouterr()
    assert run(["releases", str(tmp_path), "--json"]) == 0
    printed = capsys.readouterr()
    marks = [line.split()[0] for line in printed.out.splitlines()[1:4]]
    rows = json.loads(printed.out.splitlines()[-1])["versions"]
    if lost:
        assert asked == ["0001", "0002", "0003"]
        assert marks == ["0001", "✗", "→"]
        assert printed.err == "multitudes: warning: 0002 cannot serve: table t is gone\n"
        assert [row.get("problem") for row in rows] == [None, "table t is gone", None]
    else:
        assert asked == ["0001"]
        assert marks == ["?", "?", "→?"]
        assert printed.err == "multitudes: warning: store not asked: no answer within 2 s\n"
        assert {row["not_asked"] for row in rows} == {"no answer within 2 s"}
