"""Formatting of figures and names of systems, shared by tables and charts."""

from collections.abc import Iterable
from typing import Any

from multitudes.evaluation.reranked import RERANKERS
from multitudes.report.document import Cell
from multitudes.retrieval.blend import BLENDS

Estimate = dict[str, float | None]  # mean, low, high
NOT_COMPARED = "not compared: the same list"

# What each system in a result is, beside blends.
_SYSTEM_MEANINGS = {
    "unconditioned": "one vector of the whole history",
    "calibrated": "one vector, its list divided among the user's tastes",
    "implicit": "only the interests found in the history",
    "explicit": "only the followed topics",
    "averaged": "all vectors averaged into one query",
    "random_partition": "the history divided at random, not by interest",
    "other_user": "its own interests on the conditions of another user",
    "steck": "one vector, its best 6 N (600 at least) re-ranked to the user's tastes (Steck's calibration)",
    "mmr": "one vector, its best 6 N re-ranked by maximal marginal relevance",
    "dpp": "one vector, its best 6 N re-ranked by a determinantal point process",
    "popularity": "items of the most users (all targets: of the most events), the same for everyone",
    "recent_popularity": "the same of the last days of training",
    "item_knn": "items that the same users engage with, by cosine with shrinkage",
    "ease": "EASE, a linear model of items, in closed form",
    "neighbours": "EASE on the nearest neighbours of each item, whatever the number of items",
    "linear": "the linear model of items at rank 64, one vector, as a run of this method",
    "ials": "iALS, matrix factorisation, one vector of 64",
    "covisit": "items that others engaged with around the user's newest ones",
    "followed_topics": "popular items of the followed topics, in turns",
    "own_history": "the user's own items again, newest first",
    "repeats": "the user's own items by their probability, then popular ones",
    "with_repeats": "new items of the run and the user's own items, by probability",
}
TARGET_LABELS = {"new": "first-time targets", "all": "all targets, repeats included"}

# What a method has to beat if its interests matter: a control trained for it, if the study has one, and two ways of
# querying its own models.
TRAINED_CONTROL = "trained_control"
CONTROL_LABELS = {
    TRAINED_CONTROL: "trained control",
    "random_partition": "random partition",
    "averaged": "average",
}

# The kinds of vectors, for a reader.
KIND_LABELS = {"unconditioned": "whole history", "implicit": "interests", "explicit": "followed topics"}

# Figures of interest health, by their key in ``interests`` of a result.
HEALTH_LABELS = {
    "effective": "effective number of interests",
    "cosine": "mean cosine between them",
    "empty_slots": "share of interest slots that are empty",
    "empty_topics": "share of topic slots without a topic",
    "cosine_all": "mean cosine between all vectors",
    "overlap": "share of the followed topics' own list that is in the interests' own list too (the paper: .032)",
    "depth_at_coverage": "rank at which the list of one vector reaches an interest (median of a user's)",
}
SEGMENTATION_LABELS = {
    "history": "length of the history",
    "cohort": "cohort",
    "activity": "activity of the user",
    "tastes": "number of tastes of the user",
    "popularity": "popularity of the target",
    "horizon": "time from the query to the target",
    "topic_age": "time since the user met a topic of the target",
}
# Names of the segments of a segmentation, and the prefix of those that have none.
_SEGMENT_LABELS = {
    "within_day": "target in a day",
    "within_week": "target in a week",
    "later": "target later",
    "topic_recent": "topic last week",
    "topic_earlier": "topic earlier",
    "topic_never": "topic never",
}
_SEGMENT_PREFIXES = {
    "history": "history of ",
    "cohort": "users: ",
    "activity": "users: ",
    "tastes": "tastes: ",
    "popularity": "targets: ",
}


def shown_systems(result: dict[str, Any]) -> list[str]:
    """Return the informative systems of every kind of targets, each once."""
    return [*dict.fromkeys(m for block in (result, result["all_targets"]) if block for m in informative_systems(block))]


def system_meanings(systems: Iterable[str]) -> list[tuple[str, str]]:
    """Return the systems that are not methods, each with its meaning."""
    meanings = _SYSTEM_MEANINGS | {name: blend.meaning for name, blend in BLENDS.items()}
    return [(name, meanings[name]) for name in systems if name in meanings]


def segment_label(segmentation: str, segment: str) -> str:
    """Return the name of a segment: ``targets: head``, ``target in a day``."""
    return _SEGMENT_LABELS.get(segment) or f"{_SEGMENT_PREFIXES[segmentation]}{segment}"


