"""The head of a record says when, where, with what and under which load."""

from benchmarks.machine import MeasurementContext

from benchmarks import machine


def test_the_head_is_of_before_and_after(monkeypatch):
    now_s, loads = 0.0, iter([1.5, 9.0])
    monkeypatch.setattr(machine, "load_average", lambda: next(loads))
    monkeypatch.setattr("time.time", lambda: now_s)
    circumstances = MeasurementContext()
    now_s = 90.04
    head = circumstances.head(("numpy", "no-such-package"))
    assert (head["when"], head["seconds"]) == ("1970-01-01 00:00 UTC", 90.0)
    assert head["load"] == {"before": 1.5, "after": 9.0}
    assert set(head["versions"]) == {"python", "numpy", "no-such-package", "commit"}
    assert head["versions"]["no-such-package"] is None
    assert {"cpu", "cores", "memory_gib", "os"} == set(head["machine"])
