"""Settings of the whole test run."""

import os
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no reason for a test to fail, and neither is the run: the same code has the same examples.
settings.register_profile("repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")
# The tensors of the tests are tiny: a second thread costs more than it brings, most of all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where a test asks for two threads, one that waits leaves its core to the other processes of the run.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Files that take a minute or more begin first, so that two processes end at the same time.
_LONGEST = ("test_readme.py", "test_trials.py", "test_run.py", "test_demo.py", "test_planted_worlds.py")


def pytest_collection_modifyitems(items):
    """Run the tests of the longest files first; the order within a file stays."""
    items.sort(key=lambda item: _LONGEST.index(item.path.name) if item.path.name in _LONGEST else len(_LONGEST))


@pytest.fixture(scope="session")
def shared_releases(tmp_path_factory):
    """Publish the small release once in a test run, for tests that only read it."""
    from tests.release.small_release import publish_small  # noqa: PLC0415 (most tests need none)

    root = tmp_path_factory.mktemp("shared") / "releases"
    publish_small(root)
    return root


@pytest.fixture(scope="session")
def retriever(shared_releases):
    """Open the small release once in a test run, for tests that only ask it."""
    from multitudes.retrieval.retriever import Retriever  # noqa: PLC0415 (most tests need none)

    return Retriever.open(shared_releases)


@pytest.fixture(scope="session")
def prepared():
    """Return the small planted world, prepared once in a test run."""
    from tests.worlds import planted  # noqa: PLC0415 (most tests need none)

    return planted()[1]


@pytest.fixture
def releases(tmp_path):
    """Publish the small release for one test, which may change it."""
    from tests.release.small_release import publish_small  # noqa: PLC0415 (most tests need none)

    publish_small(tmp_path / "releases")
    return tmp_path / "releases"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """Start one browser in a test run, for all pages."""
    from tests.browser import CHROMIUM, Browser  # noqa: PLC0415 (most tests need none)

    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def browser(chromium):
    """Return the browser; at the end, its console has no error and it asked no host but this machine."""
    chromium.errors.clear()
    chromium.requests.clear()
    yield chromium
    assert chromium.errors == []
    assert {urlsplit(request).hostname or "" for request in chromium.requests} <= {"127.0.0.1", ""}


@pytest.fixture
def check_page(browser, tmp_path):
    """Return a function that fails if axe finds something serious on a page."""

    def check(html: str, scheme: str = "light") -> None:
        file = tmp_path / "page.html"
        file.write_text(html, encoding="utf-8")
        browser.open(file.as_uri(), width=360, scheme=scheme)
        assert browser.findings() == []

    return check


@pytest.fixture(scope="session")
def shared_exports(tmp_path_factory):
    """Trace towers of equal structure once in a test run, since torch takes ten seconds for one.

    Each publish still writes its own weights into its towers, and checks that they equal its model.
    """
    import torch  # noqa: PLC0415 (most tests need none)

    from tests.traced_towers import TracedTowers  # noqa: PLC0415

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "traced-towers"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", TracedTowers(folder, torch.onnx.export).export)
        yield
