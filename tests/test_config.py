"""Settings: an unknown name is an error that has the nearest one."""

import pytest

from multitudes.config import Config, parse
from multitudes.errors import UsageError


class Inner(Config):
    width: int = 1


class Outer(Config):
    inner: Inner = Inner()


def test_an_unknown_name_is_an_error_that_has_the_nearest_one():
    with pytest.raises(UsageError, match=r"here: unknown key 'inner\.widht'; did you mean 'width'\?"):
        parse(Outer, {"inner": {"widht": 1}}, "here")
