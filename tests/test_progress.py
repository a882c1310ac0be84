"""What a person sees while something works."""

import io
import sys
import types

import pytest

from multitudes import ProgressBar, progress
from multitudes.progress import duration_text

NOTE = "epoch 2 of 20, single loss 6.776, implicit loss 6.756, explicit loss 6.419"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def now(monkeypatch):
    clock = types.SimpleNamespace(s=1000.0)
    monkeypatch.setattr("multitudes.progress.time.monotonic", lambda: clock.s)
    return clock


def last_line(stream: io.StringIO) -> str:
    return stream.getvalue().rsplit("\r", 1)[-1].rstrip()


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
@pytest.mark.parametrize("title", ["train joint", "evaluate /srv/studies/spring/cells/378f17d88206e57b/run"])
def test_the_line_fits_and_begins_with_what_matters(columns, title, monkeypatch, now):
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    with ProgressBar(title, stream) as bar:
        assert last_line(stream) == progress.shorten(title, min(columns // 4, 24)), "before the first report"
        bar(0, 2000, NOTE)
        now.s += 60
        bar(100, 2000, NOTE)
        shown = last_line(stream)
    assert len(shown) < columns
    assert "100/2,000 · 19 min left" in shown
    assert ("epoch 2 of 20" in shown) == (columns > 60 or title == "train joint")
    assert (NOTE in shown) == (columns == 200)
    assert last_line(stream) == "", "nothing is left of it"


def test_the_time_left_is_that_of_the_whole_and_counts_the_pauses(now):
    stream = Terminal()
    bar, epochs, batches = ProgressBar("train", stream), 20, 10
    for epoch in range(2):
        for batch in range(1, batches + 1):
            now.s += 1
            bar(epoch * batches + batch, epochs * batches, f"epoch {epoch + 1} of {epochs}")
        now.s += 10  # validation
    assert "epoch 2 of 20" in last_line(stream)
    assert "5 min left" in last_line(stream), "180 batches and 18 validations: 360 s"
    bar(200, 200, "epoch 20 of 20")
    assert "left" not in last_line(stream)
    bar(0, 5, "regularisation 10")
    assert "left" not in last_line(stream), "another count begins"
    now.s += 20
    bar(1, 5, "regularisation 10")
    assert "1 min left" in last_line(stream)


def test_in_a_file_it_is_a_line_every_30_seconds_and_in_a_notebook_a_bar(monkeypatch, now):
    stream = io.StringIO()
    bar = ProgressBar("train", stream)
    for done in range(1, 8):
        bar(done, 20, NOTE)
        now.s += 10
    assert stream.getvalue().splitlines() == [
        f"train: {done}/20 · {left} left · {NOTE}" for done, left in ((4, "3 min"), (7, "2 min"))
    ]
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    ProgressBar("train", stream)(1, 2)
    assert "train ━" in stream.getvalue()


def test_a_line_that_stays_is_above_the_bar(now):
    for stream in (Terminal(), io.StringIO()):
        bar = ProgressBar("train", stream)
        bar(1, 2)
        bar.say("5,000 targets")
        assert last_line(stream) == "5,000 targets"
        bar(1, 2)
        assert stream.getvalue().endswith("5,000 targets\n") != stream.isatty()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 s"), (29, "29 s"), (90, "2 min"), (5300, "88 min"), (7200, "2.0 h"), (172_800, "2 days")],
)
def test_durations_are_said_as_people_say_them(seconds, said):
    assert duration_text(seconds) == said
