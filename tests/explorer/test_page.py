"""The page: one document whose policy allows what is inside it and nothing else, and titles that are only titles."""

import json
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from multitudes import api
from multitudes.errors import DataError, UsageError
from multitudes.explorer.images import read_images
from multitudes.explorer.page import Beside, live_page, static_page

EVIL = "</script><img src=x onerror=alert(1)>&"
PLACE = api.MapItem(1, EVIL, 0.5, 0.5, 1)


class Tags(HTMLParser):
    """Collects the elements of a document and the text of its scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs


def an_answer() -> api.ExploreResponse:
    candidate = api.Candidate(1, EVIL, 1.0, 1, "implicit", 1, EVIL, (1,), (api.HistoryItem(1, EVIL),))
    interest = api.Interest(1, "implicit", EVIL, 1.0, (EVIL,), 1, None)
    event = api.ExploredEvent(PLACE, None, 1, False)
    return api.ExploreResponse(EVIL, "0001", "", (), (event,), (interest,), (candidate,), (PLACE,), (candidate,))


def check_policy(html: str, policy: str) -> None:
    for name in ("style", "script"):
        (text,) = re.findall(rf"<{name}>(.*?)</{name}>", html, re.DOTALL)
        assert f"{name}-src 'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "http:" not in policy
    assert "https:" not in policy


def test_the_page_loads_nothing_and_its_policy_is_that_of_its_text():
    page = live_page()
    check_policy(page.html, page.policy)
    assert not {value for name, value in Tags(page.html).attributes if name in {"src", "href"}} - {"data:,"}
    assert not re.search(r"\bstyle=|\son\w+=", page.html.partition("<script>")[0]), "the policy forbids them"
    assert "innerHTML" not in page.html
    assert "<!--" not in page.html


def test_images_are_of_the_hosts_of_a_table_and_of_none_without_one(tmp_path):
    def write(*urls: str | None) -> Path:
        file: Path = tmp_path / "items.parquet"
        pl.DataFrame({"item_id": range(1, len(urls) + 1), "image_url": urls}).write_parquet(file)
        return file

    images = read_images(
        write("https://covers.example/1.jpg", None, "http://127.0.0.1:80/3 4;.jpg".replace(" ", "%20"))
    )
    assert images.urls == {"1": "https://covers.example/1.jpg", "3": "http://127.0.0.1:80/3%204;.jpg"}
    assert "img-src data: http://127.0.0.1:80 https://covers.example; base" in live_page(images.origins).policy
    assert "img-src data:; base" in live_page(read_images(None).origins).policy
    for wrong in ("1.jpg", "javascript:alert(1)", "https://covers.example; script-src *", "https://a.example/1 2.jpg"):
        with pytest.raises(DataError, match="is no image_url"):
            read_images(write(wrong))
    (tmp_path / "items.csv").write_text("item_id,image_url\n")
    with pytest.raises(DataError, match="expected Parquet with the columns item_id and image_url"):
        read_images(tmp_path / "items.csv")
    with pytest.raises(UsageError, match="no such file"):
        read_images(tmp_path / "none.parquet")


def test_an_exported_page_holds_titles_as_text_and_the_candidates_of_a_second_release():
    release = api.ExploreMapResponse(
        "0001", "joint", 1, 1, True, (EVIL,), (PLACE,), (api.MapRegion(EVIL, 0.5, 0.5),), 0.4
    )
    html = static_page(release, [an_answer()])
    assert "img" not in Tags(html).names
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert json.loads(data)["answers"][0]["candidates"][0]["title"] == EVIL
    policy = re.findall(r'content-security-policy" content="(.*?)">', html)
    check_policy(html, policy[0].replace("&#x27;", "'"))
    assert html.count("&lt;/script&gt;&lt;img") == 7, "user, interest and its item, candidate thrice, and the history"
    spoof = static_page(release, [replace(an_answer(), user_id="a\u202eb\x1b[2J\nc")]).partition('id="tables">')[2]
    assert "<h2>User a b [2J\nc</h2>" in spoof.partition("<script")[0], "a table has no control character of a name"
    both = static_page(release, [an_answer()], Beside("other/0001", [an_answer()]))
    assert '<th scope="col">release other/0001</th>' in both
    assert "<caption>Interests in release other/0001</caption>" in both
    alone = static_page(release, [an_answer()], Beside("other/0001", [None]))
    assert "Release other/0001 does not have this user." in alone