def format_number(value: float | None, digits: int = 3) -> str:
    """Return ``.219``: a number below 1 without its leading zero; a dash for None."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def format_interval(figure: Estimate, digits: int = 3) -> str:
    """Return ``.219 [.210, .228]``."""
    if figure["mean"] is None or figure["low"] is None:
        return format_number(figure["mean"], digits)
    mean, low, high = (format_number(figure[key], digits) for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def format_difference(figure: Estimate, digits: int = 3) -> str:
    """Return ``+.012 [.004, .020] *``: with its sign, and a star if the interval excludes zero."""
    sign = "+" if (figure["mean"] or 0) >= 0 else ""
    return f"{sign}{format_interval(figure, digits)}{' *' if excludes_zero(figure) else ''}".replace("+-", "-")


def gain_cell(gain: Estimate, before: str = "") -> Cell:
    """Return a difference in the colour of better or worse if its interval excludes zero, below the text ``before``."""
    tone = "" if not excludes_zero(gain) else "better" if (gain["mean"] or 0) > 0 else "worse"
    return Cell("\n".join(filter(None, [before, format_difference(gain)])), tone, before or None)


def excludes_zero(figure: Estimate) -> bool:
    """Return whether the whole interval is on one side of zero."""
    low, high = figure["low"], figure["high"]
    return low is not None and high is not None and (low > 0 or high < 0)


def negate(figure: Estimate) -> Estimate:
    """Return the difference with its sides exchanged."""
    mean, low, high = (None if figure[key] is None else 0.0 - figure[key] for key in ("mean", "high", "low"))  # type: ignore[operator]
    return {"mean": mean, "low": low, "high": high}


def informative_systems(block: dict[str, Any]) -> list[str]:
    """Return the run and the systems with a figure at the main budget, without those that repeat another's list.

    Where nobody follows anything, lists of followed topics repeat popularity figure by figure, and those of explicit
    vectors nearly. A re-ranker of λ 0 repeats the list of one vector.
    """
    methods, key = block["methods"], f"hr@{block['budget']}"
    popular, one_vector = (methods.get(name, {}).items() for name in ("popularity", "unconditioned"))  # at more budgets
    repeats = {m for m in block["differences"] if m != "popularity" and methods[m].items() <= popular}
    repeats |= {m for m in RERANKERS if methods.get(m, {}).items() <= one_vector}
    if block.get("interests", {}).get("empty_topics", {}).get("mean") == 1:  # no user has an explicit vector
        repeats.add("explicit")
    return [m for m, figures in methods.items() if key in figures and m not in repeats]


def verdicts(block: dict[str, Any], own: str) -> list[str]:
    """Return whether the run finds more than the strongest system beside it, and than the strongest baseline.

    One sentence if the strongest system is a baseline; none if the run is alone. A system with the run's own lists is
    the strongest only where there is no other.
    """
    key, baseline = f"hr@{block['budget']}", block.get("strongest_baseline")
    beside = [name for name in block["methods"] if key in block["differences"].get(name, {})]
    others = [name for name in beside if not is_same_list(block, name, own)] or beside
    strongest = max(others, key=lambda name: block["methods"][name][key]["mean"] or 0.0, default=None)
    titles = {strongest: "the strongest system beside it"}
    titles.setdefault(baseline, "the strongest baseline")
    return [_verdict(block, own, name, title) for name, title in titles.items() if name is not None]


def is_same_list(block: dict[str, Any], name: str, own: str) -> bool:
    """Return whether a system returns the run's own lists at the main budget, so that there is nothing to compare."""
    figures, at_budget = block["methods"], f"@{block['budget']}"
    keys = [key for key in figures[name].keys() & figures[own].keys() if key.endswith(at_budget)]
    gains = [gain for key, gain in block["differences"].get(name, {}).items() if key.endswith(at_budget)]
    is_equal = all(figures[name][key] == figures[own][key] for key in keys)
    return is_equal and all(value in (0, None) for gain in gains for value in gain.values())


def _verdict(block: dict[str, Any], own: str, name: str, title: str) -> str:
    key, gains = f"hr@{block['budget']}", block["differences"][name]
    if is_same_list(block, name, own):
        return f"{own} − {name}: {NOT_COMPARED}."
    rate, words = format_interval(block["methods"][name][key]), verdict_words(gains[key])
    sentence = (
        f"{own} {words} {title}, {name} ({rate}): {own} − {name} {format_difference(gains[key])}, paired by user."
    )
    served = gains.get(f"served@{block['budget']}")
    if served is None or served["mean"] is None:
        return sentence
    return f"{sentence} {own} {served_words(served)} a user's interests than {name}: {format_difference(served)}."


def served_words(difference: Estimate) -> str:
    """Say whether a list serves more interests, no more than the interval of the difference says."""
    if excludes_zero(difference):
        return "serves more of" if (difference["mean"] or 0) > 0 else "serves less of"
    return "is not shown to serve more or less of"


def verdict_words(difference: Estimate) -> str:
    """Return how a system compares with another, no more than the interval of the difference says."""
    if excludes_zero(difference):
        return "finds more than" if (difference["mean"] or 0) > 0 else "finds less than"
    is_equal = difference["low"] == difference["mean"] == difference["high"] == 0
    return "finds the same as" if is_equal else "is not shown to differ from"


def remarks(result: dict[str, Any]) -> list[str]:
    """Return a sentence for each absent baseline, and one if the run finds more where it may return seen items."""
    absent = {name: record["absent"] for name, record in result["baselines"].items() if "absent" in record}
    unused = [name for name, weights in result.get("rerankers", {}).items() if not any(weights)]
    absent |= dict.fromkeys(unused, "any λ above 0 costs more than 1 % of the hits; with 0 its list is one vector's")
    found = [f"{name} is absent: {reason}." for name, reason in absent.items()]
    key, block = f"hr@{result['budget']}", result["all_targets"] or result
    gain = block["differences"].get("with_repeats", {}).get(key)
    if gain and excludes_zero(gain) and gain["mean"] < 0:
        rates = [format_number(block["methods"][name][key]["mean"]) for name in ("with_repeats", result["method"])]
        found.append(f"With exclude_seen=false the run finds {' in place of '.join(rates)} of all targets.")
    return found


def source_name(source: dict[str, Any]) -> str:
    """Return the name of a vector: ``implicit 2``; kinds with only one vector have no number."""
    name: str = source["source"]
    return name if name in ("popular", "unconditioned") else f"{name} {source['number']}"
