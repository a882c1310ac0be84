import numpy as np
from benchmarks.index.real import section
from benchmarks.index.runs import PLAIN, TOPIC, UNSEEN, Corpus, UserQueries, parse_run, questions, recall

from multitudes.index.exact import ExactIndex
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Topics

RANDOM = np.random.default_rng(0)
ITEMS = 400


def world():
    """Items with even and odd topics under ids with gaps, and four users of two vectors."""
    item_I = 10 + 3 * np.arange(ITEMS)
    topics = Topics(np.arange(ITEMS + 1), 1 + np.arange(ITEMS) % 2)
    corpus = Corpus(item_I, RANDOM.normal(size=(ITEMS, 6)).astype(np.float32), topics)
    asked = UserQueries(RANDOM.normal(size=(8, 6)).astype(np.float32), np.repeat(np.arange(4), 2))
    seen = [item_I[user::40] for user in asked.user_Q]
    return corpus, asked, questions(corpus, asked, seen, RANDOM)


def test_the_exact_index_keeps_every_promise_and_half_an_index_none():
    corpus, asked, wanted = world()
    assert {question.name for question in wanted} == {PLAIN, UNSEEN, TOPIC}
    whole = LiveIndex(ExactIndex.build(*corpus))
    offset, topic = corpus.topics
    half = LiveIndex(
        ExactIndex.build(corpus.item_I[::4], corpus.vector_ID[::4], Topics(offset[: ITEMS // 4 + 1], topic[::4]))
    )
    for question in wanted:
        assert recall(whole, asked, question)["recall"] == 1
        assert recall(half, asked, question)["recall"] < 0.6


def test_what_was_seen_is_not_wanted_and_topics_are_kept():
    corpus, asked, wanted = world()
    unseen = next(question for question in wanted if question.name == UNSEEN and question.depth == 100)
    for ids, user in zip(unseen.wanted, asked.user_Q, strict=True):
        assert len(ids) == 100
        assert not np.isin(ids, corpus.item_I[user::40]).any()
    within = next(question for question in wanted if question.name == TOPIC)
    for ids, topic in zip(within.wanted, within.topic_Q, strict=True):
        assert ((ids - 10) // 3 % 2 + 1 == topic).all()


def test_a_user_counts_once_however_many_vectors_the_user_has():
    corpus, asked, wanted = world()
    question = wanted[0]._replace(wanted=[np.array([corpus.item_I[0]])] * 8, depth=1, topic_Q=None)
    live = LiveIndex(ExactIndex.build(corpus.item_I[:1], corpus.vector_ID[:1]))
    lone = UserQueries(asked.query_QD, np.array([0, 1, 1, 1, 1, 1, 1, 1]))
    missed = question._replace(wanted=[np.array([corpus.item_I[0]]), *[np.array([corpus.item_I[1]])] * 7])
    assert recall(live, lone, missed)["recall"] == 0.5


def test_the_section_marks_what_lies_below_the_promise():
    found = [
        {"question": name, "depth": 10, "recall": value, "at_least": value - 0.01}
        for name, value in ((PLAIN, 0.98), (UNSEEN, 0.95))
    ]
    engine = {"info": {"tuning": {"promise": {"recall": 0.97}}}, "found": found}
    run = {"name": "d", "method": "m", "items": 400, "mean_cosine": None, "engines": {"inverted": engine}}
    text = "\n".join(section([run]))
    assert "| 0.980 [0.970] | **0.950 [0.940]** |" in text
    assert section([]) == []


def test_a_run_is_named_by_whoever_asks_or_by_its_folder(tmp_path):
    assert parse_run(f"films={tmp_path}") == ("films", tmp_path.resolve())
    assert parse_run(str(tmp_path / "joint")) == ("joint", tmp_path.resolve() / "joint")
