"""The page in a real browser: every control is used, no other host is asked, and the console has no error."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import polars as pl
import pytest

from multitudes.cli.main import run
from multitudes.retrieval.item_updates import remove_items
from multitudes.service.api_keys import make_key
from tests.browser import Browser
from tests.release.small_release import publish_small
from tests.retrieval.test_three_tastes import publish as publish_three_tastes

ADDED = "document.querySelectorAll('#timeline button.added').length"  # events that are supposed
MAIN = [sys.executable, "-c", "from multitudes.cli.main import main; main()"]


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    root = tmp_path_factory.mktemp("browser") / "releases"
    publish_small(root)
    return root


@contextmanager
def serving(*call: str) -> Iterator[str]:
    """Run a command that serves, and return its URL; it ends with the block, also if that fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*MAIN, *call, "--port", "0", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as server:
        try:
            assert server.stdout is not None
            yield json.loads(server.stdout.readline())["url"]
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def url(releases, tmp_path_factory):
    """Where the explorer is, with another release beside it that lacks a film."""
    other = tmp_path_factory.mktemp("other") / "fewer"
    publish_small(other)
    pl.DataFrame({"item_id": [112]}).write_parquet(other.parent / "gone.parquet")
    remove_items(other, other.parent / "gone.parquet")
    with serving("explore", str(releases), str(other)) as url:
        yield url


DRAWN = "/^User (ann|bob|eve):/.test($('status').textContent)"  # the page begins with a user who is drawn


def text(browser: Browser, selector: str) -> str:
    shown: str = browser.run(f"document.querySelector({selector!r}).innerText")
    return shown


def click(browser: Browser, selector: str) -> None:
    browser.run(f"document.querySelector({selector!r}).click()")
    browser.wait("!document.body.hasAttribute('aria-busy')")


def open_ann(browser: Browser, url: str, **options) -> None:
    browser.open(f"{url}&user=%22ann%22", **options)
    browser.wait("!$('shown').hidden && $('sides').children.length === 2")


def forget_refusal(browser: Browser) -> None:
    """Wait for the error that the browser itself notes of a refused request, and forget it."""
    end_s = time.monotonic() + 60
    while not browser.errors:
        assert time.monotonic() < end_s, "nothing was refused"
        browser.run("0")
    assert len(browser.errors) == 1
    browser.errors.clear()


def focus_and_type(browser: Browser, selector: str, words: str) -> None:
    browser.run(f"document.querySelector({selector!r}).focus()")
    browser.type(words)


def test_users_are_typed_and_drawn_and_one_who_is_gone_is_said(browser, url):
    browser.open(url)
    browser.wait(DRAWN)
    focus_and_type(browser, "#user", "zoe")
    browser.press("Enter")
    browser.wait("$('error').textContent.startsWith(\"user 'zoe' is not in release 0001\")")
    forget_refusal(browser)
    browser.run("$('user').value = ''")
    focus_and_type(browser, "#user", "ann")
    browser.press("Enter")
    browser.wait("$('status').textContent.startsWith('User ann: 4 events')")
    assert browser.run("location.hash") == "#user=%22ann%22"
    assert text(browser, "#error") == ""
    click(browser, "#draw")
    browser.wait(DRAWN)


def test_the_key_of_the_url_leaves_the_address_and_stays_with_the_tab(browser, url):
    open_ann(browser, url)
    assert browser.run("location.hash") == "#user=%22ann%22"
    browser.open(url.partition("#")[0])
    browser.wait(f"{DRAWN} && $('sides').children.length === 2")
    assert "key" not in browser.run("location.href")
    browser.run("sessionStorage.clear()")
    browser.run(f"location.assign({url!r})")  # in the same tab: the page is not loaded anew
    browser.wait("sessionStorage.getItem('multitudes-key') && !location.hash.includes('key')")


def test_a_history_is_built_by_search_and_what_changed_is_said(browser, url):
    open_ann(browser, url)
    focus_and_type(browser, "#search", "film 11")
    browser.wait("document.querySelectorAll('#found li').length === 10")
    browser.press("ArrowDown")
    browser.press("Enter")
    browser.wait("!$('changed').hidden")
    assert text(browser, "#summary").startswith("With Film 111 in the history: "), "the second of those found"
    assert browser.run(ADDED) == 1
    click(browser, "#candidates button.small")
    browser.wait(f"{ADDED} === 2")
    click(browser, "#clear")
    assert browser.run("$('shown').hidden")
    focus_and_type(browser, "#search", "999")
    browser.wait("$('status').textContent === 'no title contains “999”, and no item has this id'")
    browser.run("$('search').value = ''")
    focus_and_type(browser, "#search", "film 103")
    browser.wait("document.querySelectorAll('#found li').length === 1")
    browser.press("Enter")
    browser.wait("$('status').textContent.startsWith('Anonymous user: 1 event')")


