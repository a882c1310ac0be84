"""The release of a morning is published once, whatever was interrupted."""

import json
from types import SimpleNamespace

import pytest

from multitudes.index.factory import IndexConfig
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.config import RetrieveConfig
from multitudes_lab.simulation import retraining


def release(folder, day: int) -> str:
    retraining.publish_release(folder / "run", folder / "releases", day, RetrieveConfig(), IndexConfig())
    version: str = json.loads((folder / f"released-{day:05d}.json").read_text())["version"]
    return version


@pytest.fixture(autouse=True)
def _published(monkeypatch):
    """Publish releases of one file, quickly."""

    def publish(_run, releases, **_settings):
        store = ReleaseStore(releases)
        with store.stage() as stage:
            (stage / "weights").write_text("0")
            return SimpleNamespace(version=store.commit(stage))

    monkeypatch.setattr(retraining, "publish", publish)


def test_each_morning_has_a_release_of_its_own(tmp_path):
    assert [release(tmp_path, day) for day in (4, 4, 6)] == ["0001", "0001", "0002"]
    assert ReleaseStore(tmp_path / "releases").current() == "0002"


@pytest.mark.parametrize("switched", [True, False])
def test_a_release_published_just_before_a_kill_is_activated_and_not_published_again(switched, tmp_path, monkeypatch):
    release(tmp_path, 4)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(retraining, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            release(tmp_path, 6)
    if not switched:
        ReleaseStore(tmp_path / "releases").rollback("0001")
    assert release(tmp_path, 6) == "0002"
    store = ReleaseStore(tmp_path / "releases")
    assert (store.versions(), store.current()) == (["0001", "0002"], "0002")
