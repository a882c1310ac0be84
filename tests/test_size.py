"""The sizes count what they say."""

from graphlib import CycleError

import pytest
from pydantic import Field
from reference import size
from reference.markdown import NOTE

from multitudes.config import Config
from multitudes.retrieval.config import RetrieveConfig


class Inner(Config):
    depth: int = 1
    width: int = 2


class Outer(Config):
    seed: int = 0
    inner: Inner = Inner()
    named: dict[str, Inner] = Field(default_factory=dict)
    retrieve: RetrieveConfig = RetrieveConfig()  # a section of multitudes.toml, counted there


def test_every_source_file_counts_once_and_every_add_on_exists():
    parts = size.sources()
    assert {*parts["core"]}.isdisjoint(parts["add-ons"])
    assert {*parts["core"], *parts["add-ons"]} == {*size.SOURCE.rglob("*.py"), *size.PACKAGES.glob("*/src/**/*.py")}
    assert all((size.SOURCE / name).exists() for name in size.ADD_ONS)


def test_settings_are_those_of_a_file_and_of_its_own_sections():
    assert size.count_settings(Inner) == 2
    assert size.count_settings(Outer) == 1 + 2 + 2


def test_a_page_is_hand_written_but_for_what_programs_write(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("one two <!-- table: written by `x` -->\n\n| three |\n\n<!-- end --> four")
    (tmp_path / "docs" / "cli.md").write_text(f"# Commands\n{NOTE}\nfive")
    (tmp_path / "docs" / "a.ipynb").write_text('{"cells": [{"source": ["six ", "seven"]}]}')
    monkeypatch.setattr(size, "ROOT", tmp_path)
    monkeypatch.setattr(size, "DOCS", tmp_path / "docs")
    found = size.pages()
    assert sorted(map(size.word_count, found["hand-written"])) == [2, 3]
    assert len(found["generated"]) == len(found["generated tables"]) == 1
    assert found["records"] == []


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
