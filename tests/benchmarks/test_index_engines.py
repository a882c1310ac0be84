import numpy as np
from benchmarks.index.engines import bare, build_engine, level

from multitudes.seeding import generator

RNG = generator(0, "engines")


def info(kind, *levels):
    found = [{"depth": depth, "effort": effort, "proposals": proposals} for depth, effort, proposals in levels]
    return {"kind": kind, "tuning": {"levels": found}}


def test_the_bare_call_makes_the_effort_of_the_level_that_is_deep_enough():
    tuned = info("inverted", (10, 4, 52), (100, 16, 232))
    assert level(tuned, 10)["effort"] == 4
    assert level(tuned, 11) == {"depth": 100, "effort": 16, "proposals": 232}
    assert level(tuned, 101) == {"effort": 1, "proposals": 101}
    assert level({"kind": "exact"}, 7)["proposals"] == 7


def test_a_server_has_nothing_to_spare():
    assert level(info("milvus", (10, 40, 52)), 7)["proposals"] == 7


def test_the_bare_call_finds_what_ours_finds_and_leaves_out_what_is_excluded(tmp_path):
    item_nD = RNG.standard_normal((2_000, 8), dtype=np.float32)
    query_KD = RNG.standard_normal((3, 8), dtype=np.float32)
    live = build_engine("inverted", np.arange(1, 2_001), item_nD, None, RNG.standard_normal((64, 8), dtype=np.float32))
    live.save(tmp_path)
    for engine, effort in (("exact", 0), ("inverted", live.info()["lists"])):
        search = bare(engine, tmp_path, item_nD)
        found_KM = search(query_KD, effort, 50, None)
        for found, score_n in zip(found_KM, query_KD @ item_nD.T, strict=True):
            assert 1 + score_n.argmax() in found
        without_KM = search(query_KD, effort, 50, found_KM[0])
        assert not np.isin(without_KM, found_KM[0]).any()
        assert (without_KM > 0).all()
