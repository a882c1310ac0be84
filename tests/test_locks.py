"""A lock excludes others or is shared with them, and is free again at the end."""

import threading
from pathlib import Path

import pytest

from multitudes.locks import lock


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def had(file: Path, *, shared: bool = False, remove: bool = False) -> bool:
    with lock(file, wait=False, shared=shared, remove=remove) as mine:
        return mine


@pytest.mark.parametrize("shared", [False, True])
def test_an_exclusive_lock_excludes_all_others(file: Path, shared: bool):
    with lock(file) as mine:
        assert mine
        assert not had(file, shared=shared)
    assert had(file, shared=shared)


def test_the_lock_is_shared_only_by_shared_ones_free_after_an_error_and_the_owners_alone(file: Path):
    with lock(file, shared=True):
        assert had(file, shared=True)
        assert not had(file)
    assert had(file)
    with pytest.raises(KeyError), lock(file):
        raise KeyError
    assert had(file)
    with lock(file):
        assert file.stat().st_mode & 0o007 == 0


def test_the_content_of_the_file_is_kept_and_no_file_is_created_unless_asked(file: Path):
    with pytest.raises(FileNotFoundError), lock(file, create=False):
        pass
    assert not file.exists()
    file.write_text("a spool")
    with lock(file), pytest.raises(AssertionError), lock(file, create=False, wait=False) as mine:
        assert mine
    assert file.read_text() == "a spool"


def test_a_file_can_be_removed_with_its_lock_and_a_waiting_process_then_excludes_others(file: Path):
    waits, held, done = threading.Event(), threading.Event(), threading.Event()

    def wait() -> None:
        waits.set()
        with lock(file, remove=True):
            held.set()
            done.wait(60)

    other = threading.Thread(target=wait)
    with lock(file, remove=True):
        other.start()
        assert waits.wait(60)
        assert not held.wait(0.1)
    assert held.wait(60)
    assert not had(file, remove=True)
    done.set()
    other.join()
    assert had(file, remove=True)
    assert not file.exists()
