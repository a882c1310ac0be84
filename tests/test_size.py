"""The sizes count what they say."""

from graphlib import CycleError

import pytest
from reference import size


def test_every_source_file_counts_once_and_every_add_on_exists():
    parts = size.sources()
    assert {*parts["core"]}.isdisjoint(parts["add-ons"])
    assert {*parts["core"], *parts["add-ons"]} == {*size.SOURCE.rglob("*.py"), *size.PACKAGES.glob("*/src/**/*.py")}
    assert all((size.SOURCE / name).exists() for name in size.ADD_ONS)


def test_the_longest_chain_of_imports_is_found_and_a_cycle_is_named():
    imports = {"a": {"b", "c", "outside"}, "b": {"d"}, "c": set(), "d": set()}
    assert size.longest_chain(imports) == ["a", "b", "d"]
    assert size.in_cycles(imports) == set()
    circle = {**imports, "d": {"a"}}
    assert size.in_cycles(circle) == {"a", "b", "d"}
    with pytest.raises(CycleError):
        size.longest_chain(circle)


@pytest.mark.slow
def test_it_prints_every_size(capsys):
    size.main()
    text = capsys.readouterr().out
    for title in ("Lines", "Words", "Settings", "Commands", "Imports", "floors: index."):
        assert title in text
