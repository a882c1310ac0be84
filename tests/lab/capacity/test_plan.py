"""Requirements grow with the service; what does not fit into a machine goes elsewhere; nonsense is rejected."""

import json
import math

import pytest

from multitudes.cli.main import run
from multitudes_lab.capacity.plan import Capacity, CapacityConfig, StageRequirements
from multitudes_lab.capacity.unit_costs import Curve, UnitCosts, load_unit_costs

SHIPPED = load_unit_costs(None)
SMALL = CapacityConfig(users=1_000_000, items=1_000_000, events_per_day=1_000_000, qps=100)


def changed(**changes) -> CapacityConfig:
    return SMALL.model_copy(update=changes)


def stages(asked: CapacityConfig, costs: UnitCosts = SHIPPED) -> dict[str, StageRequirements]:
    return {stage.name: stage for stage in Capacity(asked, costs).stages()}


def proportional(costs: UnitCosts) -> UnitCosts:
    """The same costs, of an index that grows as its items do."""
    line = [(1e5, 10.0), (1e6, 100.0)]
    lines = {name: Curve(unit="MiB", by="items", source="a test", points=line) for name in ("own", "files")}
    return costs.model_copy(update={f"index_{name}_mib": curve for name, curve in lines.items()})


def test_twice_the_items_or_the_width_are_twice_the_memory_of_the_index():
    costs = proportional(SHIPPED)
    once = Capacity(SMALL, costs).index_gib().value
    assert once == pytest.approx(200 / 1024)
    assert Capacity(changed(items=2_000_000), costs).index_gib().value == pytest.approx(2 * once)
    assert Capacity(changed(width=128), costs).index_gib().value == pytest.approx(2 * once)
    assert Capacity(changed(users=9_000_000), costs).index_gib().value == once, "the control"


def test_each_process_of_a_service_has_memory_of_its_own_and_shares_the_files():
    costs = proportional(SHIPPED)
    one, three = (Capacity(SMALL, costs).index_gib(processes).value for processes in (1, 3))
    assert one == pytest.approx(200 / 1024)
    assert three == pytest.approx(400 / 1024)
    few, many = stages(SMALL, costs)["serve"], stages(changed(qps=2_000), costs)["serve"]
    assert many.cores / many.machines > 4
    assert many.memory_gib - few.memory_gib == pytest.approx((math.ceil(many.cores / many.machines) - 2) * 100 / 1024)
    assert few.note == "serve --workers 2 on each machine"
    assert stages(changed(cores=1, qps=1), costs)["serve"].note == "serve --workers 1 on each machine"


def test_an_index_is_remote_where_it_does_not_fit_with_all_processes():
    few = changed(items=50_000_000, users=1_000)
    many = few.model_copy(update={"qps": 2_000})
    assert not Capacity(few, SHIPPED).needs_remote_index
    assert Capacity(many, SHIPPED).needs_remote_index
    assert "milvus" in stages(many)
    assert stages(few)["serve"].memory_gib <= 0.8 * few.memory_gib


def test_twice_the_answers_are_twice_the_cores_and_more_vectors_cost_the_search_alone():
    once, twice = stages(SMALL)["serve"], stages(changed(qps=200))["serve"]
    assert twice.cores == pytest.approx(2 * once.cores)
    assert twice.time == once.time
    one, twelve = (Capacity(changed(vectors=k), SHIPPED).answer_core_ms.value for k in (1, 12))
    search = SHIPPED.search_core_ms.at(SMALL.items).value
    assert twelve - one == pytest.approx(search * 11 / 12)
    assert Capacity(SMALL, SHIPPED).answer_core_ms.value == pytest.approx(SHIPPED.answer_core_ms.points[0][1])


def test_an_answer_waits_the_longer_the_busier_the_cores_are_and_two_services_are_there_at_least():
    core_ms = Capacity(SMALL, SHIPPED).answer_core_ms.value
    assert stages(changed(utilisation=0.75))["serve"].time == f"{4 * core_ms:,.0f} ms"
    assert stages(changed(qps=0.01, replicas=3))["serve"].machines == 3


