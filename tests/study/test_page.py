"""The Markdown page of a study contains its figures and nothing else."""

import numpy as np
import pytest

from multitudes.report import study_tables
from multitudes.report.formatting import format_difference, format_interval, format_number, segment_label
from multitudes.report.study_page import markdown_page
from multitudes.study.comparison import Resampling
from multitudes.study.page import main
from multitudes.study.summary import summarise, write_summary
from tests.study.planted import outcomes, write_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    rng = np.random.default_rng(0)
    gains = {"single": 0.0, "joint": 0.1, "joint/random_partition": 0.0, "joint/averaged": 0.1, "popularity": -0.1}
    return write_study(tmp_path_factory.mktemp("study"), {"a|b": outcomes(rng, gains, users=60, budgets=(10, 100))})


def test_the_page_holds_every_hit_rate_with_its_interval_and_verdict(study):
    summary = summarise(study, Resampling(300, 300))
    text = markdown_page(summary)
    for found in summary["data"]["a|b"]["methods"].values():
        assert format_interval(found["figures"]["hr"]) in text
        gain = found["minus"].get("hr", {})
        if "verdict" in gain:
            assert f"{format_difference(gain, 4).removesuffix(' *')} {gain['verdict']} |" in text
    summary["data"]["a|b"]["methods"]["joint"]["figures"]["hr"]["mean"] = 0.98765
    assert ".988" in markdown_page(summary)
    assert ".988" not in text


def test_every_row_of_a_table_has_as_many_cells_as_its_head(study):
    blocks = [
        block.splitlines()
        for block in markdown_page(summarise(study, Resampling(300, 300))).split("\n\n")
        if block.startswith("|")
    ]
    assert len(blocks) >= 6
    for lines in blocks:
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_the_table_of_kinds_holds_the_rate_and_the_difference_of_each_in_every_segment(tmp_path):
    gains = {"single": 0.0, "joint": 0.1, "joint/unconditioned": 0.0, "joint/implicit": 0.1, "joint/explicit": -0.2}
    data = {"a|b": outcomes(np.random.default_rng(0), gains | {"popularity": -0.1}, users=60)}
    summary = summarise(write_study(tmp_path, data), Resampling(300, 300))
    text, kinds = markdown_page(summary), summary["data"]["a|b"]["kinds"]
    assert "| whole history | interests | followed topics | joint | popularity |" in text
    for name, parts in kinds["segments"].items():
        for part, segment in parts.items():
            rate, gain = segment["rates"]["joint/explicit"], segment["minus"]["joint/explicit"]
            assert f"| {segment_label(name, part)} | {segment['targets']:,} |" in text
            assert f"| {format_number(rate['mean'])} ({format_difference(gain)}) |" in text
    assert "each kind of vector pays" not in markdown_page(
        summary | {"data": {"a|b": summary["data"]["a|b"] | {"kinds": None}}}
    )


def test_the_command_writes_the_page_with_given_text_and_rejects_other_folders(study, tmp_path, capsys):
    words, out = tmp_path / "words.md", tmp_path / "results.md"
    words.write_text("What a person says of it.")
    assert main([str(study), "--words", str(words), "--out", str(out)]) == 0
    assert "What a person says of it.\n\n## a|b" in out.read_text()
    assert main([str(study)]) == 0
    assert capsys.readouterr().out == out.read_text().replace("What a person says of it.\n\n", "")
    assert main([str(tmp_path)]) == 4
    assert "no study here" in capsys.readouterr().err


def test_the_first_table_compares_with_the_strongest_baseline_and_details_may_be_an_appendix(study, tmp_path):
    out, appendix, picture = tmp_path / "results.md", tmp_path / "more" / "sets.md", tmp_path / "images" / "a.svg"
    for file in (appendix, picture):
        file.parent.mkdir()
    assert main([str(study), "--out", str(out), "--appendix", str(appendix), "--picture", str(picture)]) == 0
    summary = summarise(study)
    minus = summary["data"]["a|b"]["strongest_baseline"]["minus"]
    page = out.read_text()
    assert "| a\\|b, 60 users | popularity" in page
    assert all(format_difference(gain) in page for gain in minus.values())
    assert "[an appendix](more/sets.md)" in page
    assert "](images/a.svg)" in page
    assert "## a|b" not in page
    assert "[the first page](../results.md)" in appendix.read_text()
    assert "## a|b" in appendix.read_text()
    assert picture.read_text().startswith("<svg")


def test_many_methods_have_a_row_each_in_the_first_table(study, tmp_path, monkeypatch):
    monkeypatch.setattr(study_tables, "_FEW_METHODS", 0)
    assert main([str(study), "--out", str(tmp_path / "results.md")]) == 0
    minus = summarise(study)["data"]["a|b"]["strongest_baseline"]["minus"]
    first = (tmp_path / "results.md").read_text().partition("Data sets on which")[0]
    assert "| × baseline: − baseline |" in first
    for method, gain in minus.items():
        (row,) = [line for line in first.splitlines() if line.startswith(f"| {method} |")]
        assert row.endswith(f": {format_difference(gain)} |")


@pytest.mark.parametrize("few_methods", [0, 4])
def test_without_baselines_the_first_table_and_the_picture_compare_with_the_reference(
    few_methods, tmp_path, monkeypatch
):
    monkeypatch.setattr(study_tables, "_FEW_METHODS", few_methods)
    gains = {"single": 0.0, "joint": 0.1, "joint/averaged": 0.1, "topics": -0.2}
    data = {"a": outcomes(np.random.default_rng(0), gains, users=60)}
    study, out, picture = write_study(tmp_path, data), tmp_path / "results.md", tmp_path / "results.svg"
    assert main([str(study), "--out", str(out), "--picture", str(picture)]) == 0
    first = out.read_text().partition("Data sets on which")[0]
    methods = summarise(study)["data"]["a"]["methods"]
    for method in ("joint", "topics"):
        assert f"{format_number(methods[method]['figures']['hr']['mean'])}, × " in first
        assert format_difference(methods[method]["minus"]["hr"]) in first
    assert f"| {format_number(methods['single']['figures']['hr']['mean'])} |" in first
    assert "baseline" not in first
    assert "averaged" not in first
    assert "![HR of each method less that of single, by data set](results.svg)" in out.read_text()
    assert "HR@100 − single" in picture.read_text()


def test_pages_that_nothing_links_to_are_refused(study, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(study), "--appendix", str(tmp_path / "sets.md")])
    assert "give --out too" in capsys.readouterr().err


def test_the_summary_alone_gives_the_same_page(study, tmp_path, capsys):
    write_summary(tmp_path, summarise(study))
    assert main([str(tmp_path)]) == 0
    kept = capsys.readouterr().out
    assert main([str(study)]) == 0
    assert kept == capsys.readouterr().out
    (tmp_path / "summary.json").write_text("{")
    assert main([str(tmp_path)]) == 4
    assert "summary.json: damaged" in capsys.readouterr().err