def test_three_films_of_three_tastes_have_a_fifth_of_the_first_twenty_each(browser, tmp_path):
    publish_three_tastes(tmp_path, np.eye(3))
    with serving("explore", str(tmp_path)) as url:
        browser.open(url)
        browser.wait("/^User /.test($('status').textContent)")
        click(browser, "#clear")
        for number, title in enumerate(("Film 1", "Film 31", "Film 61"), start=1):
            browser.run("$('search').value = ''")
            focus_and_type(browser, "#search", title)
            browser.wait(f"$('found').firstElementChild?.innerText.startsWith({title!r})")
            browser.press("Enter")
            browser.wait(f"$('status').textContent.startsWith('Anonymous user: {number} event')")
        places = "Object.values(Object.groupBy(answer.candidates.slice(0, 20), c => c.interest)).map(own => own.length)"
        assert sorted(browser.run(places)) == [6, 7, 7]
        browser.run("$('calibration').focus()")
        browser.press("Home")
        browser.wait("$('summary').textContent.startsWith('Calibration at 0 %: ')")
        assert max(browser.run(places)) >= 16, "the control: the newest"


def test_shares_mutes_and_boosts_change_the_list_and_are_reset(browser, url):
    open_ann(browser, url)
    browser.run("document.querySelector('[data-control=\"share-2\"]').focus()")
    browser.press("End")
    browser.wait("document.querySelector('[data-control=\"share-0\"]').nextSibling.textContent === '0 %'")
    assert browser.run("document.activeElement.dataset.control") == "share-2", "the focus stays on the slider"
    assert text(browser, "#summary").startswith("Crime at 100 %: ")
    click(browser, "[data-control='Mute-0']")
    browser.wait("document.querySelectorAll('#interests li.muted').length === 1")
    click(browser, "[data-control='Boost-1']")
    browser.wait("document.querySelector('[data-control=\"Boost-1\"]').getAttribute('aria-pressed') === 'true'")
    for verb, chip in (("mute", "muted Drama ×"), ("boost", "boosted Drama ×")):
        focus_and_type(browser, "#topic", "Drama")
        click(browser, f"#topic-form button[value={verb}]")
        browser.wait(f"$('topic-chips').innerText === {chip!r}")
    click(browser, "#topic-chips button")
    browser.wait("$('topic-chips').innerText === ''")
    assert text(browser, "#calibrated") == "as published"
    asked = "window.last = null; const sent = request; request = () => (window.last = sent())"
    browser.run(f"{asked}; $('calibration').focus()")
    browser.press("End")
    browser.wait("$('summary').textContent.startsWith('Calibration at 100 %: ')")
    assert text(browser, "#calibrated") == "100 %"
    assert browser.run("[document.activeElement.id, last.calibration]") == ["calibration", 1]
    focus_and_type(browser, "#topic", "Dramma")
    click(browser, "#topic-form button")
    assert "is not a topic of this release" in text(browser, "#error")
    click(browser, "#reset")
    browser.wait("document.querySelectorAll('#interests li.muted').length === 0")
    assert browser.run("[$('calibrated').textContent, last.calibration, Number($('calibration').value)]") == [
        "as published",
        None,
        browser.run("Math.round(100 * release.calibration)"),
    ]


def test_the_interests_that_the_list_serves_and_who_is_not_in_the_other_release_are_said(browser, url):
    open_ann(browser, url)
    assert text(browser, "#served") == "Serves 1 of 1 interests and 1 of 1 topics."
    none = "(answer.candidates = answer.candidates.map(c => ({ ...c, interest: 0, found_by: [0, 1] })), served(answer))"
    assert browser.run(none) == "Serves 0 of 1 interests and 0 of 1 topics.", "the control"
    browser.run("beside = 'nothing/0007'; refresh()")
    browser.wait("$('verdict').textContent.startsWith(\"no release 'nothing/0007' to show beside\")")
    assert browser.run("$('sides').children.length") == 0
    forget_refusal(browser)


def test_an_item_shows_its_neighbours_which_can_be_added(browser, url):
    open_ann(browser, url)
    name = text(browser, "#candidates button.plain")
    click(browser, "#candidates button.plain")
    browser.wait("!$('item').hidden")
    assert text(browser, "#item-title") == name
    assert browser.run("document.activeElement.id") == "item"
    click(browser, "#neighbours ol button.plain")
    browser.wait(f"$('item-title').textContent !== {name!r}")
    click(browser, "#neighbours ol button.small")
    browser.wait(f"{ADDED} === 1")
    click(browser, "#neighbours > button.small")
    browser.wait(f"{ADDED} === 2")


