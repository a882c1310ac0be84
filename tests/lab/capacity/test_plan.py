"""Requirements grow with the service; what does not fit into a machine goes elsewhere; nonsense is rejected."""

import json
from math import ceil

import pytest

from multitudes.cli.main import run
from multitudes_lab.capacity.plan import Capacity, CapacityConfig, StageRequirements
from multitudes_lab.capacity.unit_costs import Curve, UnitCosts, load_unit_costs

SHIPPED = load_unit_costs(None)
SMALL = CapacityConfig(users=1_000_000, items=1_000_000, events_per_day=1_000_000, qps=100)


def capacity(costs: UnitCosts = SHIPPED, /, **changes: float) -> Capacity:
    return Capacity(SMALL.model_copy(update=changes), costs)


def stages(costs: UnitCosts = SHIPPED, /, **changes: float) -> dict[str, StageRequirements]:
    return {stage.name: stage for stage in capacity(costs, **changes).stages()}


@pytest.fixture
def proportional() -> UnitCosts:
    """The shipped costs, of an index that grows as its items do."""
    line = Curve(unit="MiB", by="items", source="a test", points=((1e5, 10.0), (1e6, 100.0)))
    return SHIPPED.model_copy(update={"index_own_mib": line, "index_files_mib": line})


def test_twice_the_items_or_the_width_are_twice_the_memory_of_the_index(proportional):
    once = capacity(proportional).index_gib().value
    assert once == pytest.approx(200 / 1024)
    assert capacity(proportional, items=2_000_000).index_gib().value == pytest.approx(2 * once)
    assert capacity(proportional, width=128).index_gib().value == pytest.approx(2 * once)
    assert capacity(proportional, users=9_000_000).index_gib().value == once, "the control"


def test_each_process_of_a_service_has_memory_of_its_own_and_shares_the_files(proportional):
    assert capacity(proportional).index_gib(3).value == pytest.approx(400 / 1024)
    few, many = (stages(proportional, **changes)["serve"] for changes in ({}, {"qps": 2_000}))
    assert many.cores / many.machines > 4
    assert many.memory_gib - few.memory_gib == pytest.approx((ceil(many.cores / many.machines) - 2) * 100 / 1024)
    assert few.note == "serve --workers 2 on each machine"
    assert stages(proportional, cores=1, qps=1)["serve"].note == "serve --workers 1 on each machine"


def test_twice_the_answers_are_twice_the_cores_and_more_vectors_cost_the_search_alone():
    once, twice = stages()["serve"], stages(qps=200)["serve"]
    assert twice.cores == pytest.approx(2 * once.cores)
    assert twice.time == once.time
    one, twelve = (capacity(vectors=k).answer_core_ms.value for k in (1, 12))
    assert twelve - one == pytest.approx(SHIPPED.search_core_ms.at(SMALL.items).value * 11 / 12)
    core_ms = capacity().answer_core_ms.value
    assert core_ms == pytest.approx(SHIPPED.answer_core_ms.points[0][1])
    assert stages(utilisation=0.75)["serve"].time == f"{4 * core_ms:,.0f} ms", "it waits the longer"
    assert stages(qps=0.01, replicas=3)["serve"].machines == 3


def test_time_grows_with_events_and_users_and_costs_with_prices():
    once, more = (stages(price_per_core_hour=1.0, **changes) for changes in ({}, {"days": 180, "users": 2_000_000}))
    assert more["train"].cost == pytest.approx(2 * (once["train"].cost or 0), rel=0.2)
    assert more["batch"].cost == pytest.approx(2 * (once["batch"].cost or 0))
    assert more["publish"].cost == once["publish"].cost, "the control"
    assert "cluster" not in once["prepare"].note
    assert "cluster" in stages(events_per_day=5_000_000_000)["prepare"].note, "longer than a night"
    assert {stage.cost for stage in capacity().stages()} == {None}
    priced, dear = (stages(price_per_core_hour=price)["serve"] for price in (0.05, 0.10))
    assert priced.cost == pytest.approx(730 * priced.machines * 16 * 0.05)
    assert dear.cost == pytest.approx(2 * (priced.cost or 0))


def test_an_index_that_fits_no_machine_goes_to_a_server_and_a_larger_machine_takes_it_back():
    large = stages(items=1_000_000_000)
    assert large["milvus"].memory_gib == pytest.approx(2 * 1e9 * (4 * 65 + 128) / 2**30)
    assert large["milvus"].machines * 0.8 * 64 >= large["milvus"].memory_gib
    assert large["milvus"].basis == "assumed"
    assert large["serve"].time.endswith("+ search"), "what was not measured is not promised"
    assert "milvus" not in stages() | stages(items=1_000_000_000, memory_gib=4096)
    few, many = (stages(items=50_000_000, users=1_000, qps=qps) for qps in (100, 2_000))
    assert "milvus" in many, "all processes of a machine count"
    assert "milvus" not in few
    assert few["serve"].memory_gib <= 0.8 * SMALL.memory_gib


def test_each_stage_has_the_basis_of_its_figures():
    small = stages()
    assert stages(events_per_day=10_000_000, days=1)["prepare"].basis == "measured"
    assert stages(events_per_day=5_000_000, days=1)["prepare"].basis == "interpolated"
    assert stages(events_per_day=50_000_000)["prepare"].basis == "extrapolated"
    assert small["publish"].basis == "measured"
    assert stages(items=2_000_000)["publish"].basis == "interpolated"
    assert small["logs"].basis == small["state"].basis == "assumed", "nobody measured the time of a read"


CALL = ["plan", "--users", "1000000000", "--items", "1000000000", "--events-per-day", "10000000000", "--qps", "100000"]


def test_the_table_fits_the_terminal_names_what_is_assumed_and_ends_in_json(capsys):
    assert run([*CALL, "--price-per-core-hour", "0.05", "--price-per-gib-hour", "0.005"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert SHIPPED.machine.split(",")[0] in out
    for word in (*stages(items=10**9), "50%", "extrapolated", "a month"):
        assert word in out
    assert run([*CALL, "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["asked"]["items"] == 1_000_000_000
    assert {"name", "memory_gib", "machines", "basis", "note"} <= set(said["stages"][0])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("users", "0"),
        ("items", "-1"),
        ("utilisation", "1.5"),
        ("qps", "nan"),
        ("qps", "1e308"),
        ("users", "9" * 30),
        ("n", "9" * 400),
        ("memory-gib", "inf"),
        ("memory-gib", "1e-300"),
        ("utilisation", "1e-320"),
    ],
)
def test_nonsense_is_rejected_in_a_line(option, value, capsys):
    assert run([*CALL, f"--{option}", value]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert option.replace("-", "_") in error
