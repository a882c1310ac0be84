"""The report of a study, from the comparison of methods to the provenance of the figures: as HTML and as Markdown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from multitudes.progress import amount
from multitudes.report.charts import VERDICT_LOOKS, Chart, Look, Looks, distinct_looks, interval_chart
from multitudes.report.document import Block, Contents, Figure, Heading, Table, Terms, Text
from multitudes.report.formatting import (
    CONTROL_LABELS,
    SEGMENTATION_LABELS,
    TARGET_LABELS,
    format_number,
    system_meanings,
)
from multitudes.report.html_elements import write_html
from multitudes.report.study_tables import (
    Row,
    data_set_tables,
    main_comparison,
    overview_table,
    ranks_table,
    verdicts_table,
)

_LAST_SECTIONS = ("Across the data sets", "How the study was run")


def write_study_page(summary: dict[str, Any], out: Path) -> None:
    """Write the report of a study's summary atomically to ``out``."""
    write_html(out, str(summary["name"]), study_blocks(summary), "study.css")


def picture_caption(summary: dict[str, Any]) -> str:
    """Return what ``overview_chart`` shows."""
    reference, _ = main_comparison(summary)
    return f"HR of each method less that of {reference or 'the strongest baseline'}, by data set"


def overview_chart(summary: dict[str, Any]) -> Chart | None:
    """Return HR less that of the strongest baseline, else the reference: all data sets and methods."""
    reference, compared = main_comparison(summary)
    rows = [
        {"name": name, "group": method} | gain
        for name, (_, minus) in compared.items()
        for method, gain in minus.items()
    ]
    budget = next((one["budget"] for one in summary["data"].values()), "N")
    title = f"HR@{budget} − {reference or 'strongest baseline'}"
    return interval_chart(rows, title, distinct_looks(row["group"] for row in rows))


def study_blocks(summary: dict[str, Any]) -> Iterator[Block]:
    """Yield the content of the report. All its figures come from the summary."""
    yield Heading(str(summary["name"]), 1)
    yield Contents((*summary["data"], *_LAST_SECTIONS))
    yield from lead_blocks(summary)
    yield from data_set_blocks(summary)
    yield from overall_blocks(summary)
    yield from provenance_blocks(summary)


def lead_blocks(summary: dict[str, Any]) -> Iterator[Block]:
    """Yield what was compared, how often the test set was accessed, what came out, and what the verdicts mean."""
    seeds, split = ", ".join(map(str, summary["seeds"])), summary["split"]
    times = {0: "never", 1: "once"}.get(summary["opened_test"], f"{summary['opened_test']} times")
    seen = ", which early stopping and tuning also use" if split == "validation" else ""
    yield Text(f"Seeds {seeds}; figures of the {split} split{seen}; test set accessed: {times}.", "soft")
    yield overview_table(summary)
    yield verdicts_table(summary)
    if summary["failed"]:
        yield Text(f"{amount(len(summary['failed']), 'cell')} failed, listed below.", "note")
    covered = "and training seeds" if len(summary["seeds"]) > 1 else "alone, as there is one seed"
    yield Text(
        f"Better and worse: the difference in HR, paired by user, has p < {summary['level']:g} after Holm's correction"
        " over all such comparisons of the study. Level: no significant difference, which does not mean equal."
        f" Intervals (95 %) cover users {covered}.",
        "soft",
    )


def data_set_blocks(summary: dict[str, Any]) -> Iterator[Block]:
    """Yield the figures of each data set."""
    methods = [
        m for one in summary["data"].values() for m, entry in one["methods"].items() if entry["role"] == "method"
    ]
    looks = distinct_looks([summary["reference"], *methods])
    for name, data_set in summary["data"].items():
        yield Heading(name)
        yield Text(describe_data(data_set, summary), "soft")
        yield from data_set_tables(name, data_set, summary)
        yield from _data_set_figures(data_set, summary["reference"], looks)


def describe_data(data_set: dict[str, Any], summary: dict[str, Any]) -> str:
    """Return the users, targets and budget on a data set, and the limits of its intervals."""
    methods, reference = data_set["methods"], summary["reference"]
    one_seed = all(len(entry["seeds"]) == 1 for entry in methods.values())
    return (
        f"{data_set['users']:,} users with {data_set['targets']:,} {TARGET_LABELS[data_set['kind']]},"
        f" {data_set['budget']} candidates each."
        + (" One seed: intervals cover only the variation between users." if one_seed else "")
        + (" With so few users, intervals are too narrow." if data_set["few_users"] else "")
        + ("" if reference in methods else f" The reference {reference} has no figure here.")
    )


