"""Settings: an old name of a field is accepted for one version, with a warning that has the new one."""

import warnings
from collections.abc import Mapping
from typing import ClassVar

import pytest
from pydantic import Field

from multitudes.config import Config, current_names, deep_merge, load_section, parse
from multitudes.errors import RenamedWarning, UsageError


class Inner(Config):
    renamed: ClassVar[Mapping[str, str]] = {"width_of_all": "width"}

    width: int = 1


class Outer(Config):
    renamed: ClassVar[Mapping[str, str]] = {"often": "times"}

    times: int = 1
    inner: Inner = Inner()
    optional: Inner | None = None
    arms: dict[str, Inner] = Field(default_factory=dict)


def test_an_old_name_is_accepted_with_one_warning_that_has_the_new_one():
    with pytest.warns(RenamedWarning, match="'often' is now called 'times'") as caught:
        config = parse(Outer, {"often": 3}, "here")
    assert (config.times, len(caught)) == (3, 1)
    assert config.model_dump() == Outer(times=3).model_dump(), "what is written has the new name"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"inner": {"width_of_all": 5}}, lambda config: config.inner),
        ({"optional": {"width_of_all": 5}}, lambda config: config.optional),
        ({"arms": {"a": {"width_of_all": 5}}}, lambda config: config.arms["a"]),
    ],
)
def test_an_old_name_is_accepted_at_any_depth(given, path):
    with pytest.warns(RenamedWarning, match="'width_of_all' is now called 'width'") as caught:
        assert path(parse(Outer, given, "here")).width == 5
    assert len(caught) == 1


def test_an_old_name_is_accepted_from_a_file(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("[train]\nwidth_of_all = 7\n")
    with pytest.warns(RenamedWarning):
        assert load_section(file, "train", Inner).width == 7


def test_both_names_at_once_are_an_error():
    with pytest.raises(UsageError, match="here: 'often' is the old name of 'times', and both are given"):
        parse(Outer, {"often": 3, "times": 4}, "here")


def test_stored_settings_are_renamed_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stored = current_names(Outer, {"often": 3, "inner": {"width_of_all": 5}}, warn=False)
    assert stored == {"times": 3, "inner": {"width": 5}}


def test_settings_of_two_sources_are_merged_by_their_current_names():
    with pytest.warns(RenamedWarning):
        tables = [current_names(Outer, table) for table in ({"often": 3, "inner": {"width": 2}}, {"times": 4})]
    assert deep_merge(*tables) == {"times": 4, "inner": {"width": 2}}


def test_an_unknown_name_is_an_error_that_has_the_nearest_one():
    with pytest.raises(UsageError, match=r"here: unknown key 'inner\.widht'; did you mean 'width'\?"):
        parse(Outer, {"inner": {"widht": 1}}, "here")
