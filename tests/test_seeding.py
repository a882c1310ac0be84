"""SplitMix64 gives the numbers of its authors, and named streams do not affect each other."""

import numpy as np

from multitudes.seeding import GOLDEN_GAMMA, generator, splitmix64, stream_seed


def test_a_stream_is_a_function_of_its_seed_and_names_by_the_reference_implementation():
    state = np.arange(1, 4, dtype=np.uint64) * GOLDEN_GAMMA  # the first three states after the seed 0
    assert [f"{bits:016X}" for bits in splitmix64(state).tolist()] == [
        "E220A8397B1DCDAF",
        "6E789E6AA1B965F4",
        "06C45D188009454F",
    ]
    assert stream_seed(0, "a", 1) == stream_seed(0, "a", "1")
    assert len({stream_seed(0, "a", 1), stream_seed(1, "a", 1), stream_seed(0, "a1"), stream_seed(0, "a")}) == 4
    assert generator(0, "a").random() == generator(0, "a").random() != generator(0, "b").random()
