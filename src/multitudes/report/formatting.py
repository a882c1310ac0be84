"""How figures and systems are written for people, the same in tables and charts."""

from typing import Any

Estimate = dict[str, float | None]  # mean, low, high

# What each system is, in the words of a person who reads a result for the first time.
SYSTEM_MEANINGS = {
    "unconditioned": "one vector of the whole history, all places",
    "implicit": "only the interests found in the history",
    "explicit": "only the followed topics",
    "averaged": "all vectors averaged into one query",
    "random_partition": "the history parted at random, not by interest",
    "round_robin": "same vectors, blended turn by turn (the paper)",
    "global_top": "same vectors, blended by the best score",
    "mixture": "same vectors, blended by probability",
    "popularity": "most engaged items, the same for everyone",
    "recent_popularity": "most engaged items of the last days of training",
    "covisit": "items that others engaged with around the user's newest ones",
    "followed_topics": "popular items of the followed topics in turn",
    "own_history": "the user's own items again, newest first",
}
TARGET_LABELS = {"new": "first-time targets", "all": "all targets, repeats included"}

# The figures of interest health, as they stand in the block «interests» of a result.
HEALTH_LABELS = {
    "effective": "effective number of interests",
    "cosine": "mean cosine between them",
    "empty_slots": "share of interest slots that are empty",
    "empty_topics": "share of topic places without a topic",
    "cosine_all": "mean cosine between all vectors",
    "overlap": "overlap of what implicit and explicit vectors would return alone",
}
SEGMENTATION_LABELS = {"history": "length of the history", "cohort": "cohort", "popularity": "popularity of the target"}
# What stands before the label of a segment.
SEGMENT_PREFIXES = {"history": "history of ", "cohort": "users: ", "popularity": "targets: "}


def format_number(value: float | None, digits: int = 3) -> str:
    """Return a share as people in the field write it: .219, without the zero; a dash where it is not defined."""
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
    """Return ``+.012 [.004, .020] *``: signed, and starred when the interval excludes zero."""
    sign = "+" if (figure["mean"] or 0) >= 0 else ""
    return f"{sign}{format_interval(figure, digits)}{' *' if excludes_zero(figure) else ''}".replace("+-", "-")


def excludes_zero(figure: Estimate) -> bool:
    """Return True when the whole interval lies on one side of zero."""
    low, high = figure["low"], figure["high"]
    return low is not None and high is not None and (low > 0 or high < 0)


def source_name(source: dict[str, Any]) -> str:
    """Return the name of a column of vectors: ``implicit 2``; a kind that has one column only is not numbered."""
    return (
        source["source"]
        if source["source"] in ("popular", "unconditioned")
        else f"{source['source']} {source['number']}"
    )
