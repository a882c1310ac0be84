"""``multitudes doctor``: is the release sound, what is its index worth, what came and went since, what is missing?"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.output import print_json

if TYPE_CHECKING:
    from multitudes.release.examine import Finding

_EXTRAS = {
    "train": ("torch", "safetensors", "onnx", "onnxscript"),
    "report": ("altair", "vl_convert"),
    "study": ("optuna",),
    "serve": ("fastapi", "uvicorn", "httptools", "orjson", "structlog", "prometheus_client"),
    "client": ("httpx",),
    "milvus": ("pymilvus",),
}
_STYLE = {"ok": "green", "note": "cyan", "warning": "yellow"}


def command(
    releases: Annotated[Path, typer.Argument(help="Folder of releases.")],
    version: Annotated[str | None, typer.Option(help="Version; by default the one that serves.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Examine a release: every byte, its index, its items.

    One line for each finding. The exit code is that of the worst: 4 damaged, 5 something missing, 6 an index server
    that does not answer.
    """
    from multitudes.release.examine import examine
    from multitudes.release.store import ReleaseStore

    findings = [*examine(ReleaseStore(releases), version), *_extras()]
    code = max(finding.exit_code for finding in findings)
    _show(findings)
    if json:
        print_json({"releases": str(releases), "exit_code": code, "findings": [f._asdict() for f in findings]})
    if code:
        raise typer.Exit(code)


def _extras() -> "list[Finding]":
    from multitudes.release.examine import Finding

    lacking = [extra for extra, names in _EXTRAS.items() if not all(find_spec(name) for name in names)]
    if not lacking:
        return [Finding("ok", "extras", "all are installed")]
    return [
        Finding("note", "extras", f"not installed: {', '.join(lacking)}; pip install 'multitudes[{','.join(lacking)}]'")
    ]


def _show(findings: "list[Finding]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        level = Text(finding.level, style=_STYLE.get(finding.level, "bold red"))
        table.add_row(level, finding.subject, Text(finding.text, overflow="fold"))
    Console().print(table)