def _data_set_figures(data_set: dict[str, Any], reference: str, looks: Looks) -> Iterator[Figure]:
    rows = [
        {"name": method, "group": gain.get("verdict", "control")} | gain
        for method, entry in data_set["methods"].items()
        # Baselines often do not fit on the scale, and are only in the table.
        if (gain := entry["minus"].get("hr"))
        and (entry["role"] == "method" or method.partition("/")[2] in CONTROL_LABELS)
    ]
    rows.sort(key=lambda row: -(row["mean"] or 0))
    verdict_looks = {**VERDICT_LOOKS, "control": Look("#2f7fc1", "diamond")}
    title = f"HR@{data_set['budget']} − {reference}"
    yield Figure(interval_chart(rows, title, verdict_looks), f"Each method, and its controls, less {reference}.")
    for segmentation, segments in data_set["segments"].items():
        rows = [
            {"name": f"{label.replace('_', ' ')} ({segment['targets']:,})", "group": method} | gain
            for label, segment in segments.items()
            for method, gain in segment["minus"].items()
        ]
        caption = f"By {SEGMENTATION_LABELS.get(segmentation, segmentation)}; number of targets in brackets."
        yield Figure(interval_chart(rows, title, looks), caption)


def overall_blocks(summary: dict[str, Any]) -> Iterator[Block]:
    """Yield who wins over the data sets."""
    overall = summary["overall"]
    yield Heading(_LAST_SECTIONS[0])
    yield Text(conclusion(overall))
    yield ranks_table(overall)
    if overall["left_out"]:
        yield Text(f"Not ranked, because not on every data set: {', '.join(overall['left_out'])}.", "soft")


def conclusion(overall: dict[str, Any]) -> str:
    """Return whether the data sets are enough for the ranks to show anything."""
    n_methods, n_sets = len(overall["ranks"]), len(overall["sets"])
    if n_methods < 2:
        return "Fewer than two methods have a figure on every data set, so there is nothing to rank."
    if overall["enough"]:
        return f"{n_sets} data sets: enough to show a difference between two of {n_methods} methods."
    return (
        f"Too few data sets for a conclusion: a significant difference between any two of {n_methods} methods takes"
        f" at least {overall['needed']} data sets, however clear the figures; this study has {n_sets}."
    )


def provenance_blocks(summary: dict[str, Any]) -> Iterator[Block]:
    """Yield tuning, settings, failures, machine and terms."""
    yield Heading(_LAST_SECTIONS[1])
    yield _tuning_table(summary["tuning"] or [])
    yield _settings_table(summary["chosen"])
    keys = ("data", "method", "seed", "error")
    failed: list[Row] = [[str(cell[key]) for key in keys] for cell in summary["failed"]]
    yield Table("Failed.", keys, failed, words=keys)
    resamples = ", ".join(f"{n:,} for {what}" for what, n in summary["resamples"].items())
    facts = {"resamples of users": resamples, **(summary["machine"] or {}), **(summary["versions"] or {})}
    yield Terms([(key, str(value)) for key, value in facts.items() if value is not None])
    systems = {
        name.rpartition("/")[2]: None
        for one in summary["data"].values()
        for name, entry in one["methods"].items()
        if entry["role"] != "method"
    }
    rows: list[Row] = [[*pair] for pair in system_meanings(systems)]
    yield Table("Controls and baselines.", ["", "is"], rows, words=["is"])


def _tuning_table(tuning: list[dict[str, Any]]) -> Table:
    """Return the trials, their scores and the best settings of each method on each data set."""
    rows: list[Row] = []
    for search in (search for search in tuning if search["trials"]):
        scores = [trial["score"] for trial in search["trials"] if trial["score"] is not None]
        spread = f"{format_number(min(scores))}–{format_number(max(scores))}" if scores else "–"
        space = ", ".join(sorted({key for trial in search["trials"] for key in trial["settings"]}))
        where = f"{search['data']}, {search['method']}"
        rows.append([where, str(len(search["trials"])), spread, space, format_settings(search["best"])])
    words = ("search space", "best settings")
    return Table("Tuning, on validation.", ["", "trials", "scores", *words], rows, words=words)


def format_settings(values: dict[str, Any]) -> str:
    """Return ``train.learning_rate = 0.001, model.dropout = 0.2``."""
    return ", ".join(f"{key} = {f'{v:.4g}' if isinstance(v, float) else v}" for key, v in values.items())


def _settings_table(chosen: dict[str, Any]) -> Table:
    """Return each method's settings except the tuned ones; once if they are the same on all data sets."""
    unique: dict[tuple[str, str], None] = {}
    for method, own in (pair for methods in chosen.values() for pair in methods.items()):
        untuned = {key: value for key, value in (own["settings"] or {}).items() if key not in (own["tuned"] or {})}
        unique[method, format_settings(untuned)] = None
    rows: list[Row] = [[method, text] for method, text in unique]
    return Table("Other settings that differ from the defaults.", ["", "settings"], rows, words=["settings"])
