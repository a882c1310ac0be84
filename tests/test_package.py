"""What a person installs: the files of the wheel and of the source distribution, and their metadata."""

import email
import re
import tomllib
import zipfile
from email.message import Message
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="builds the wheel; it is in the extra [dev]")
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
SAMPLE = "multitudes/data/samples/movielens-small"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    (file,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("dist")))
    return zipfile.ZipFile(file)


@pytest.fixture(scope="module", params=sorted(path.name for path in (ROOT / "packages").iterdir()))
def add_on(request: pytest.FixtureRequest) -> Path:
    return ROOT / "packages" / str(request.param)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def test_the_wheel_holds_the_package_and_what_it_reads_and_nothing_else(wheel):
    names = set(wheel.namelist())
    source = ROOT / "src"
    files = (file for file in source.rglob("*") if file.is_file() and file.suffix != ".pyc")
    assert {str(file.relative_to(source)) for file in files} == {name for name in names if ".dist-info/" not in name}
    assert {"multitudes/py.typed", "multitudes/__init__.pyi", f"{SAMPLE}/events.parquet"} <= names
    pages = {f"multitudes/explorer/page.{kind}" for kind in ("html", "css", "js")}
    assert pages <= names
    licences = {name.partition("/licenses/")[2] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", f"src/{SAMPLE}/LICENSE.txt"}


def test_the_source_distribution_holds_what_the_tests_need_and_no_leftovers():
    tops = {Path(file.distribution_path).parts[0] for file in SdistBuilder(str(ROOT)).recurse_included_files()}
    assert {"src", "tests", "docs", "examples", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml"} <= tops
    assert not {".git", ".venv", ".mypy_cache", ".hypothesis", "dist", "build"} & tops


def test_the_metadata_name_authors_licence_and_an_extra_of_every_extra(metadata):
    assert metadata["Author"] == "multitudes contributors"
    assert metadata["License-Expression"] == "Apache-2.0 AND LicenseRef-MovieLens"
    assert "commercial" in (ROOT / "src" / SAMPLE / "LICENSE.txt").read_text()
    assert "no commercial use" in (ROOT / "README.md").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (names,) = extras["all"]
    others = {"all", "dev", "docs", "reliability"}
    assert set(names.removeprefix("multitudes[").removesuffix("]").split(",")) == set(extras) - others


def test_the_page_of_the_package_has_whole_links_where_the_address_of_the_repository_is_given(
    metadata, tmp_path, monkeypatch
):
    assert metadata.get_all("Project-URL") == ["Paper, https://arxiv.org/abs/2506.23060"]
    monkeypatch.setenv("MULTITUDES_URL", "https://example.org/multitudes/")
    (file,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path))
    (name,) = (name for name in zipfile.ZipFile(file).namelist() if name.endswith(".dist-info/METADATA"))
    page = email.message_from_bytes(zipfile.ZipFile(file).read(name))
    assert "Changelog, https://example.org/multitudes/blob/main/CHANGELOG.md" in (page.get_all("Project-URL") or [])
    text = str(page.get_payload())
    assert "](https://example.org/multitudes/raw/main/docs/images/recommend.svg)" in text
    assert "](https://example.org/multitudes/blob/main/CHANGELOG.md)" in text
    assert re.findall(r"\]\((?!https?:|#)", text) == []


def test_the_wheel_of_an_add_on_holds_its_package_and_asks_for_the_core_of_its_version(
    add_on, wheel, metadata, tmp_path
):
    (file,) = WheelBuilder(str(add_on)).build(directory=str(tmp_path))
    built = zipfile.ZipFile(file)
    names = set(built.namelist())
    source, package = add_on / "src", f"multitudes_{add_on.name}"
    files = (file for file in source.rglob("*") if file.is_file() and file.suffix != ".pyc")
    assert {str(file.relative_to(source)) for file in files} == {name for name in names if ".dist-info/" not in name}
    assert {f"{package}/py.typed", f"{package}/__init__.py"} <= names
    assert {name.partition("/licenses/")[2] for name in names if "/licenses/" in name} == {"LICENSE"}
    assert not any(name.startswith(package) for name in wheel.namelist())
    (name,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    described = email.message_from_bytes(built.read(name))
    assert described["Name"] == f"multitudes-{add_on.name}"
    assert described["Version"] == metadata["Version"]
    (asked,) = (each for each in described.get_all("Requires-Dist") or [] if each.startswith("multitudes"))
    assert asked.endswith(f"=={metadata['Version']}")


def test_every_object_that_an_entry_point_of_an_add_on_names_exists(add_on):
    points = tomllib.loads((add_on / "pyproject.toml").read_text())["project"]["entry-points"]
    assert points
    for values in points.values():
        for name, value in values.items():
            try:
                assert EntryPoint(name, value, "").load()
            except ModuleNotFoundError as error:
                if str(error.name).startswith("multitudes"):
                    raise
                pytest.skip(str(error))  # its client library is in an environment of its own
