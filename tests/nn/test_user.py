"""Settings of the user tower that no tower can be built from."""

import pytest

from multitudes.config import parse
from multitudes.errors import UsageError
from multitudes.nn.user_config import UserTowerConfig


@pytest.mark.parametrize("settings", [{"sequence": {"heads": 3}}, {"crossing": {"kind": "dhen", "heads": 3}}])
def test_heads_that_do_not_divide_the_width_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="heads = 3 must divide width = 64"):
        parse(UserTowerConfig, settings, "here")
    parse(UserTowerConfig, {"width": 63} | settings, "here")


def test_heads_that_nothing_uses_may_be_any() -> None:
    parse(UserTowerConfig, {"sequence": {"heads": 3, "blocks": 0}, "crossing": {"heads": 3}}, "here")
