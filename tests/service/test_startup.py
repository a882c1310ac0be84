"""What is opened to serve is given back when it closes, the collector's settings too."""

import gc
from pathlib import Path

from multitudes.service.settings import ServeConfig
from multitudes.service.startup import open_dependencies
from tests.release.small_release import publish_small


def test_no_collection_walks_through_the_modules_while_it_serves(tmp_path: Path):
    publish_small(tmp_path / "releases")
    everything = len(gc.get_objects())
    with open_dependencies(tmp_path / "releases", ServeConfig()):
        assert len(gc.get_objects()) < everything / 2
    assert gc.get_freeze_count() == 0
