"""A run that ended before all kills came proves less than was asked for, and its record says so."""

from benchmarks.killed_ranks import kill_counts


def test_a_record_names_the_kills_that_did_not_come():
    assert kill_counts(20, 20) == {"asked": 20, "killed": 20}, "the control: nothing to add"
    assert kill_counts(20, 15) == {"asked": 20, "killed": 15, "note": "the run ended before 5 of 20 kills"}