def test_rows_are_shown_in_place_of_the_lists_and_back(browser, url):
    browser.open(f"{url}&user=%22bob%22")
    browser.wait("!$('shown').hidden")
    assert browser.run("[$('rows').offsetHeight > 0, $('as-list').offsetHeight > 0]") == [False, True]
    click(browser, "#as-rows")
    assert browser.run("[$('rows').offsetHeight > 0, $('as-list').offsetHeight > 0]") == [True, False]
    titles = "[...document.querySelectorAll('#rows h3')].map(h => h.innerText)"
    assert browser.run(titles) == ["Crime, like Film 111", "Drama"], "no item is left for the topic Crime"
    click(browser, "[data-control='Mute-1']")
    browser.wait(f"{titles}.join() === 'Drama,Crime'")
    assert browser.findings() == []
    click(browser, "#as-rows")
    assert browser.run("$('rows').hidden")


def test_a_candidate_has_its_image_and_one_that_is_not_found_leaves_the_title(browser, releases, tmp_path):
    (tmp_path / "odd.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="60" height="90"/>')
    host = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path))
    Thread(target=host.serve_forever, daemon=True).start()
    urls = [f"http://127.0.0.1:{host.server_port}/{name}.svg" for name in ("even", "odd")]
    ids = range(101, 201)
    table = pl.DataFrame({"item_id": ids, "image_url": [urls[item % 2] for item in ids]})
    table.write_parquet(tmp_path / "items.parquet")
    shown = "[...document.querySelectorAll('#candidates img')].map(one => one.naturalWidth)"
    titled = "[...document.querySelectorAll('#candidates button.plain')].every(one => one.innerText)"
    try:
        with serving("explore", str(releases), "--images", str(tmp_path / "items.parquet")) as url:
            browser.open(f"{url}&user=%22ann%22")
            browser.wait(f"({shown}).length && ({shown}).every(width => width === 60)")
            odd = "answer.candidates.filter(one => one.item_id % 2).length"
            assert browser.run(f"({shown}).length === {odd} && {odd} < answer.candidates.length && {titled}")
            assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        with serving("explore", str(releases)) as url:
            browser.open(f"{url}&user=%22ann%22")
            browser.wait("!$('shown').hidden")
            assert browser.run(f"({shown}).length") == 0, "the control: off by default"
        assert all("404" in error for error in browser.errors), "the policy allows the host"
    finally:
        host.shutdown()
        host.server_close()
        browser.errors.clear()
        browser.requests.clear()


def test_two_releases_are_shown_side_by_side(browser, url):
    open_ann(browser, url)
    assert text(browser, "#beside-title") == "Release 0001 and release fewer/0001"
    verdict = "14 of 15 candidates of 0001 are in fewer/0001 too, 0 of them moved by more than two places;"
    assert text(browser, "#verdict") == f"{verdict} 1 is lost, 0 are new."
    tags = (
        "[...document.querySelectorAll('#sides .side')].map(s => [...s.querySelectorAll('.tag')].map(t => t.innerText))"
    )
    (lost, *rest), moved = browser.run(tags)
    assert (lost, rest) == ("lost", [])
    assert set(moved) == {"up 1", "up 2"}
    events = browser.run("[...document.querySelectorAll('.side')].map(s => s.querySelectorAll('.track button').length)")
    assert events == [4, 4]
    assert "4 of 4 events are in 1 · Drama of 0001" in text(browser, ".side:last-child")
    browser.run("const s = $('others'); s.value = ''; s.dispatchEvent(new Event('change'))")
    browser.wait("$('beside').hidden")
    assert browser.run("[...$('others').options].map(o => o.text)") == ["none", "fewer/0001"]


def test_every_control_is_named_and_reached_by_tab_in_the_order_of_the_page(browser, url):
    open_ann(browser, url)
    click(browser, "#candidates button.small")
    browser.wait(f"{ADDED} === 1 && other")  # the other release answers last, and replaces controls
    click(browser, "#candidates button.plain")
    browser.wait("!$('item').hidden")
    controls = (
        "[...document.querySelectorAll('a[href], button, input, select, [tabindex]')]"
        ".filter(e => e.tabIndex >= 0 && !e.disabled && e.offsetHeight)"
    )
    browser.run(f"document.activeElement.blur(); window.controls = {controls}; scrollTo(0, 0)")
    browser.run("const title = document.querySelector('h1'); title.tabIndex = -1; title.focus()")
    reached = []
    for _ in range(browser.run("controls.length")):
        browser.press("Tab")
        reached.append(browser.run("controls.indexOf(document.activeElement)"))
    assert reached == list(range(len(reached)))
    assert len(reached) > 50
    assert [one for one in browser.names() if not one[1].strip() and one[0] != "RootWebArea"] == []


