"""A readout as JSON has it."""

from dataclasses import asdict
from typing import Any

from multitudes.readout.readout import Comparisons, Readout
from multitudes.readout.verdict import verdict


def record(of: Readout) -> dict[str, Any]:
    """Return a readout as JSON has it; what is not defined is null."""
    return {
        "control": of.control,
        "srm": asdict(of.srm),
        "metrics": _comparisons(of.metrics),
        "cohorts": {cohort: _comparisons(metrics) for cohort, metrics in of.cohorts.items()},
        "days": [
            {"first": first, "last": end - 1, "metrics": _comparisons(metrics)}
            for (first, end), metrics in of.days.items()
        ],
        "covariates": dict(of.covariates),
        "winsorised": {metric: [cut._asdict() for cut in cuts] for metric, cuts in of.cuts.items() if cuts},
        "repairs": dict(of.repairs),
        "warnings": list(of.warnings),
        "verdict": verdict(of),
        "first": of.first,
        "last": of.last,
        "settings": of.settings.model_dump(mode="json"),
    }


def _comparisons(metrics: Comparisons) -> dict[str, dict[str, dict[str, Any]]]:
    return {metric: {arm: asdict(one) for arm, one in arms.items()} for metric, arms in metrics.items()}
