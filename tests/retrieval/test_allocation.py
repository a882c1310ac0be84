"""Places are divided exactly, in proportion, and none is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from multitudes.batches.user_vectors import InterestKind, concatenate_vectors
from multitudes.config import parse
from multitudes.errors import UsageError
from multitudes.retrieval.allocation import search_depths, vector_shares
from multitudes.retrieval.blend import allocate_by_weight
from multitudes.retrieval.config import DEFAULT_SHARES, RetrieveConfig, resolve_shares, with_run_defaults
from multitudes.run_record import ListDefaults
from tests.retrieval.worlds import user_vectors

weights = arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1e6))
JOINT: tuple[InterestKind, ...] = ("unconditioned", "implicit", "implicit", "explicit", "explicit")


def test_largest_remainder_by_hand():
    # 10 places at .5 .3 .15 .05 are 5, 3, 1.5 and 0.5; both remainders are a half, so the earlier one gets the place.
    assert allocate_by_weight([0.5, 0.3, 0.15, 0.05], 10).tolist() == [5, 3, 2, 0]
    assert allocate_by_weight([1, 1, 1], 10).tolist() == [4, 3, 3]
    assert allocate_by_weight([0, 0], 10).tolist() == [0, 0]
    assert allocate_by_weight([[1, 3], [1, 0]], [4, 5]).tolist() == [[1, 3], [5, 0]]
    assert allocate_by_weight([True, False, True, True], 5).tolist() == [2, 0, 2, 1]


@given(weight=weights, budget=st.integers(0, 2_000))
def test_every_place_is_given_and_each_vector_is_within_one_of_its_share(weight, budget):
    quota = allocate_by_weight(weight, budget)
    if weight.sum() == 0:
        assert quota.sum() == 0
        return
    assert quota.sum() == budget
    exact = budget * (weight / weight.max()) / (weight / weight.max()).sum()
    assert (np.abs(quota - exact) < 1 + 1e-9 * budget).all()
    assert (quota[weight == 0] == 0).all()


@pytest.mark.parametrize(
    ("exists", "expected"),
    [
        # unconditioned, two implicit, two explicit -> share of each: what a kind lacks goes to the others in proportion
        ([1, 1, 1, 1, 1], [0.5, 0.125, 0.125, 0.125, 0.125]),
        ([1, 1, 0, 1, 0], [0.5, 0.25, 0.0, 0.25, 0.0]),
        ([1, 1, 1, 0, 0], [2 / 3, 1 / 6, 1 / 6, 0.0, 0.0]),
        ([1, 0, 0, 1, 1], [2 / 3, 0.0, 0.0, 1 / 6, 1 / 6]),
        ([0, 1, 1, 0, 1], [0.0, 0.25, 0.25, 0.0, 0.5]),
        ([0, 0, 0, 1, 0], [0.0, 0.0, 0.0, 1.0, 0.0]),
        ([0, 0, 0, 0, 0], [0.0, 0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_the_share_of_what_a_user_lacks_goes_to_the_others_in_proportion(exists, expected):
    config = RetrieveConfig(unconditioned_share=0.5, explicit_share=0.25)
    vectors = user_vectors(JOINT, np.zeros((1, 5, 1)), mask_BK=[exists])
    assert vector_shares(vectors, config)[0] == pytest.approx(expected)


def test_a_user_who_lacks_every_kind_with_a_share_has_the_default_ones_and_a_boost_begins_at_a_twentieth():
    alone = RetrieveConfig(unconditioned_share=1.0, explicit_share=0.0)
    vectors = user_vectors(JOINT, np.zeros((1, 5, 1)), mask_BK=[[0, 1, 1, 0, 1]])
    assert vector_shares(vectors, alone)[0] == pytest.approx([0, 0.4, 0.4, 0, 0.2])
    config = RetrieveConfig(unconditioned_share=1.0, explicit_share=0.0)
    vectors = user_vectors(("unconditioned", "implicit", "implicit"), np.zeros((1, 3, 1)), mask_BK=[[1, 1, 0]])
    for boost_K, expected in (([1, 3.0, 3.0], [1 / 1.15, 0.15 / 1.15, 0]), ([3.0, 1, 1], [1, 0, 0])):
        boosted = vectors._replace(boost_BK=np.array([boost_K]))
        assert vector_shares(boosted, config)[0] == pytest.approx(expected)


def test_shares_that_a_configuration_leaves_open_are_as_training_fitted_them():
    run = ListDefaults({"unconditioned": 0.6, "implicit": 0.3, "explicit": 0.1})
    assert resolve_shares(with_run_defaults(RetrieveConfig(), run)) == pytest.approx((0.6, 0.3, 0.1))
    assert resolve_shares(with_run_defaults(RetrieveConfig(explicit_share=0.4), run)) == pytest.approx((0.4, 0.2, 0.4))
    assert resolve_shares(with_run_defaults(RetrieveConfig(unconditioned_share=0.2), run)) == pytest.approx(
        (0.2, 0.6, 0.2)
    )
    asked = RetrieveConfig(unconditioned_share=0.5, explicit_share=0.25)
    assert resolve_shares(with_run_defaults(asked, run)) == pytest.approx((0.5, 0.25, 0.25))
    assert resolve_shares(with_run_defaults(RetrieveConfig(), ListDefaults({}))) == DEFAULT_SHARES
    # Shares of a softmax sum to a little more than one.
    run = ListDefaults({"unconditioned": 0.7160521745681763, "implicit": 0.0, "explicit": 0.2839478552341461})
    published = with_run_defaults(RetrieveConfig(), run)
    assert RetrieveConfig.model_validate(published.model_dump()) == published
    with pytest.raises(UsageError, match=r"explicit_share' = 0.25: .*unconditioned_share = 0.9 the shares exceed 1"):
        parse(RetrieveConfig, {"unconditioned_share": 0.9, "explicit_share": 0.25}, "a.toml")


def test_a_vector_proposes_its_share_and_half_a_list_at_least():
    share, most = np.array([[0.5, 0.45, 0.05, 0.0]]), np.array([[600]])
    assert search_depths(share, most, RetrieveConfig()).tolist() == [[300, 270, 50, 0]]
    assert search_depths(share, most, RetrieveConfig(blend="global_top")).tolist() == [[600, 600, 600, 0]]


def test_vectors_of_chunks_are_those_of_all_users():
    one = user_vectors(JOINT, np.zeros((2, 5, 1)), np.ones((2, 5)))._replace(events_B=np.array([0, 3]))
    both = concatenate_vectors([one, one.select(slice(1, 2))])
    assert both.events_B is not None
    assert both.events_B.tolist() == [0, 3, 3]
    assert both.mask_BK.shape == (3, 5)
    assert concatenate_vectors([one, one._replace(events_B=None)]).events_B is None
    assert both.share_BK is None
    joined = concatenate_vectors([one, one.select(slice(1, 2))._replace(share_BK=np.full((1, 5), 0.2))])
    np.testing.assert_array_equal(joined.share_BK, [[np.nan] * 5, [np.nan] * 5, [0.2] * 5])


def test_requested_shares_replace_the_configured_ones_of_their_user_alone():
    kinds: tuple[InterestKind, ...] = ("unconditioned", "implicit", "explicit")
    vectors = user_vectors(kinds, np.zeros((2, 3, 1)), mask_BK=[[1, 1, 0], [1, 1, 1]])
    config = RetrieveConfig(unconditioned_share=0.6, explicit_share=0.0)
    requested = vectors._replace(share_BK=np.array([[0.1, 0.3, 0.6], [np.nan] * 3]))
    share_BK = vector_shares(requested, config)
    np.testing.assert_allclose(share_BK[0], [0.25, 0.75, 0], err_msg="a missing vector gets nothing")
    np.testing.assert_array_equal(share_BK[1], vector_shares(vectors, config)[1])
    nothing = vectors._replace(share_BK=np.zeros((2, 3)))
    np.testing.assert_array_equal(vector_shares(nothing, config), vector_shares(vectors, config))