def test_axe_finds_nothing_serious(browser, url):
    for scheme, width in (("light", 1280), ("dark", 360)):
        open_ann(browser, url, scheme=scheme, width=width)
        click(browser, "#candidates button.small")
        click(browser, "#candidates button.plain")
        browser.wait("!$('item').hidden && !$('changed').hidden && other")
        assert browser.findings() == []
    browser.run("document.body.append(document.createElement('input'))")
    assert browser.findings() == ["label: body > input <input>"], "the control"


def test_map_and_timeline_answer_to_mouse_and_keyboard(browser, url):
    open_ann(browser, url)
    browser.run("document.querySelector('#map').scrollIntoView()")
    corner = "(({ x, y }) => [x, y])($('map').getBoundingClientRect())"
    (left, top), (x, y) = browser.run(corner), browser.run("place(marks[0].item)")
    browser.move(left + x, top + y)
    browser.wait("!$('tip').hidden && $('tip').textContent.startsWith('Film 1')")
    browser.run("$('map').focus()")
    shown = set()
    for _ in range(3):
        browser.press("ArrowRight")
        shown.add(text(browser, "#tip"))
    assert len(shown) > 1
    browser.press("Enter")
    browser.wait("$('item-title').textContent === $('tip').textContent")
    click(browser, "#zoom")
    assert browser.run("view.size !== 1.06")
    browser.run("document.querySelector('#timeline button[tabindex=\"0\"]').focus()")
    newest = text(browser, "#moment")
    browser.press("ArrowLeft")
    assert text(browser, "#moment") not in {"", newest}
    browser.press("Enter")
    browser.wait("$('moment').textContent.startsWith($('item-title').textContent)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_from_360_to_1920_pixels(scheme, browser, url):
    for width in (360, 768, 1920):
        open_ann(browser, url, width=width, scheme=scheme)
        assert browser.run("document.documentElement.scrollWidth") <= width
        outside = (
            "[...document.querySelectorAll('button, input')]"
            ".filter(e => e.offsetHeight && e.getBoundingClientRect().right > innerWidth).length"
        )
        assert browser.run(outside) == 0


def test_a_page_without_a_key_asks_for_it(browser, releases, tmp_path):
    key = make_key(tmp_path / "keys", "reader", ("read",))
    with serving("serve", str(releases), "--keys", str(tmp_path / "keys")) as url:
        browser.open(url)
        browser.wait("!$('key-form').hidden")
        assert text(browser, "#error") == "enter an API key, or open the URL that multitudes explore printed"
        forget_refusal(browser)
        focus_and_type(browser, "#key", key)
        browser.press("Enter")
        browser.wait(DRAWN)
        assert text(browser, "#error") == ""


def test_without_scripts_the_page_says_how_to_get_tables_and_shows_no_control(browser, url):
    browser.open(url, scripts=False)
    assert "multitudes explore RELEASES --export page.html" in text(browser, "main")
    visible = "[...document.querySelectorAll('button, input, select')].filter(e => e.offsetHeight).length"
    assert browser.run(visible) == 0


def test_an_exported_page_works_from_a_file_with_and_without_scripts(browser, releases, tmp_path):
    file = tmp_path / "page.html"
    assert run(["explore", str(releases), "--export", str(file), "--users", "3"]) == 0
    browser.open(file.as_uri(), width=360)
    browser.wait("!$('shown').hidden")
    assert text(browser, "#status").startswith("User ann")
    browser.run("const s = $('sample'); s.value = 1; s.dispatchEvent(new Event('change'))")
    assert text(browser, "#status").startswith("User bob")
    click(browser, "#candidates button.plain")
    assert text(browser, "#item-title").startswith("Film 1")
    assert browser.run("$('draw').offsetHeight + $('tables').offsetHeight") == 0
    assert browser.findings() == []
    browser.run("$('shown').hidden = true; $('tables').hidden = false")
    assert browser.findings() == []
    browser.open(file.as_uri(), scripts=False)
    assert {request.partition(":")[0] for request in browser.requests} <= {"file", "data", "about"}
    assert "Film 1" in text(browser, "#tables")
    assert browser.run("document.getElementById('tables').offsetHeight") > 100
    assert browser.run("document.getElementById('who').offsetHeight") == 0
