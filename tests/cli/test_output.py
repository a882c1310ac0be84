"""What a terminal shows while a command works."""

import re
import sys

import pytest

from multitudes.cli.output import progress_bar
from tests.cli.test_study import Terminal

NOTE = "epoch 1, single loss 6.776, implicit loss 6.756, explicit loss 6.419"


@pytest.mark.parametrize("columns", [70, 80, 200])
@pytest.mark.parametrize("title", ["train joint", "evaluate /srv/studies/spring/cells/378f17d88206e57b/run"])
def test_long_words_leave_the_count_where_it_is(columns, title, monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    with progress_bar(title) as progress:
        progress(7, 80, NOTE)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "7/80" in shown
    assert "epo" in shown
    assert (NOTE in shown) == (columns == 200)
