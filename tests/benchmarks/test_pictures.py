"""The pictures show what is there: the truth of the world as shapes, the method's answer as colours and crosses."""

import numpy as np
import polars as pl
import pytest
from benchmarks.machine import ROOT
from benchmarks.pictures.__main__ import NAMES, round_numbers
from benchmarks.pictures.chart import event_rows, user_chart, vector_names, vector_rows
from benchmarks.pictures.plane import principal_plane
from benchmarks.pictures.user import (
    HISTORY,
    NOISE,
    PlantedData,
    PlantedUser,
    chosen_user,
    history_tastes,
    prepare_planted,
)

from multitudes.batches.user_vectors import UserVectors
from multitudes.data.planted import PlantedConfig
from multitudes.report.html_elements import svg

SMALL = PlantedConfig(users=80, items=120, events=4_000, niches=12, topics=6)


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    return PlantedUser(prepare_planted(tmp_path_factory.mktemp("pictures"), SMALL))


def answer(person, column_BL):
    """Return vectors of a method that gave the events to these columns: one per taste, and one that nobody has."""
    users, width = len(person.held), 5
    vectors_BKD = np.broadcast_to(np.eye(4, width, dtype=np.float32), (users, 4, width))
    weight_BK = np.tile(np.array([0.5, 0.3, 0.2, 0], dtype=np.float32), (users, 1))
    topic_BK = np.zeros((users, 4), dtype=np.int64)
    return UserVectors(("implicit",) * 4, vectors_BKD, weight_BK, weight_BK > 0, topic_BK, column_BL)


def truth(person):
    column_BL = np.full((len(person.held), HISTORY), NOISE)
    for b, (user, end) in enumerate(zip(person.held.user_B, person.held.end_B, strict=True)):
        known = min(HISTORY, end - person.prepared.event_offset[user])
        column_BL[b, :known] = history_tastes(person.world, end, known)
    return column_BL


def item_vectors(person):
    return np.random.default_rng(0).normal(size=(person.prepared.n_items + 1, 5)).astype(np.float32)


def apart(at_N2):
    return np.linalg.norm(at_N2[:, None] - at_N2[None], axis=2)


def test_a_plane_comes_back_with_its_distances_and_what_is_off_it_does_not():
    random = np.random.default_rng(1)
    basis_2D = np.linalg.qr(random.normal(size=(6, 2)))[0].T
    flat_N2 = random.normal(size=(20, 2)) * [3, 1]
    at_N2 = principal_plane(flat_N2 @ basis_2D + 7).at(flat_N2 @ basis_2D + 7)
    np.testing.assert_allclose(apart(at_N2), apart(flat_N2), atol=1e-9)
    round_N6 = random.normal(size=(20, 6))
    assert not np.allclose(apart(principal_plane(round_N6).at(round_N6)), apart(round_N6), atol=0.1)


def test_the_user_is_chosen_by_the_world_and_holds_three_uneven_tastes(person):
    end = int(person.alone.end_B[0])
    size = np.bincount(history_tastes(person.world, end, HISTORY) + 1, minlength=4)[1:]
    assert person.user == chosen_user(PlantedData(person.world, person.prepared))
    assert min(size) >= 5
    assert max(size) >= 2 * min(size)


def test_a_world_of_one_taste_has_no_such_user(tmp_path):
    with pytest.raises(LookupError, match="no user"):
        chosen_user(prepare_planted(tmp_path, SMALL.model_copy(update={"tastes": 1})))


def test_the_truth_agrees_with_the_tastes_and_a_shuffle_of_it_does_not(person):
    right_BL = truth(person)
    assert person.agreement(answer(person, right_BL)) == (1.0, 1.0)
    wrong_BL = np.random.default_rng(0).permuted(right_BL, axis=1)
    assert person.agreement(answer(person, wrong_BL))[1] < 0.2


def test_each_usable_event_is_drawn_with_its_taste_and_its_interest(person):
    seen = person.seen(answer(person, truth(person)), item_vectors(person))
    called = vector_names(seen.vectors, {}, "whole")
    assert called == ["interest 1, 50%", "interest 2, 30%", "interest 3, 20%", "interest 4, 0%"]
    rows = event_rows(seen, principal_plane(seen.item_ID), called)
    assert len(rows) == len(seen.item_L) > 20
    assert rows.filter(pl.col("taste").str.starts_with("taste 1"))["vector"].n_unique() == 1
    largest = rows.group_by("taste").len().sort("len")["taste"].to_list()[-1]
    assert largest.startswith("taste 1,"), "tastes are numbered from the largest"
    assert set(rows.filter(pl.col("taste").str.starts_with("no taste"))["vector"]) <= {"none"}


def test_a_vector_that_the_user_lacks_is_not_drawn(person):
    seen = person.seen(answer(person, truth(person)), item_vectors(person))
    rows = vector_rows(seen, principal_plane(seen.item_ID), vector_names(seen.vectors, {}, "whole"))
    assert rows["vector"].to_list() == ["interest 1, 50%", "interest 2, 30%", "interest 3, 20%"]


def test_a_picture_is_the_same_each_time_and_small(person):
    seen = person.seen(answer(person, truth(person)), item_vectors(person))
    one, two = (round_numbers(svg(user_chart(seen, {}, ["heading", "more"]))) for _ in range(2))
    assert one == two
    assert "heading" in one
    assert "interest 2, 30%" in one
    assert "interest 4" not in one
    assert len(one) < 60_000


@pytest.mark.parametrize("name", NAMES)
def test_every_method_has_a_page_that_shows_its_picture(name):
    folder = ROOT / "docs" / "methods"
    assert f"({name}.svg)" in (folder / f"{name}.md").read_text()
    assert (folder / f"{name}.svg").stat().st_size > 10_000
    assert f"({name}.md)" in (folder / "README.md").read_text()
