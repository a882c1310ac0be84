import json

import pytest
from benchmarks.child_process import ChildResult
from benchmarks.index import run as run_module
from benchmarks.index.records import WORLD, corpora
from benchmarks.index.run import PARTS, Plan, Step, run, steps

PLAN = Plan(("latent",), (500,), 8, ("exact", "inverted"), ("open", "threads"), 4, 2, related=True)


@pytest.fixture
def called(monkeypatch):
    """Stand in for the processes: note what is called, leave the files that later parts need."""
    calls = []

    def in_child(function, threads, **arguments):
        calls.append((function.__name__, arguments))
        return ChildResult({"mean_cosine": 0.5}, 1.0, 1.0, 10.0)

    monkeypatch.setattr(run_module, "run_in_child", in_child)
    monkeypatch.setattr("benchmarks.machine.versions", lambda *_: {"commit": "c"})
    return calls


def leave_files(work):
    for name in ("best.npy", "exact/index.json", "inverted/index.json"):
        file = work / "latent-500x8" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_a_corpus_comes_first_and_every_engine_is_built_before_it_is_asked():
    made = [(step.engine, step.part) for step in steps(PLAN)]
    assert made == [
        ("", WORLD),
        *[(engine, part) for engine in ("exact", "inverted") for part in ("build", "open", "threads")],
    ]
    assert ("exact", "curve") not in {(s.engine, s.part) for s in steps(PLAN._replace(parts=tuple(PARTS)))}


def test_what_is_done_is_not_done_again_and_what_was_lost_is_with_all_that_stands_on_it(called, tmp_path):
    work, out = tmp_path / "work", tmp_path / "index.json"
    leave_files(work)
    run(PLAN, work, out)
    assert len(called) == 7
    run(PLAN, work, out)
    assert len(called) == 7
    (work / "latent-500x8" / "exact" / "index.json").unlink()
    run(PLAN, work, out)
    assert [name for name, _ in called[7:]] == ["build", "measure_opening", "measure"]
    assert len(json.loads(out.read_text())) == 7


def test_other_users_are_another_corpus(called, tmp_path):
    leave_files(tmp_path)
    run(PLAN, tmp_path, tmp_path / "index.json")
    run(PLAN._replace(users=5), tmp_path, tmp_path / "index.json")
    assert len(called) == 2 * 7


def test_again_measures_the_named_parts_once_more_and_keeps_corpus_and_index(called, tmp_path):
    leave_files(tmp_path)
    run(PLAN, tmp_path, tmp_path / "index.json")
    run(PLAN, tmp_path, tmp_path / "index.json", again=True)
    assert len(called) == 7 + 4
    assert {name for name, _ in called[7:]} == {"measure_opening", "measure"}


def test_each_record_says_on_what_and_where_it_was_measured(called, tmp_path):
    run(PLAN, tmp_path, tmp_path / "index.json")
    records = json.loads((tmp_path / "index.json").read_text())
    for record in records:
        assert {"step", "settings", "machine", "versions", "seeds", "load", "seconds", "peak_mib"} <= set(record)
    (corpus,) = corpora(records)
    assert (corpus.items, set(corpus.engines), set(corpus.engines["exact"])) == (
        500,
        {"exact", "inverted"},
        {"record", "build", "open", "threads"},
    )


def test_an_exact_index_of_ten_million_is_asked_less_often():
    step = Step("latent", 10_000_000, 64, True, "exact", "requests")
    users, rounds = 240, 3
    plan = PLAN._replace(users=users, rounds=rounds)
    assert run_module._settings(step, plan) == {"users": 20, "rounds": 1}
    assert run_module._settings(step._replace(engine="inverted"), plan) == {"users": users, "rounds": rounds}
