"""Conclusions of a study in sentences, for the HTML page and the documentation."""

from typing import Any

import numpy as np

from multitudes.metrics.significance import adjust_holm_by_key
from multitudes.report.formatting import TARGET_LABELS, format_difference, format_interval

TRAINED_CONTROL = "trained_control"
# What a method has to beat if its interests matter: a control trained for it, if the study has one, and two ways of
# querying its own models.
CONTROL_LABELS = {
    TRAINED_CONTROL: "its trained control",
    "random_partition": "its random partition",
    "averaged": "its average",
}


def headlines(summary: dict[str, Any]) -> list[str]:
    """Return the strongest baselines, who beats the reference, and which methods beat their controls."""
    return [
        *_strongest_sentences(summary),
        _reference_sentence(summary),
        *_baseline_sentences(summary),
        *_interest_sentences(summary),
    ]


def describe_split(summary: dict[str, Any]) -> str:
    """Return the split of the figures, and how often the test set was accessed."""
    times = count_times(summary["opened_test"])
    accesses = f"the test set was {'never accessed' if times == 'never' else f'accessed {times}'}"
    if summary["split"] == "validation":
        return f"figures of the validation split, which early stopping and tuning also use; {accesses}"
    return f"figures of the {summary['split']} split; {accesses}"


def describe_data(data_set: dict[str, Any]) -> str:
    """Return the users, targets and budget on a data set, and the limits of its intervals."""
    one_seed = all(len(entry["seeds"]) == 1 for entry in data_set["methods"].values())
    return (
        f"{data_set['users']:,} users with {data_set['targets']:,} {TARGET_LABELS[data_set['kind']]},"
        f" {data_set['budget']} candidates each."
        + (" One seed: intervals cover only the variation between users." if one_seed else "")
        + (" With so few users, intervals are too narrow." if data_set["few_users"] else "")
    )


def describe_strongest_baseline(data_set: dict[str, Any]) -> str:
    """Return the strongest baseline, and the difference of every method to it; empty without baselines."""
    strongest = data_set.get("strongest_baseline")
    if not strongest:
        return ""
    name = strongest["method"]
    rate = format_interval(data_set["methods"][name]["figures"]["hr"])
    differences = [f"{method} {format_difference(gain)}" for method, gain in strongest["minus"].items()]
    return (
        f"Strongest baseline: {name}, {rate}. Differences of the methods to it, paired by user; * the interval excludes"
        f" zero, without correction: {', '.join(differences)}."
    )


def explain_verdicts(summary: dict[str, Any]) -> str:
    """Return the meaning of better, level and worse, and what the intervals cover."""
    coverage = (
        "Intervals (95 %) cover the variation between users and between training seeds."
        if len(summary["seeds"]) > 1
        else "There is one seed: intervals (95 %) cover the variation between users, not between training seeds."
    )
    return (
        "Better and worse: the difference in HR at the main budget, paired by user, has p <"
        f" {summary['level']:g} after Holm's correction over all such comparisons of the study."
        f" Level: no significant difference, which does not mean equal. {coverage}"
    )


def conclusion(overall: dict[str, Any], level: float) -> str:
    """Return what the average ranks over the data sets show."""
    n_methods, n_sets = len(overall["ranks"]), len(overall["sets"])
    if n_methods < 2:
        return "Fewer than two methods have a figure on every data set, so there is nothing to rank."
    if not overall["enough"]:
        return (
            f"Too few data sets for a conclusion: a significant difference between any two of {n_methods} methods takes"
            f" at least {overall['needed']} data sets, however clear the figures; this study has {n_sets}."
            " The ranks describe these data sets only."
        )
    ranks = overall["ranks"]
    differences = [
        f"{ahead} is ahead of {behind}"
        for ahead, others in overall["p"].items()
        for behind, p in others.items()
        if p < level and ranks[ahead] < ranks[behind]
    ]
    return f"On {count_data_sets(n_sets)} " + ("; ".join(differences) or "no two methods differ significantly") + "."


def beats_controls(gains: dict[str, Any]) -> bool | None:
    """Return whether a method is better than all its controls on a data set; None if one was not evaluated.

    Only some methods have a trained control.
    """
    controls = [control for control in CONTROL_LABELS if control != TRAINED_CONTROL or control in gains]
    if any("verdict" not in gains.get(control, {}) for control in controls):
        return None
    return all(gains[control]["verdict"] == "better" for control in controls)


