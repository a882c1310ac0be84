"""``python -m benchmarks.explorer``: how soon the explorer's page stands, and answers, with a million items.

The items are random, and the tower is that of the tests: what a page costs depends on neither. Times are those of
Chromium: the first contentful paint, the moment at which a user is shown, and each request of the page.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import polars as pl
from tests.browser import Browser
from tests.release.small_release import LENGTH, manifest, user_tower

from multitudes.data.own_items import group_events
from multitudes.index.exact import ExactIndex
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Topics
from multitudes.index.tastes import NO_TASTE
from multitudes.release.item_map import lay_out_items
from multitudes.release.release import USER_TOWER, write_release
from multitudes.release.store import ReleaseStore

WIDTH, USERS = 64, 1_000
SHOWN = "!document.getElementById('shown').hidden && !document.body.hasAttribute('aria-busy')"
REQUESTS = """performance.getEntriesByType("resource").map((one) =>
  ({path: new URL(one.name).pathname, ms: Math.round(one.duration), kb: Math.round(one.encodedBodySize / 1000)}))"""


def publish_random(root: Path, items: int) -> None:
    """Publish a release of random items, and users with four events each."""
    rng = np.random.default_rng(0)
    vector_ID = rng.standard_normal((items, WIDTH), dtype=np.float32)
    topics = Topics(np.arange(items + 1), rng.integers(1, 3, items))
    count = np.concatenate([[0], rng.integers(0, 1_000, items)])
    index = LiveIndex(ExactIndex.build(np.arange(1, items + 1), vector_ID, topics))
    events, offset = rng.integers(1, items + 1, USERS * LENGTH), LENGTH * np.arange(USERS + 1)
    own = group_events(np.repeat(np.arange(USERS), LENGTH), events, USERS)
    map_item, map_position = lay_out_items(index, count)
    arrays = {
        "item_input": np.concatenate([np.zeros((1, WIDTH), dtype=np.float32), vector_ID]),
        "item_topic_offset": np.concatenate([[0], topics.offset]),
        "item_topic": topics.topic,
        "item_count": count,
        "item_usable": np.arange(items + 1) > 0,
        "item_taste": np.full(items + 1, NO_TASTE),
        "taste_centre": np.zeros((1, WIDTH)),
        "event_offset": offset,
        "event_item": events,
        "event_time": np.tile(np.arange(LENGTH), USERS),
        "event_action": np.ones(len(events)),
        "event_valid": np.ones(len(events), dtype=bool),
        "seen_offset": offset,
        "seen_item": np.sort(events.reshape(USERS, LENGTH), axis=1).ravel(),
        "follow_offset": np.arange(USERS + 1),
        "follow_topic": np.ones(USERS),
        "user_feature": np.zeros((USERS, 0)),
        **dict(zip(("own_offset", "own_item", "own_count", "own_newest", "own_oldest"), own, strict=True)),
        "map_item": map_item,
        "map_position": map_position,
    }
    names = pl.DataFrame({"item_id": np.arange(1, items + 1)})
    names = names.with_columns(title=pl.format("The film number {}", "item_id"))
    described = manifest(counts={"users": USERS, "items": items, "topics": 2}, new_items=None)
    store = ReleaseStore(root)
    with store.stage() as stage:
        onnx.save(user_tower(WIDTH, rng.standard_normal((3, WIDTH), dtype=np.float32)), str(stage / USER_TOWER))
        users = pl.Series(range(1, USERS + 1))
        write_release(stage, described, arrays, index, users, names, ["", "Drama", "Crime"])
        store.commit(stage)


@contextmanager
def exploring(root: Path) -> Iterator[str]:
    """Run ``multitudes explore`` until the end of the block, and return its URL."""
    command = [sys.executable, "-m", "multitudes", "explore", str(root), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield json.loads(server.stdout.readline())["url"]
        finally:
            server.terminate()


def measure(browser: Browser, url: str) -> None:
    """Open the page with a user, search for an item, and print what took how long."""
    browser.open(f"{url}&user=12")
    browser.wait(SHOWN)
    shown_ms = browser.run("performance.now()")
    paint_ms = browser.run("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    browser.run("document.getElementById('search').focus()")
    browser.type("number 77")
    browser.wait("document.querySelectorAll('#found li').length === 10")
    print(f"first contentful paint {paint_ms:.0f} ms, a user is shown after {shown_ms:.0f} ms")
    for one in browser.run(REQUESTS):
        print(f"  {one['path']}: {one['ms']} ms, {one['kb']} kB")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explorer", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=3, help="how often the page is opened; the first is cold")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        root = Path(folder) / "releases"
        publish_random(root, given.items)
        print(f"{given.items:,} items; load of this machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        with exploring(root) as url:
            browser = Browser(Path(folder) / "profile")
            for _ in range(given.times):
                measure(browser, url)
            browser.close()


if __name__ == "__main__":
    main()
