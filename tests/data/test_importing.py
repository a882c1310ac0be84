"""A person's own files of any layout become the canonical tables; what cannot be used is counted and said."""

import csv
import gzip
import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from multitudes.data.importing.config import ImportConfig
from multitudes.data.importing.importer import import_files
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes.errors import DataError, UsageError

START = 1_500_000_000
EVENTS = [(f"u{n % 3}", f"i{n % 4}", START + 5000 * n, n % 5 + 1) for n in range(30)]
USERS, ITEMS, TIMES, RATINGS = (list(column) for column in zip(*EVENTS, strict=True))


def lines(header, row):
    """Return a file whose rows are ``row(user, item, time, rating)``."""
    return "".join(f"{line}\n" for line in [*([header] if header else []), *(row(*event) for event in EVENTS)])


def moment(time: int) -> datetime:
    return datetime.fromtimestamp(time, UTC)


def write(folder: Path, name: str, content: str | bytes, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def imported(
    folder: Path, files, table: str = "events", config: dict[str, Any] | None = None, **options
) -> pl.DataFrame:
    import_files(files, folder / "out", ImportConfig(**config or {}), **options)
    return pl.read_parquet(folder / "out" / f"{table}.parquet", glob=False)


def refusal(folder: Path, files, config: dict[str, Any] | None = None, **options) -> str:
    with pytest.raises((DataError, UsageError)) as caught:
        imported(folder, files, config=config, **options)
    assert "\n" not in str(caught.value)
    assert not (folder / "out").exists()
    return str(caught.value)


def dropped(folder: Path) -> list[tuple[int, str]]:
    with (folder / "out.dropped.csv").open() as file:
        return [(int(row["line"]), row["reason"]) for row in csv.DictReader(file)]


PLAIN = lines("user,item,ts", lambda u, i, t, _: f"{u},{i},{t}")
LAYOUTS = {
    "movielens": lines("userId,movieId,rating,timestamp", lambda u, i, t, r: f"{u},{i},{r},{t}"),
    "recbole": lines("user_id:token\titem_id:token\ttimestamp:float", lambda u, i, t, _: f"{u}\t{i}\t{t}.0"),
    "dat": lines("", lambda u, i, t, r: f"{u}::{i}::{r}::{t}"),
    "semicolon": lines("customer;sku;date", lambda u, i, t, _: f"{u};{i};{moment(t):%d.%m.%Y %H:%M:%S}"),
    "pipe": lines("user|product_id|created_at", lambda u, i, t, _: f"{u}|{i}|{moment(t).isoformat()}"),
    "milliseconds": lines("uid,iid,time", lambda u, i, t, _: f"{u},{i},{t * 1000 + 999}"),
    "microseconds": lines("uid,iid,time", lambda u, i, t, _: f"{u},{i},{t * 1_000_000}"),
    "american": lines("uid,iid,when", lambda u, i, t, _: f"{u},{i},{moment(t):%m/%d/%Y %I:%M:%S %p}"),
    "year first": lines("uid,iid,when", lambda u, i, t, _: f"{u},{i},{moment(t):%Y.%m.%d %H:%M:%S}"),
    "Korean dates": lines("uid,iid,when", lambda u, i, t, _: f"{u},{i},{moment(t):%Y. %m. %d. %H:%M:%S}"),
    "zone": lines("uid,iid,when", lambda u, i, t, _: f"{u},{i},{moment(t + 7200):%Y-%m-%dT%H:%M:%S}+02:00"),
    "foursquare": lines(
        "userId\tvenueId\tutcTimestamp", lambda u, i, t, _: f"{u}\t{i}\t{moment(t):%a %b %d %H:%M:%S +0000 %Y}"
    ),
    "unnamed time": lines("user,item,x", lambda u, i, t, _: f"{u},{i},{t}"),
    "json lines": lines("", lambda u, i, t, _: json.dumps({"reviewerID": u, "asin": i, "unixReviewTime": t})),
    "quoted": lines("user,item,note,ts", lambda u, i, t, _: f'"{u}"," {i} ","a ""note"",\nof two lines",{t}'),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_read_without_being_told(tmp_path, layout):
    found = imported(tmp_path, write(tmp_path, "own.txt", LAYOUTS[layout]))
    assert (found["user_id"].to_list(), found["item_id"].to_list()) == (USERS, ITEMS)
    assert found["timestamp"].to_list() == TIMES
    if "rating" in found.columns:
        assert found["rating"].to_list() == RATINGS


@pytest.mark.parametrize(
    ("pack", "note"),
    [
        (lambda text: gzip.compress(text.encode()), "gzip"),
        (lambda text: pa.compress(text.encode(), codec="zstd", asbytes=True), "zstd"),
        (lambda text: b"\xef\xbb\xbf" + text.encode(), "separator comma"),
        (lambda text: text.encode("utf-16"), "utf-16"),
        (lambda text: text.encode("utf-16-be"), "utf-16-be"),
        (
            lambda text: text.replace("u0", "ü0").encode("latin-1"),
            "cp1252 by its letters; --encoding names another",
        ),
    ],
)
def test_a_packed_or_encoded_file_is_read(tmp_path, pack, note):
    report = import_files(write(tmp_path, "own.csv", pack(PLAIN)), tmp_path / "out")
    found = pl.read_parquet(tmp_path / "out" / "events.parquet")
    assert found["timestamp"].to_list() == TIMES
    assert [user.replace("ü", "u") for user in found["user_id"]] == USERS
    assert report.guesses[0].source.read_as.endswith(note)


LETTERS = {
    "cp949": "회원번호,상품코드,카테고리,구매일시\n회원1,P1,식품 > 과일,2024-01-01\n회원2,P2,의류 > 셔츠,2024-01-02\n",
    "cp932": "会員番号,商品コード,カテゴリ,日時\n会員1,P1,食品 > りんご,2024-01-01\n会員2,P2,衣類 > 靴,2024-01-02\n",
    "gb18030": "用户编号,商品编号,类别,日期\n用户一,P1,食品 > 苹果,2024-01-01\n用户二,P2,服装 > 衬衫,2024-01-02\n",
    "cp1251": "user,item,category,date\nАнна,P1,еда > яблоки,2024-01-01\nБорис,P2,одежда > рубашки,2024-01-02\n",
}


@pytest.mark.parametrize("encoding", LETTERS)
def test_letters_tell_the_encoding_and_a_path_has_a_topic_for_each_level(tmp_path, encoding):
    text = LETTERS[encoding]
    found = imported(tmp_path, write(tmp_path, "own.csv", text.encode(encoding)))
    rows = [line.split(",") for line in text.splitlines()[1:]]
    assert found["user_id"].to_list() == [row[0] for row in rows]
    topics = dict(pl.read_parquet(tmp_path / "out" / "items.parquet")["item_id", "topics"].rows())
    assert topics == {row[1]: [row[2].split(" > ")[0], row[2]] for row in rows}


@pytest.mark.parametrize("separator", ["\x01", "$"])
def test_signs_between_letters_do_not_change_the_guess(tmp_path, separator):
    rows = [f"회원{n:05},상품-{n:05},튼튼한 산 텐트 {n}호,2024-07-23T11:37:59" for n in range(200)]
    text = "\n".join(["회원번호,상품번호,상품명,구매일시", *rows]).replace(",", separator)
    report = import_files(
        write(tmp_path, "own.csv", text.encode("cp949")), tmp_path / "out", ImportConfig(separator=separator)
    )
    assert report.guesses[0].source.read_as.startswith(f"separator {separator!a}, cp949 by its letters")


@pytest.mark.parametrize("named", [{"encoding": "cp949"}, {}], ids=["named", "guessed"])
def test_a_file_of_two_encodings_is_refused_in_one_line(tmp_path, named):
    good = LETTERS["cp949"].replace("\n", "\r\n").encode("cp949")
    good += b"1,P,a,2024-01-03\r\n" * 900_000 * bool(named)  # several chunks
    message = refusal(tmp_path, write(tmp_path, "own.csv", good + "회원3,P3,책,2024-01-03\n".encode()), named)
    line = 1 + good.count(b"\n")
    assert f"line {line:,} is not cp949; save it as UTF-8" in message


def test_a_wrong_encoding_that_was_given_is_named(tmp_path):
    file = write(tmp_path, "own.csv", LETTERS["cp949"].encode("cp949"))
    assert "leave out --encoding utf-8" in refusal(tmp_path, file, {"encoding": "utf-8"})


@pytest.mark.parametrize("wrong", [["a b", "1|2"], [["a"], ["b"]], [[[1.0, 2.0]], [[3.0, 4.0]]]], ids=str)
def test_an_embedding_that_is_no_vector_is_shown(tmp_path, wrong):
    file, items = write(tmp_path, "own.csv", b"user,item,ts\n1,1,5\n1,2,6\n"), tmp_path / "items.parquet"
    pl.DataFrame({"item_id": [1, 2], "embedding": wrong}).write_parquet(items)
    with pytest.raises(DataError, match="column 'embedding' has a value that is no vector, '"):
        import_files(file, tmp_path / "out", items=[items])
    pl.DataFrame({"item_id": [1, 2], "embedding": ["", "1|2"]}).write_parquet(items)
    import_files(file, tmp_path / "out", items=[items])
    assert pl.read_parquet(tmp_path / "out" / "items.parquet")["embedding"].to_list() == [[], [1.0, 2.0]]


def test_parquet_keeps_its_types(tmp_path):
    frame = pl.DataFrame({"customer_id": [1, 2], "sku": [7, 8], "at": [datetime(2020, 1, 1), datetime(2020, 1, 2)]})
    frame.write_parquet(tmp_path / "own.pq")
    found = imported(tmp_path, tmp_path / "own.pq", columns={"at": "timestamp"})
    assert found.rows() == [(1, 7, 1577836800), (2, 8, 1577923200)]


def test_a_page_of_parquet_that_was_changed_is_refused_by_the_name_of_its_file(tmp_path):
    parquet.write_table(pa.table({"user": [1, 2], "item": [7, 8], "ts": [5, 6]}), tmp_path / "own.pq")
    whole = (tmp_path / "own.pq").read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    refused = 0
    for place in range(4, footer, 27):
        changed = bytearray(whole)
        changed[place] ^= 0x10
        write(tmp_path, "own.pq", bytes(changed))
        with suppress(DataError):  # some changes are of a value
            imported(tmp_path, tmp_path / "own.pq", overwrite=True)
            continue
        refused += 1
    assert refused > 3


@pytest.mark.parametrize(
    ("values", "topics"),
    [
        (["a|b", "b", "(no genres listed)"], [["a", "b"], ["b"], []]),
        (["a, b", "b", "a,b,a"], [["a", "b"], ["b"], ["a", "b"]]),
        (["Clothing, Shoes", "Books", ""], [["Clothing, Shoes"], ["Books"], []]),
        (['["a, b"]', '["c", "a, b"]', "[]"], [["a, b"], ["c", "a, b"], []]),
        (["['a', 'b']", "['b']", "[]"], [["a", "b"], ["b"], []]),
        (['[["a", "b"], ["b"]]', '[["a"]]', "[]"], [["a", "b"], ["a"], []]),
    ],
)
def test_lists_of_topics_are_split(tmp_path, values, topics):
    events = write(tmp_path, "own.csv", PLAIN)
    rows = "".join(json.dumps({"id": f"i{n}", "category": value}) + "\n" for n, value in enumerate(values))
    found = imported(tmp_path, events, "items", items=[write(tmp_path, "items.jsonl", rows)])
    assert found["topics"].to_list() == topics


def test_topics_are_those_of_the_items_and_a_row_for_each_becomes_a_list(tmp_path):
    text = lines("user,item,category,ts", lambda u, i, t, _: f"{u},{i},{'odd' if t == START else 'topic ' + i},{t}")
    found = imported(tmp_path, write(tmp_path, "own.csv", text), "items")
    assert dict(found.iter_rows()) == {f"i{n}": [f"topic i{n}"] for n in range(4)}
    text = lines("user,item,category,ts", lambda u, i, t, r: f"{u},{i},{r}th visit,{t}")
    assert import_files(write(tmp_path, "own.csv", text), tmp_path / "no").guesses[0].unused == ("category",)
    assert not (tmp_path / "no" / "items.parquet").exists()
    events = write(tmp_path, "own.csv", PLAIN)
    follows = write(tmp_path, "follows.csv", "user,topic\nu1,b\nu1,a\nu2,b\nu1,b\n")
    users = imported(tmp_path, events, "users", users=[follows], overwrite=True)
    assert users.rows() == [("u1", ["b", "a"]), ("u2", ["b"])]


def test_a_file_of_check_ins_without_a_header_names_the_categories_of_its_places(tmp_path):
    zone = {"u0": -240, "u1": -300, "u2": -240}
    text = lines(
        "",
        lambda u, i, t, _: (
            f"{u}\t{i}\t4bf5{'ab'[int(i[1]) % 2]}\t{['Bar', 'Gym'][int(i[1]) % 2]}\t40.71{i[1]}\t-74.0\t{zone[u]}"
            f"\t{moment(t):%a %b %d %H:%M:%S +0000 %Y}"
        ),
    )
    items = imported(tmp_path, write(tmp_path, "checkins.txt", text), "items")
    assert dict(items.sort("item_id").rows()) == {"i0": ["Bar"], "i1": ["Gym"], "i2": ["Bar"], "i3": ["Gym"]}
    events = pl.read_parquet(tmp_path / "out" / "events.parquet")
    assert events["timestamp"].to_list() == TIMES
    assert events.columns == ["user_id", "item_id", "timestamp"], "coordinates and time zones are no ratings"


def test_ids_are_whole_numbers_only_if_all_tables_say_so_and_those_of_another_column_are_noticed(tmp_path):
    own = write(tmp_path, "own.csv", PLAIN)
    items = write(tmp_path, "items.csv", "id,title\n1,One\n2,Two\n")
    assert "no item_id of the events, such as 'i0', is among those of the items" in refusal(
        tmp_path, own, items=[items]
    )
    events = write(tmp_path, "own.csv", "user,item,ts\n1,1.0,5\n2,2.0,6\n")
    assert imported(tmp_path, events).rows() == [(1, 1, 5), (2, 2, 6)]
    users = write(tmp_path, "users.csv", "user,topics\n01,a\n2,b\n")
    assert imported(tmp_path, events, users=[users], overwrite=True).rows() == [("1", 1, 5), ("2", 2, 6)]


def test_files_are_sorted_into_tables_by_their_columns(tmp_path):
    events, more = write(tmp_path, "1.csv", PLAIN), write(tmp_path, "2.jsonl", LAYOUTS["json lines"])
    items = write(tmp_path, "items.csv", "sku,name,genres,price\ni0,Zero,a|b,1.5\ni1,One,b,\n")
    assert imported(tmp_path, [items, events, more]).height == 2 * len(EVENTS)
    found = pl.read_parquet(tmp_path / "out" / "items.parquet")
    assert found.rows(named=True)[0] == {"item_id": "i0", "topics": ["a", "b"], "title": "Zero", "price": 1.5}


def test_rows_without_times_are_an_order(tmp_path):
    own = write(tmp_path, "own.csv", lines("user,item", lambda u, i, *_: f"{u},{i}"))
    assert "--file-order" in refusal(tmp_path, own)
    assert import_files(own, tmp_path / "out", ImportConfig(file_order=True)).split == "leave_one_out"
    found = pl.read_parquet(tmp_path / "out" / "events.parquet")
    assert found.filter(user_id="u1")["timestamp"].to_list() == list(range(10))


BAD = (
    PLAIN + 'u1,i1,yesterday\n,i1,5\nu1,i1\nu1,i1,5,5\nu1,"i1,5\n'  # lines 32 to 36
)


def test_every_row_that_is_left_out_has_its_line_and_reason(tmp_path):
    own = write(tmp_path, "own.csv", BAD)
    assert imported(tmp_path, own, config={"max_dropped": 0.2})["timestamp"].to_list() == TIMES
    assert dropped(tmp_path) == [
        (32, "timestamp 'yesterday' is not written as seconds since 1970"),
        (33, "no user_id"),
        (34, "fewer columns than in the first line"),
        (35, "more columns than in the first line"),
        (36, "a quotation mark that does not close, or text after one that does"),
    ]
    write(tmp_path, "own.csv", PLAIN)
    imported(tmp_path, own, overwrite=True)
    assert not (tmp_path / "out.dropped.csv").exists()


def test_a_quotation_mark_that_takes_what_is_behind_it_is_refused_and_one_that_closes_is_not(tmp_path):
    rows = [f"u{n % 3},i{n},{n}" for n in range(500)]
    open_mark = "\n".join(["user,item,time", *rows, 'u1,"i1,5', *rows, ""])
    message = "line 502: a quotation mark that does not close takes the 500 lines behind it; close it, or remove it"
    assert message in refusal(tmp_path, write(tmp_path, "own.csv", open_mark))
    assert not (tmp_path / "out").exists()
    closed = write(tmp_path, "own.csv", open_mark.replace('"i1', '"i1"'))
    assert len(imported(tmp_path, closed)) == 1001


def test_lines_are_right_after_quoted_line_breaks_and_rejected_lines(tmp_path):
    text = 'user,item,note,ts\nu,i,"a\nb",5\nu,i\nu,i,,x\nu,i,"\n\n",6\nu,i,,y\nu\n'
    imported(tmp_path, write(tmp_path, "own.csv", text), config={"max_dropped": 1})
    assert [line for line, _ in dropped(tmp_path)] == [4, 5, 9, 10]


def test_too_many_unusable_rows_are_a_refusal_that_names_them_all(tmp_path):
    message = refusal(tmp_path, write(tmp_path, "own.csv", BAD))
    assert "5 of 35 rows cannot be used" in message
    assert "1 × no user_id (line 33)" in message
    assert "--max-dropped 0.15" in message
    assert len(dropped(tmp_path)) == 5


GOOD = PLAIN.encode()
BROKEN = {
    "empty": (b"", "empty"),
    "blank": (b"\n\n", "empty"),
    "header only": (b"user,item,ts\n", "no rows"),
    "duplicate columns": (b"user,item,user,ts\n1,2,3,4\n", "columns 1 and 3 are both called 'user'"),
    "columns that differ by case": (b"user,item,ts,TS\n1,2,3,4\n", "columns 3 and 4 are both called 'ts'"),
    "binary": (bytes(range(256)) * 40, "has NUL bytes"),
    "web page": (b"<!DOCTYPE html><html><h1>Not found</h1></html>\n", "is HTML or XML"),
    "Arrow stream": (b"\xff\xff\xff\xff\x10\0\0\0", "is an Arrow stream"),
    "title above the names": (b"# of 2024\nuser,item,ts\n1,2,5\n1,3,6\n", "than in the first line: # of 2024"),
    "numbers of a spreadsheet": (
        b"user,item,ts\n1,9.78E+12,5\n1,9.78E+12,6\n",
        "2 × item_id '9.78E+12' has a NUL, or was rounded by a spreadsheet",
    ),
    "two units": (
        b"user,item,ts\n" + b"1,2,1500000000\n1,2,1500000000000\n1,2,1500000000\n" * 9,
        "9 × timestamp '1500000000000' is not written as seconds since 1970 (line 3, 6, 9, …)",
    ),
    "two units, most of them small": (
        b"user,item,ts\n" + b"1,2,1500000000\n1,2,1500000000000\n1,2,1500000000000\n" * 9,
        "9 × timestamp '1500000000' is not written as milliseconds since 1970 (line 2, 5, 8, …)",
    ),
    "zip": (b"PK\x03\x04...", "zip archive"),
    "truncated gzip": (gzip.compress(GOOD * 50)[:100], "cut or damaged"),
    "truncated Parquet": (b"PAR1" + bytes(40), "; write or copy the file again"),
    "words as ratings": (
        b"user,item,ts,rating\n1,2,5,good\n1,3,6,bad\n",
        "correct them, or name other columns with --map",
    ),
    "one long line": (b"user,item,ts\n1,2," + b"3" * (17 << 20), "line 2 is longer than 16 MiB"),
    "day or month": (b"user,item,ts\n1,2,01/02/2020\n1,2,03/04/2020\n", "--time-format '%d/%m/%Y'"),
    "no times": (b"user,item,ts\n1,2,never\n1,2,soon\n", "column 'ts' is no time"),
    "three kinds of dates": (
        b"user;item;ts\n" + b"1;2;2020-01-02\n1;2;1/31/2020\n1;2;Jan 5, 2020\n" * 9,
        "18 of 27 rows",
    ),
    "JSON over many lines": (b'{\n"user": 1,\n"item": 2}\n', "expected one object on each line"),
    "unknown names": (
        b"a,b,c\nx,y,1500000000\n",
        "no column for user_id and item_id among a, b, c (separator comma); name it with --map COLUMN=user_id",
    ),
    "no separator that is known": (
        b"user^item^ts\nx^y^1500000000\n",
        "among user^item^ts (no separator found; --separator names one); name it",
    ),
    "a first line in another encoding": (
        "회원,상품,날짜\n".encode("cp949") + "회원1,상품1,2024-01-01\n".encode() * 3,
        "(separator comma, line 1 is not UTF-8, unlike most; save the file in one encoding); name it",
    ),
    "unknown encoding": (
        "회원,물건,날짜\n1,2,5\n".encode("cp949"),
        "among 회원, 물건, 날짜 (separator comma, cp949 by its letters; --encoding names another); name it",
    ),
    "items": (b"item,title\n1,One\n2,Two\n", "A file of items is given with --items"),
    "prose": (b"Dear all,\nthis is\nno table, is it?\n", "no column for"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_in_one_line_that_names_it(tmp_path, name):
    content, expected = BROKEN[name]
    message = refusal(tmp_path, write(tmp_path, "own.csv", content))
    assert expected in message
    assert "own.csv" in message


def test_a_line_that_is_too_long_or_in_another_encoding_is_said(tmp_path):
    own = write(tmp_path, "own.csv", GOOD + b"u1,i1," + b"5" * 32_100_000 + b"\n")
    for encoding in (None, "utf-8", "latin-1"):
        assert "line 32 is longer than 16 MiB" in refusal(tmp_path, own, {"encoding": encoding})
    own = write(tmp_path, "own.csv", GOOD + f"ü,i1,{START}\né,i1,{START}\n".encode() + "ü,i1,6\n".encode("latin-1"))
    assert imported(tmp_path, own).height == len(EVENTS) + 2
    assert dropped(tmp_path) == [(34, "not UTF-8, unlike most of the file")]


def test_all_problems_come_at_once(tmp_path):
    own = write(tmp_path, "own.csv", "user,item,ts\n")
    message = refusal(tmp_path, own, items=[tmp_path], users=[tmp_path / "absent.csv"])
    assert message.startswith("3 problems: (1) ")
    assert f"{tmp_path}: is a folder; give its files" in message
    assert "absent.csv: no such file" in message


def test_the_map_wins_over_the_guess_and_leaves_columns_out(tmp_path):
    text = lines("user,item,product,date,ts,rating", lambda u, i, t, r: f"{u},x{i},{i},2020-01-01,{t},{r}")
    own = write(tmp_path, "own.csv", text)
    found = imported(tmp_path, own, columns={"product": "item_id", "item": "", "rating": ""})
    assert found["item_id"].to_list() == ITEMS
    assert found.columns == ["user_id", "item_id", "timestamp"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"usr": "user_id"}, "no table for it has a column 'usr'; did you mean 'user'?"),
        ({"user": "usr_id"}, "did you mean 'user_id'?"),
        ({"user_id": "user"}, "the other way round: --map user=user_id"),
        ({"user": "user_id", "item": "user_id"}, "another column is mapped to 'user_id' too"),
    ],
)
def test_a_map_that_fits_nothing_is_refused(tmp_path, columns, expected):
    assert expected in refusal(tmp_path, write(tmp_path, "own.csv", PLAIN), columns=columns)


def test_the_report_says_which_ratings_are_likes_and_which_split_fits(tmp_path):
    report = import_files(write(tmp_path, "own.csv", LAYOUTS["movielens"]), tmp_path / "out")
    assert report.ratings == {"lowest": 1, "highest": 5, "mean": 3, "liked": 0.4}
    assert (report.min_rating, report.split) == (3.5, "user")


def test_nothing_but_an_import_is_replaced(tmp_path):
    own = write(tmp_path, "own.csv", PLAIN)
    imported(tmp_path, own)
    with pytest.raises(UsageError, match="--overwrite"):
        imported(tmp_path, own)
    (tmp_path / "out" / "prepared").mkdir()
    with pytest.raises(UsageError, match="has prepared beside"):
        imported(tmp_path, own, overwrite=True)
    assert (tmp_path / "out" / "prepared").exists()


def test_names_of_columns_may_be_anything(tmp_path):
    own = write(
        tmp_path, 'it\'s "own".csv', lines("user,item,ts,file_row,reason", lambda u, i, t, r: f"{u},{i},{t},{r},x")
    )
    header = 'item,reason,unusable_because,select,"a ""b"" \'c\'"\n'
    items = write(tmp_path, "items.csv", header + "".join(f"i{n},r{n},2,3,4\n" for n in range(4)))
    found = imported(tmp_path, own, "items", items=[items])
    assert found.columns == ["item_id", "topics", "reason", "select", "a \"b\" 'c'"]


def test_a_packed_file_that_unpacks_to_far_more_than_a_table_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("multitudes.data.importing.text_files._ALWAYS_UNPACKED_BYTES", 1_000)
    bomb = write(tmp_path, "own.csv.gz", gzip.compress(b"user,item,ts\n" + b"1,2,3\n" * 1_000_000))
    assert "unpacks to more than 100 times its size; expected a table" in refusal(tmp_path, bomb)
    control = write(tmp_path, "own.csv.gz", gzip.compress(GOOD * 3))
    assert imported(tmp_path, control, config={"max_dropped": 0.1}).height == 3 * len(EVENTS)


def test_parquet_that_holds_far_more_than_a_table_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("multitudes.data.importing.sources._ALWAYS_READ", 10_000)
    same = pl.DataFrame({"user_id": [1] * 100_000, "item_id": 2, "timestamp": 3})
    same.write_parquet(tmp_path / "same.parquet")
    assert "holds 300,000 values in " in refusal(tmp_path, [tmp_path / "same.parquet"])
    nested: pa.DataType = pa.int64()
    for _ in range(40):
        nested = pa.list_(nested)
    table = pa.table({"user_id": USERS, "item_id": ITEMS, "timestamp": TIMES, "deep": pa.nulls(len(USERS), nested)})
    parquet.write_table(table, tmp_path / "deep.parquet")
    assert "levels deep" in refusal(tmp_path, [tmp_path / "deep.parquet"])
    parquet.write_table(table.drop_columns("deep"), tmp_path / "control.parquet")
    assert imported(tmp_path, [tmp_path / "control.parquet"]).height == len(USERS)


def test_a_list_of_very_many_topics_is_read_once_each_in_its_order(tmp_path):
    """Comparing each with all others would take an hour."""
    topics = [f"t{n}" for n in range(250_000)]
    items = write(tmp_path, "items.csv", f"item,topics\ni0,{'|'.join(['z', *topics, 'z', 't1'])}\ni0,a|t2\ni1,b| |b\n")
    found = imported(tmp_path, [write(tmp_path, "events.csv", PLAIN)], "items", items=[items])
    assert found.sort("item_id")["topics"][:2].to_list() == [["z", *topics, "a"], ["b"]]


IS_IT_CUT = ", where the file ends without a line break: is it cut?"
CUT = {  # bytes that the end lacks, and what is said of the last row
    "whole": (PLAIN, 0, None),
    "without the last line break": (PLAIN, 1, None),
    "fewer columns": (PLAIN, 13, "fewer columns than in the first line"),
    "a shorter time": (PLAIN, 5, "timestamp '150014' is not written as seconds since 1970"),
    "in quotation marks": (
        lines("user,ts,item", lambda u, i, t, _: f'{u},{t},"{i}"'),
        3,
        "a quotation mark that does not close, or text after one that does",
    ),
    "JSON": (LAYOUTS["json lines"], 3, "not JSON: expected one object on each line"),
}


@pytest.mark.parametrize("pack", [str.encode, lambda text: gzip.compress(text.encode())], ids=["plain", "gzip"])
@pytest.mark.parametrize("case", CUT)
def test_a_file_that_ends_in_its_last_row_says_so(tmp_path, case, pack):
    text, missing, reason = CUT[case]
    own = write(tmp_path, "own.csv", pack(text[: len(text) - missing]))
    assert imported(tmp_path, own).height == len(EVENTS) - bool(reason)
    if reason is None:
        assert not (tmp_path / "out.dropped.csv").exists()
    else:
        assert dropped(tmp_path) == [(len(text.splitlines()), reason + IS_IT_CUT)]


def test_only_the_last_row_of_a_cut_file_is_said_to_be_cut(tmp_path):
    config = {"max_dropped": 0.2}
    imported(tmp_path, write(tmp_path, "own.csv", BAD[:-1]), config=config)
    assert [IS_IT_CUT in reason for _, reason in dropped(tmp_path)] == [False] * 4 + [True]
    imported(
        tmp_path,
        write(tmp_path, "own.csv", BAD.rpartition("u1,")[0] + "u1,i1,1500000000"),
        config=config,
        overwrite=True,
    )
    assert not any(IS_IT_CUT in reason for _, reason in dropped(tmp_path)), "the last row is whole"


def test_a_name_that_looks_like_a_pattern_is_the_name_of_one_file(tmp_path):
    folder = tmp_path / "shop[1]"
    for place in (folder, tmp_path / "shop1"):
        place.mkdir()
        for name in ("own[1]*.csv", "own1x.csv"):
            write(place, name, PLAIN[: PLAIN.index("u1")])
        pl.DataFrame({"user_id": [1, 2], "item_id": [3, 4], "timestamp": [5, 6]}).write_parquet(
            place / "events.parquet"
        )
    own = write(folder, "own[1]*.csv", PLAIN)
    assert imported(folder, own).height == len(EVENTS)
    more = pl.DataFrame({"user_id": USERS, "item_id": ITEMS, "timestamp": TIMES})
    for suffix in ("parquet", "csv"):
        getattr(more, f"write_{suffix}")(folder / f"events.{suffix}")
        prepared = prepare(folder, folder / suffix, PrepareConfig(split="user"))
        assert prepared.manifest["counts"]["events"] == len(EVENTS)
        assert len(prepared.user_ids) == 3
        (folder / f"events.{suffix}").unlink()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_lines_may_end_in_two_ways(tmp_path, encoding):
    text = PLAIN.replace("\n", "\r\n", 20).replace("u0", "ü0")
    found = imported(tmp_path, write(tmp_path, "own.csv", text, encoding))
    assert found["timestamp"].to_list() == TIMES
    own = write(tmp_path, "own.csv", text.encode() + "ü,i1,6\n".encode("latin-1"))
    imported(tmp_path, own, overwrite=True)
    assert dropped(tmp_path) == [(32, "not UTF-8, unlike most of the file")]


def test_a_missing_id_is_none_however_a_program_writes_it(tmp_path):
    own = write(tmp_path, "own.csv", PLAIN + "NA,i1,5\nNone,i1,5\n<NA>,i1,5\n")
    imported(tmp_path, own)
    assert dropped(tmp_path) == [(32, "no user_id"), (33, "no user_id"), (34, "no user_id")]


def test_a_zero_among_dates_is_no_time_and_a_clock_may_start_at_zero(tmp_path):
    imported(tmp_path, write(tmp_path, "own.csv", PLAIN + "u1,i1,0\n"))
    assert dropped(tmp_path) == [(32, "timestamp '0' is not written as seconds since 1970")]
    clock = lines("user,item,ts", lambda u, i, t, _: f"{u},{i},{(t - START) * 4_000_000}")  # of 19 years in ms
    assert imported(tmp_path, write(tmp_path, "own.csv", clock), overwrite=True)["timestamp"].min() == 0


def test_what_is_no_file_is_called_so(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    for name in ("pipe.csv", "loop.csv"):
        assert "a pipe, a device or a broken link, not a file" in refusal(tmp_path, tmp_path / name)
    assert "no such file" in refusal(tmp_path, tmp_path / "absent.csv")


def test_the_report_counts_actions_and_rare_topics_and_has_the_first_and_the_last_day(tmp_path):
    text = lines("user,item,action,ts", lambda u, i, t, r: f"{u},{i},{['buy', 'view'][r > 1]},{t}")
    items = write(tmp_path, "items.csv", "item,category\n" + "".join(f"i{n},Food > Leaf {n}\n" for n in range(6)))
    report = import_files(write(tmp_path, "own.csv", text), tmp_path / "out", items=[items])
    assert report.actions == {"view": 24, "buy": 6}
    assert report.topics == (7, 6)
    assert report.days == ["2017-07-14", "2017-07-15"]
    own = write(tmp_path, "own.csv", lines("user,item", lambda u, i, *_: f"{u},{i}"))
    report = import_files(own, tmp_path / "order", ImportConfig(file_order=True))
    assert (report.actions, report.topics, report.days) == ({}, (0, 0), None)
