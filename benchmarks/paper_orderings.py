"""``python -m benchmarks.paper_orderings``: records/paper-orderings.md, which of the paper's orderings return.

It reads the summaries of the studies with the paper's configuration, and no outcomes. A summary has the difference of
each method to DCM, its reference. Between two other methods the page shows the bound that follows from their two
differences to DCM. Studies of the same data set stand one below the other, because intervals cannot be pooled.

Run it again when a summary changes.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import ROOT
from benchmarks.markdown import table
from multitudes.atomic import write_text
from multitudes.report.formatting import Estimate, excludes_zero, format_difference, format_number, negate

STUDIES = ("paper-small", "paper-confirm", "paper-amazon")
PAGE = ROOT / "records" / "paper-orderings.md"
Summary = Mapping[str, Any]


class Ordering(NamedTuple):
    """Two methods of the studies; the paper, or for a control this library, expects the first to find more."""

    said: str
    first: str
    second: str


ORDERINGS = (
    Ordering("DCM > one vector", "clustering", "one_vector"),
    Ordering("DCM > MIND", "clustering", "routing"),
    Ordering("DCM > self-attention", "clustering", "self_attention"),
    Ordering("DCM > tokens", "clustering", "tokens"),
    Ordering("DCM > subsequences", "clustering", "subsequence"),
    Ordering("DCM > CR", "clustering", "conditional"),
    Ordering("CR > one vector", "conditional", "one_vector"),
    Ordering("DCM and CR > DCM", "paper", "clustering"),
    Ordering("DCM and CR > CR", "paper", "conditional"),
    Ordering("VA-FPI > random seeds", "clustering", "no_vafpi"),
    Ordering("SAR > soft assignment", "clustering", "no_sar"),
    Ordering("K = 7 > K = 2", "clustering", "interests_2"),
    Ordering("K = 7 > K = 4", "clustering", "interests_4"),
    Ordering("control: DCM > a model trained on random parts", "clustering", "random_partition"),
    Ordering("control: DCM > random parts, same model", "clustering", "clustering/random_partition"),
)

_HEAD = """# Which of the paper's orderings return

Written by `python -m benchmarks.paper_orderings`; do not edit. It reads the summaries of the studies
`{studies}`. What the figures say is on
[paper.md](paper.md), [paper-confirm.md](paper-confirm.md) and
[paper-amazon.md](paper-amazon.md).

**These tables are of the lists before the default changed** (commit eaed4ff): in turns, as today, with shares of the
kinds that were fitted for a mixture.

The paper's own configuration, validation split. A row is an ordering of the paper, a cell the difference of the first
method to the second at an equal budget, with its interval (95 %, bootstrap paired by user; of several seeds, over users
and seeds). Before the colon are the seeds. Summaries of different seeds are not pooled: each has a line. Above zero is
the paper's order.

† Neither method is DCM, and a summary has differences to DCM alone. The interval is the bound that follows from the two
differences to DCM: at least 90 %, and wider than a paired one.

*Returns*: every line of a cell has the paper's sign, and at least one has a star. *Other way*: the opposite. A dash:
not trained there, or not kept at this budget."""
_MAIN = """## HR@{budget}

\\*: shown after Holm's correction over all such comparisons of its study; with †: the bound excludes zero."""
_LARGE = """## HR@{budget}

The first method's hit rate as a share of the second's, less one, in percent: at this budget a summary has intervals of
ratios alone. \\*: the interval excludes zero, without correction."""
_RATES = """## The hit rates themselves

HR@{main} / HR@{large}."""


class Comparison(NamedTuple):
    """The difference of two methods in one study."""

    seeds: str
    difference: Estimate
    is_bound: bool  # the interval follows from those of two differences to the reference
    is_shown: bool

    @property
    def sign(self) -> int:
        """1: the paper's order, -1: the opposite, 0: exactly equal."""
        mean = self.difference["mean"] or 0.0
        return (mean > 0) - (mean < 0)


def page(summaries: Mapping[str, Summary]) -> str:
    """Return the page of the studies, by their names."""
    main, large = _budgets(summaries)
    lines = [_HEAD.format(studies="`, `".join(summaries)), ""]
    for title, budget in ((_MAIN, main), (_LARGE, large)):
        lines += [title.format(budget=budget), "", *_orderings_table(summaries, budget)]
    lines += [_RATES.format(main=main, large=large), "", *_rates_table(summaries, (main, large))]
    return "\n".join(lines)


def compare(data_set: Mapping[str, Any], reference: str, ordering: Ordering, budget: int) -> Comparison | None:
    """Return how two methods differ on a data set of one study; None if it does not have both."""
    first = _against_reference(data_set, reference, ordering.first, budget)
    second = _against_reference(data_set, reference, ordering.second, budget)
    if first is None or second is None:
        return None
    is_bound = reference not in (ordering.first, ordering.second)
    difference = _subtract(first, second) if budget == data_set["budget"] else _divide(first, second)
    verdict = None if is_bound else first.get("verdict") or second.get("verdict")
    is_shown = verdict != "level" if verdict else excludes_zero(difference)
    return Comparison(_seeds(data_set, ordering), difference, is_bound, is_shown)


