"""What is opened to serve is given back when it closes, the collector's settings too."""

import gc
from pathlib import Path

from multitudes.service.settings import ServeConfig
from multitudes.service.startup import data_folder, open_dependencies


def test_no_collection_walks_through_the_modules_while_it_serves(releases: Path):
    everything = len(gc.get_objects())
    with open_dependencies(releases, ServeConfig()):
        assert len(gc.get_objects()) < everything / 2
    assert gc.get_freeze_count() == 0


def test_other_users_may_not_enter_the_data_folder(tmp_path):
    settings = ServeConfig.model_validate({"data": {"folder": tmp_path / "data"}})
    assert data_folder(tmp_path, settings).stat().st_mode & 0o777 == 0o700
    (tmp_path / "data").chmod(0o755)
    assert data_folder(tmp_path, settings).stat().st_mode & 0o777 == 0o750, "a group that reads the logs stays"