def test_time_grows_with_events_and_users():
    cost = {"price_per_core_hour": 1.0}  # of a run: hours of cores
    once, more = stages(changed(**cost)), stages(changed(days=180, users=2_000_000, **cost))
    assert more["train"].cost == pytest.approx(2 * (once["train"].cost or 0), rel=0.2)
    assert more["batch"].cost == pytest.approx(2 * (once["batch"].cost or 0))
    assert more["publish"].cost == once["publish"].cost, "the control"


def test_an_index_that_fits_no_machine_goes_to_a_server_and_a_larger_machine_takes_it_back():
    large = changed(items=1_000_000_000)
    assert "milvus" not in stages(SMALL)
    assert Capacity(large, SHIPPED).needs_remote_index
    milvus = stages(large)["milvus"]
    assert milvus.memory_gib == pytest.approx(2 * 1e9 * (4 * 65 + 128) / 2**30)
    assert milvus.machines * 0.8 * 64 >= milvus.memory_gib
    assert milvus.basis == "assumed"
    assert stages(large)["serve"].time.endswith("+ search"), "what was not measured is not promised"
    assert "milvus" not in stages(large.model_copy(update={"memory_gib": 4096}))


def test_each_stage_has_the_basis_of_its_figures():
    measured = changed(users=10_000_000, events_per_day=10_000_000, days=1, items=1_000_000)
    assert stages(measured)["prepare"].basis == "measured"
    assert stages(changed(events_per_day=5_000_000, days=1))["prepare"].basis == "interpolated"
    assert stages(changed(events_per_day=50_000_000))["prepare"].basis == "extrapolated"
    assert stages(SMALL)["publish"].basis == "measured"
    assert stages(changed(items=2_000_000))["publish"].basis == "interpolated"
    assert stages(SMALL)["logs"].basis == "assumed"
    assert stages(SMALL)["state"].basis == "assumed", "nobody measured the time of a read"


def test_there_are_costs_only_with_prices():
    assert {stage.cost for stage in Capacity(SMALL, SHIPPED).stages()} == {None}
    priced = stages(changed(price_per_core_hour=0.05))
    assert priced["serve"].cost == pytest.approx(730 * priced["serve"].machines * 16 * 0.05)
    dear = stages(changed(price_per_core_hour=0.10))
    assert dear["serve"].cost == pytest.approx(2 * (priced["serve"].cost or 0))


CALL = ["plan", "--users", "1000000000", "--items", "1000000000", "--events-per-day", "10000000000", "--qps", "100000"]


def test_the_table_fits_the_terminal_and_names_the_machine_and_what_is_assumed(capsys):
    for call in (CALL, [*CALL, "--price-per-core-hour", "0.05", "--price-per-gib-hour", "0.005"]):
        assert run(call) == 0
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= 80
        assert SHIPPED.machine.split(",")[0] in out
        for word in ("prepare", "train", "publish", "milvus", "serve", "batch", "state", "logs", "50%", "extrapolated"):
            assert word in out
    assert "a month" in out


def test_json_is_the_last_line(capsys):
    assert run([*CALL, "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["asked"]["items"] == 1_000_000_000
    assert {"name", "memory_gib", "machines", "basis", "note"} <= set(said["stages"][0])


@pytest.mark.parametrize(
    ("option", "value", "key"),
    [
        ("--users", "0", "users"),
        ("--items", "-1", "items"),
        ("--utilisation", "1.5", "utilisation"),
        ("--qps", "nan", "qps"),
        ("--qps", "inf", "qps"),
        ("--qps", "1e308", "qps"),
        ("--users", "9" * 30, "users"),
        ("--n", "9" * 400, "n"),
        ("--memory-gib", "inf", "memory_gib"),
        ("--memory-gib", "1e-300", "memory_gib"),
        ("--utilisation", "1e-320", "utilisation"),
    ],
)
def test_nonsense_is_rejected_in_a_line(option, value, key, capsys):
    assert run([*CALL, option, value]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert key in error


def test_a_stage_longer_than_a_night_needs_a_cluster():
    assert "cluster" not in stages(SMALL)["prepare"].note
    assert "cluster" in stages(changed(events_per_day=5_000_000_000))["prepare"].note
