"""What a study did, as HTML: what was tuned, what failed, on which machine, and what its words mean."""

from collections.abc import Iterable
from html import escape
from typing import Any

from multitudes.report.study_tables import table
from multitudes.report.study_words import times
from multitudes.report.words import MEANING, number


def record(summary: dict[str, Any]) -> str:
    """Return the last section of the report."""
    parts = {
        "Tuning, on validation": _tuning(summary["tuning"] or []),
        "Other settings that are not the defaults": _settings(summary["chosen"]),
        "Failed": _failures(summary["failed"]),
        "Machine and versions": _facts(summary),
        "Words": _words(summary["data"]),
    }
    return "\n".join(f"<h3>{title}</h3>\n{body}" for title, body in parts.items() if body)


def settings(values: dict[str, Any]) -> str:
    """Return ``train.learning_rate = 0.001, model.dropout = 0.2``."""
    return ", ".join(f"{key} = {f'{v:.4g}' if isinstance(v, float) else v}" for key, v in values.items())


def _tuning(tuning: list[dict[str, Any]]) -> str:
    """Return what was tried for each method on each data set, and what was chosen, with the scores."""
    if not any(search["trials"] for search in tuning):
        return "<p>Nothing was tuned: every method ran with its own settings.</p>"
    rows = []
    for search in tuning:
        scores = [trial["score"] for trial in search["trials"] if trial["score"] is not None]
        spread = f"{number(min(scores))}–{number(max(scores))}" if scores else "–"
        over = sorted({key for trial in search["trials"] for key in trial["settings"]})
        numbers = [f"<td class=number>{text}</td>" for text in (len(search["trials"]), spread)]
        where = [f"<td>{escape(search[key])}</td>" for key in ("data", "method")]
        rows.append(("", [*where, *numbers, _code(", ".join(over)), _code(settings(search["best"]))]))
    return table(["data", "method", "trials", "scores", "over", "chosen"], rows, numbers_from=6)


def _settings(chosen: dict[str, Any]) -> str:
    """Return what each method was set to, but for what was tuned; once where it is the same on every data set."""
    found = {
        (
            method,
            settings({key: value for key, value in (own["settings"] or {}).items() if key not in (own["tuned"] or {})}),
        ): None
        for methods in chosen.values()
        for method, own in methods.items()
    }
    rows = [("", [f"<td>{escape(method)}</td>", _code(text)]) for method, text in found]
    return table(["method", "settings"], rows, numbers_from=2) if rows else ""


def _failures(failed: list[dict[str, Any]]) -> str:
    """Return the cells that died, and of what."""
    if not failed:
        return "<p>Nothing failed.</p>"
    keys = ["data", "method", "seed", "error"]
    rows = [("", [f"<td>{escape(str(cell[key]))}</td>" for key in keys]) for cell in failed]
    return table(keys, rows, numbers_from=4)


def _facts(summary: dict[str, Any]) -> str:
    seeds = ", ".join(map(str, summary["seeds"]))
    study = {"split": summary["split"], "test was opened": times(summary["opened_test"]), "seeds": seeds}
    study["resamples of users"] = ", ".join(f"{n:,} for {what}" for what, n in summary["resamples"].items())
    return _pairs((study | (summary["machine"] or {}) | (summary["versions"] or {})).items())


def _words(data: dict[str, Any]) -> str:
    """Return the meaning of the systems of this study; the names of its methods are its own."""
    systems = [
        name.rpartition("/")[2]
        for part in data.values()
        for name, v in part["methods"].items()
        if v["role"] != "method"
    ]
    return _pairs((system, MEANING[system]) for system in dict.fromkeys(systems) if system in MEANING)


def _pairs(pairs: Iterable[tuple[str, Any]]) -> str:
    shown = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in pairs if v is not None)
    return f"<dl>{shown}</dl>" if shown else ""


def _code(text: str) -> str:
    return f"<td class=wide><code>{escape(text) or '–'}</code></td>"
