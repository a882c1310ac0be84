"""Of several ranks one says why all end."""

import signal
from collections.abc import Iterator

import pytest

from multitudes.cli.main import _fail
from multitudes.errors import INTERRUPTED, StoppedError
from multitudes.train.rendezvous import one_speaks


@pytest.fixture
def sigint() -> Iterator[None]:
    earlier = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, earlier)


@pytest.mark.usefixtures("sigint")
@pytest.mark.parametrize("size", [1, 2])
def test_the_first_rank_says_that_a_person_interrupted(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", str(size))
    with pytest.raises(KeyboardInterrupt), one_speaks():
        raise KeyboardInterrupt


@pytest.mark.usefixtures("sigint")
def test_the_others_end_with_its_exit_code_and_no_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(StoppedError) as found, one_speaks():
        raise KeyboardInterrupt
    assert found.value.exit_code == INTERRUPTED
    assert _fail(str(found.value), found.value.exit_code) == INTERRUPTED
    assert capsys.readouterr().err == ""
    signal.raise_signal(signal.SIGINT)  # handed on once more by torchrun: not heard
