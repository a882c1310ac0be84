"""Of several ranks one says why all end."""

import signal
from collections.abc import Iterator

import pytest

from multitudes.cli.main import _print_error
from multitudes.errors import INTERRUPTED_EXIT_CODE, StoppedError
from multitudes.training.distributed import report_error_once


@pytest.fixture
def sigint() -> Iterator[None]:
    earlier = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, earlier)


@pytest.mark.usefixtures("sigint")
@pytest.mark.parametrize("size", [1, 2])
def test_the_first_rank_reports_an_interrupt(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", str(size))
    with pytest.raises(KeyboardInterrupt), report_error_once():
        raise KeyboardInterrupt


@pytest.mark.usefixtures("sigint")
def test_the_others_end_with_the_same_exit_code_and_no_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(StoppedError) as found, report_error_once():
        raise KeyboardInterrupt
    assert found.value.exit_code == INTERRUPTED_EXIT_CODE
    assert _print_error(str(found.value), found.value.exit_code) == INTERRUPTED_EXIT_CODE
    assert capsys.readouterr().err == ""
    signal.raise_signal(signal.SIGINT)  # forwarded once more by torchrun: ignored
