"""The releases beside the one that serves: which there are, and what is said where one cannot be shown."""

import pytest

from multitudes import api
from multitudes.errors import ArtefactError, UsageError
from multitudes.explorer.explorer import Explorer, NamedExplorer, OtherReleases
from multitudes.release.release import USER_TOWER
from multitudes.retrieval.retriever import Retriever
from tests.release.small_release import publish_small


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("others") / "releases"
    for _ in range(3):
        publish_small(root)
    (root / "versions" / "0001" / USER_TOWER).write_bytes(b"damaged")
    return root


@pytest.fixture
def retriever(root):
    return Retriever.open(root)


def test_the_others_are_the_versions_of_the_folder_and_a_damaged_one_is_said(retriever, root, tmp_path):
    assert OtherReleases(lambda: retriever).names() == ("0002", "0001")
    given = NamedExplorer("elsewhere/0001", Explorer(lambda: retriever))
    others = OtherReleases(lambda: retriever, given)
    assert others.names() == ("elsewhere/0001", "0002", "0001")
    assert others.open("elsewhere/0001") is given.explorer
    (tmp_path / "copied").symlink_to(root / "versions" / "0002")
    alone = Retriever.open(tmp_path / "copied")
    assert OtherReleases(lambda: alone).names() == ()
    with pytest.raises(ArtefactError, match=r"^0001/user_tower\.onnx: ") as caught:
        OtherReleases(lambda: retriever).open("0001")
    assert str(root) not in str(caught.value)


def test_two_versions_stay_open_until_a_third_is_opened_or_they_are_closed(tmp_path):
    for _ in range(4):
        publish_small(tmp_path)
    serving = Retriever.open(tmp_path)
    others = OtherReleases(lambda: serving)
    opened = {name: others.open(name) for name in ("0001", "0002")}
    assert {name: others.open(name) for name in opened} == opened == {name: others.find(name) for name in opened}
    third = others.open("0003")
    assert [others.find(name) for name in ("0001", "0002", "0003")] == [None, opened["0002"], third]
    others.close()
    assert others.find("0003") is None


def test_a_version_that_is_open_answers_and_is_opened_once(retriever):
    others = OtherReleases(lambda: retriever)
    opened = others.open("0002")
    answer = opened.explore(api.ExploreRequest("ann"))
    assert answer is not None
    assert answer.release == "0002"
    assert others.open("0002") is opened
    others.close()
    assert others.open("0002") is not opened


@pytest.mark.parametrize("name", ["0003", "0009", "../versions/0002", ""])
def test_the_one_that_serves_and_one_that_is_not_there_are_refused(name, retriever):
    with pytest.raises(UsageError, match="to show beside the one that serves; there are: 0002, 0001"):
        OtherReleases(lambda: retriever).open(name)