def main_comparison(summary: dict[str, Any]) -> tuple[str, dict[str, tuple[str, dict[str, Any]]]]:
    """Return what the first table compares with: the strongest baseline of each data set, else the reference.

    A study without baselines, or whose summary is of an earlier version, has no strongest baseline.

    Returns:
        name of the reference, empty for the strongest baselines; and for each data set the name of the opponent and the
        difference in HR of each method to it.
    """
    data, reference = summary["data"], summary["reference"]
    strongest = {name: found for name, one in data.items() if (found := one.get("strongest_baseline"))}
    if strongest:
        return "", {name: (found["method"], found["minus"]) for name, found in strongest.items()}
    differences = {
        name: {m: e["minus"]["hr"] for m, e in one["methods"].items() if e["role"] == "method" and "hr" in e["minus"]}
        for name, one in data.items()
    }
    return reference, {name: (reference, minus) for name, minus in differences.items() if minus}


def count_times(number: int) -> str:
    """Return ``never``, ``once`` or ``3 times``."""
    return {0: "never", 1: "once"}.get(number, f"{number} times")


def count_data_sets(number: int) -> str:
    """Return ``1 data set`` or ``7 data sets``."""
    return f"{number} data set{'' if number == 1 else 's'}"


def _reference_sentence(summary: dict[str, Any]) -> str:
    reference = summary["reference"]
    verdicts = {m: list(wins["reference"].values()) for m, wins in summary["wins"].items() if "reference" in wins}
    if not verdicts:
        return f"No comparison: the reference {reference} has no figures, or there is no other method."
    sentences = []
    for word in ("better", "worse"):
        methods = [f"{m} on {v.count(word)} of {count_data_sets(len(v))}" for m, v in verdicts.items() if word in v]
        sentences.append(f"Significantly {word} than {reference}: {', '.join(methods) or 'no method'}.")
    return " ".join(sentences)


def _strongest_sentences(summary: dict[str, Any]) -> list[str]:
    """Return on how many data sets each baseline is the strongest, and which methods are ahead of or behind it."""
    found = [strongest for one in summary["data"].values() if (strongest := one.get("strongest_baseline"))]
    if not found:
        return []
    names = [one["method"] for one in found]
    where = ", ".join(f"{name} on {names.count(name)}" for name in dict.fromkeys(names))
    gains = {(method, g): gain for g, one in enumerate(found) for method, gain in one["minus"].items()}
    adjusted = adjust_holm_by_key({key: np.nan if gain["p"] is None else gain["p"] for key, gain in gains.items()})
    shown = {key: np.sign(gain["mean"] or 0) * (adjusted[key] < summary["level"]) for key, gain in gains.items()}
    alike: dict[str, list[str]] = {}
    for method in dict.fromkeys(method for method, _ in gains):
        signs = [sign for (of, _), sign in shown.items() if of == method]
        ahead, behind = signs.count(1), signs.count(-1)
        count = f"ahead of it on {ahead} and behind it on {behind} of {count_data_sets(len(signs))}"
        alike.setdefault(count, []).append(method)
    counts = [f"{', '.join(those)} {'is' if len(those) == 1 else 'are'} {count}" for count, those in alike.items()]
    return [
        f"Strongest baseline: {where} of {count_data_sets(len(found))}. After Holm's correction over these"
        f" {len(gains)} comparisons, {'; '.join(counts)}."
    ]


def _baseline_sentences(summary: dict[str, Any]) -> list[str]:
    """Return the baselines that beat the reference, if any."""
    ahead: dict[str, int] = {}
    for data_set in summary["data"].values():
        for name, entry in data_set["methods"].items():
            if entry["role"] == "baseline" and entry["minus"].get("hr", {}).get("verdict") == "better":
                ahead[name] = ahead.get(name, 0) + 1
    if not ahead:
        return []
    n_sets = count_data_sets(len(summary["data"]))
    where = ", ".join(f"{name} on {number} of {n_sets}" for name, number in ahead.items())
    return [f"A baseline beats {summary['reference']}: {where}."]


def _interest_sentences(summary: dict[str, Any]) -> list[str]:
    """Return on how many data sets each method beats all its controls, if any were evaluated."""
    results: dict[str, list[bool]] = {}
    for data_set in summary["data"].values():
        for method, gains in data_set["controls"].items():
            if (beats := beats_controls(gains)) is not None:
                results.setdefault(method, []).append(beats)
    if not results:
        return []
    where = [f"{method} on {sum(beats)} of {count_data_sets(len(beats))}" for method, beats in results.items()]
    return [
        "Where interests beat all their controls (random partition, average and, if there is one, trained control):"
        f" {', '.join(where)}."
    ]
