import os

import pytest
from benchmarks.child_process import run_in_child

MIB = 2**20


def hold(mib):
    """Touch ``mib`` of memory and say its size."""
    return len(bytearray(b"\x01") * (mib * MIB)) // MIB


def fail():
    raise ValueError("in the child")


def test_a_child_answers_and_its_peak_is_what_it_held():
    idle, busy = run_in_child(hold, mib=0), run_in_child(hold, mib=200)
    assert (idle.value, busy.value) == (0, 200)
    assert 195 < busy.peak_mib - idle.peak_mib < 260


def test_the_memory_of_the_parent_is_not_counted_for_the_child():
    ballast = bytearray(b"\x01") * (300 * MIB)
    assert run_in_child(hold, mib=0).peak_mib < 250
    assert len(ballast) == 300 * MIB


def test_a_child_that_fails_is_an_error(capfd):
    with pytest.raises(RuntimeError, match="fail ended with 1"):
        run_in_child(fail)
    assert "in the child" in capfd.readouterr().err


def test_threads_are_told_to_the_child():
    assert run_in_child(environment, 1, name="OMP_NUM_THREADS").value == "1"


def environment(name):
    return os.environ.get(name)