def tally(by_data_set: list[list[Comparison]]) -> str:
    """Return on how many data sets an ordering returns, and on how many it is the other way."""
    compared = [found for found in by_data_set if found]
    returns, other_way = (sum(_agree(found, sign) for found in compared) for sign in (1, -1))
    return f"on {returns} of {len(compared)} sets, other way on {other_way}"


def _agree(found: list[Comparison], sign: int) -> bool:
    return all(one.sign == sign for one in found) and any(one.is_shown for one in found)


def _against_reference(
    data_set: Mapping[str, Any], reference: str, method: str, budget: int
) -> Mapping[str, Any] | None:
    """Return a method's hit rate less the reference's, at a larger budget their ratio less one; None: not kept."""
    if method == reference:
        return {"mean": 0.0, "low": 0.0, "high": 0.0}
    if budget != data_set["budget"]:
        relative: Mapping[str, Any] | None = data_set["curves"][str(budget)].get(method, {}).get("relative")
        return relative
    if method.startswith(f"{reference}/"):  # a control queries the reference's own models: paired by seed too
        gain = data_set["controls"][reference].get(method.removeprefix(f"{reference}/"))
        return gain and {**negate(gain), "verdict": gain["verdict"]}
    minus: Mapping[str, Any] | None = data_set["methods"].get(method, {}).get("minus", {}).get("hr")
    return minus


def _subtract(first: Mapping[str, Any], second: Mapping[str, Any]) -> Estimate:
    return {
        "mean": first["mean"] - second["mean"],
        "low": first["low"] - second["high"],
        "high": first["high"] - second["low"],
    }


def _divide(first: Mapping[str, Any], second: Mapping[str, Any]) -> Estimate:
    """Return the ratio of two ratios, less one, in percent."""
    return {
        "mean": 100 * ((1 + first["mean"]) / (1 + second["mean"]) - 1),
        "low": 100 * ((1 + first["low"]) / (1 + second["high"]) - 1),
        "high": 100 * ((1 + first["high"]) / (1 + second["low"]) - 1),
    }


def _seeds(data_set: Mapping[str, Any], ordering: Ordering) -> str:
    """Return the seeds of both methods: ``1, 2``, or ``0 / 0, 1`` if they differ."""
    seeds = [", ".join(map(str, data_set["methods"][method]["seeds"])) for method in (ordering.first, ordering.second)]
    return " / ".join(dict.fromkeys(seeds))


def _budgets(summaries: Mapping[str, Summary]) -> tuple[int, int]:
    """Return the main budget and the largest one."""
    data_set = next(iter(next(iter(summaries.values()))["data"].values()))
    return data_set["budget"], max(data_set["budgets"])


def _studies_by_data_set(summaries: Mapping[str, Summary]) -> dict[str, list[Summary]]:
    names = dict.fromkeys(name for summary in summaries.values() for name in summary["data"])
    return {name: [summary for summary in summaries.values() if name in summary["data"]] for name in names}


def _head(studies: Mapping[str, list[Summary]]) -> list[str]:
    return ["", *(f"{name}, {found[0]['data'][name]['users']:,} users" for name, found in studies.items())]


def _orderings_table(summaries: Mapping[str, Summary], budget: int) -> list[str]:
    studies = _studies_by_data_set(summaries)
    digits = 3 if budget == _budgets(summaries)[0] else 1
    rows = []
    for ordering in ORDERINGS:
        found = [list(_comparisons(name, studies[name], ordering, budget)) for name in studies]
        if any(found):
            cells = ["<br>".join(_cell(one, digits) for one in own) or "–" for own in found]
            rows.append([ordering.said, *cells, tally(found)])
    return table([*_head(studies), "returns"], rows)


def _comparisons(name: str, studies: list[Summary], ordering: Ordering, budget: int) -> Iterator[Comparison]:
    for summary in studies:
        if found := compare(summary["data"][name], summary["reference"], ordering, budget):
            yield found


def _cell(one: Comparison, digits: int) -> str:
    difference = format_difference(one.difference, digits).removesuffix(" *")
    return f"{one.seeds}: {difference}" + " †" * one.is_bound + " \\*" * one.is_shown


def _rates_table(summaries: Mapping[str, Summary], budgets: tuple[int, int]) -> list[str]:
    studies = _studies_by_data_set(summaries)
    methods = dict.fromkeys(method for ordering in ORDERINGS for method in (ordering.first, ordering.second))
    rows = [
        [method, *("<br>".join(_rates(name, studies[name], method, budgets)) or "–" for name in studies)]
        for method in methods
    ]
    return table(_head(studies), rows)


def _rates(name: str, studies: list[Summary], method: str, budgets: tuple[int, int]) -> Iterator[str]:
    for summary in studies:
        data_set = summary["data"][name]
        if method in data_set["methods"]:
            rates = (data_set["curves"][str(budget)].get(method, {}).get("mean") for budget in budgets)
            seeds = ", ".join(map(str, data_set["methods"][method]["seeds"]))
            yield f"{seeds}: {' / '.join(map(format_number, rates))}"


def main() -> None:
    """Write the page from the kept summaries."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper_orderings", description=__doc__)
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    write_text(given.out, page(read_summaries()))
    print(given.out)


def read_summaries() -> dict[str, Summary]:
    """Return the kept summaries of the studies, by their names."""
    results = ROOT / "benchmarks" / "results"
    return {name: json.loads((results / name / "summary.json").read_text(encoding="utf-8")) for name in STUDIES}


if __name__ == "__main__":
    main()
