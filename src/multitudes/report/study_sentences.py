"""What a study says, in sentences: the same on the HTML page and in the documentation."""

from typing import Any

from multitudes.report.formatting import TARGET_LABELS

TRAINED_CONTROL = "trained_control"
# What interests have to beat, and how it is called beside a method: a method of the study that was trained as a control
# of this one, where there is one, and two ways of asking the method's own models.
CONTROL_LABELS = {
    TRAINED_CONTROL: "its trained control",
    "random_partition": "its random partition",
    "averaged": "its average",
}


def headlines(summary: dict[str, Any]) -> list[str]:
    """Return the answer to both questions, who beats the reference and have interests won; and what spoils it."""
    return [_reference_sentence(summary), *_baseline_sentences(summary), *_interest_sentences(summary)]


def describe_split(summary: dict[str, Any]) -> str:
    """Return which split the figures are of, and how often test was looked at."""
    often = count_times(summary["opened_test"])
    opened = f"test was {'never opened' if often == 'never' else f'opened {often}'}"
    if summary["split"] == "validation":
        return f"figures of the validation split, which early stopping and tuning have seen too; {opened}"
    return f"figures of the {summary['split']} split; {opened}"


def describe_data(part: dict[str, Any]) -> str:
    """Return who was asked for what on a data set, and what its intervals do not cover."""
    alone = all(len(found["seeds"]) == 1 for found in part["methods"].values())
    return (
        f"{part['users']:,} users with {part['targets']:,} {TARGET_LABELS[part['kind']]},"
        f" {part['budget']} candidates each."
        + (" One seed: intervals cover other users only." if alone else "")
        + (" So few users give intervals that are too narrow." if part["few_users"] else "")
    )


def explain_verdicts(summary: dict[str, Any]) -> str:
    """Return what better, level and worse mean, and what the intervals cover."""
    covered = (
        "Intervals (95 %) cover other users and other training seeds."
        if len(summary["seeds"]) > 1
        else "There is one seed: intervals (95 %) cover other users, not what another training seed would change."
    )
    return (
        "Better and worse: the difference in HR at the main budget, paired by user, has p <"
        f" {summary['level']:g} after Holm's correction over all such comparisons of the study."
        f" Level: not shown to differ, which is not the same as equal. {covered}"
    )


def conclusion(overall: dict[str, Any], level: float) -> str:
    """Return what the data sets together allow to say of who wins."""
    n_methods, n_sets = len(overall["ranks"]), len(overall["sets"])
    if n_methods < 2:
        return "Fewer than two methods have a figure on every data set: there is nothing to rank."
    if not overall["enough"]:
        return (
            f"Too few data sets to conclude: to tell any two of {n_methods} methods apart takes at least"
            f" {overall['needed']} data sets, however clear the figures; this study has {n_sets}. The ranks describe"
            " what was measured here; they do not say who wins elsewhere."
        )
    ranks = overall["ranks"]
    told = [
        f"{ahead} is ahead of {behind}"
        for ahead, others in overall["p"].items()
        for behind, p in others.items()
        if p < level and ranks[ahead] < ranks[behind]
    ]
    return f"On {count_data_sets(n_sets)} " + ("; ".join(told) if told else "no two methods are told apart") + "."


def beats_controls(gains: dict[str, Any]) -> bool | None:
    """Return whether a method is better than its controls on a data set; None where one was not asked.

    A control that was trained is not in every study; where there is one, it has to be beaten too.
    """
    asked = [control for control in CONTROL_LABELS if control != TRAINED_CONTROL or control in gains]
    if any("verdict" not in gains.get(control, {}) for control in asked):
        return None
    return all(gains[control]["verdict"] == "better" for control in asked)


def count_times(number: int) -> str:
    """Return ``never``, ``once`` or ``3 times``."""
    return {0: "never", 1: "once"}.get(number, f"{number} times")


def count_data_sets(number: int) -> str:
    """Return ``1 data set`` or ``7 data sets``."""
    return f"{number} data set{'' if number == 1 else 's'}"


def _reference_sentence(summary: dict[str, Any]) -> str:
    reference = summary["reference"]
    verdicts = {m: list(found["reference"].values()) for m, found in summary["wins"].items() if "reference" in found}
    if not verdicts:
        return f"Nothing is compared: {reference}, the reference, has no figures, or there is no other method."
    sentences = []
    for word in ("better", "worse"):
        found = [f"{m} on {v.count(word)} of {count_data_sets(len(v))}" for m, v in verdicts.items() if word in v]
        shown = ", ".join(found) if found else "no method"
        sentences.append(f"Shown {word} than {reference}: {shown}.")
    return " ".join(sentences)


def _baseline_sentences(summary: dict[str, Any]) -> list[str]:
    """Return which baselines beat the reference: a method that does not reach them is not worth its training."""
    ahead: dict[str, int] = {}
    for part in summary["data"].values():
        for name, found in part["methods"].items():
            if found["role"] == "baseline" and found["minus"].get("hr", {}).get("verdict") == "better":
                ahead[name] = ahead.get(name, 0) + 1
    if not ahead:
        return []
    where = ", ".join(
        f"{name} on {number} of {count_data_sets(len(summary['data']))}" for name, number in ahead.items()
    )
    return [f"Learning nothing is shown better than {summary['reference']}: {where}."]


def _interest_sentences(summary: dict[str, Any]) -> list[str]:
    """Return whether interests have won, for the methods that were asked against their controls."""
    found: dict[str, list[bool]] = {}
    for part in summary["data"].values():
        for method, gains in part["controls"].items():
            if (yes := beats_controls(gains)) is not None:
                found.setdefault(method, []).append(yes)
    if not found:
        return []
    where = [f"{method} on {sum(yes)} of {count_data_sets(len(yes))}" for method, yes in found.items()]
    return [
        "Interests have won where a method beats its random partition, its average and, where it has one, its trained"
        f" control: {', '.join(where)}."
    ]
