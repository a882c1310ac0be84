"""The end of a study: its figures and its report, made anew from its two files."""

from pathlib import Path
from typing import Any

from multitudes.progress import Progress, silent
from multitudes.study.summary import summarise, write_summary

REPORT = "report.html"


def finish(study: Path, progress: Progress = silent) -> dict[str, Any]:
    """Write ``summary.json`` and ``report.html`` into the study's folder and return the summary.

    Raises:
        ArtefactError: a file of the study is missing or damaged, or its cells asked different users.
        MissingError: the report extra is not installed; ``summary.json`` is written by then.
    """
    summary = summarise(study, progress=progress)
    write_summary(study, summary)
    from multitudes.report.study import write_study_report  # noqa: PLC0415  the figures need no report extra

    write_study_report(summary, study / REPORT)
    return summary
