"""``multitudes doctor``: is the release sound, are the settings safe, is the service well, what is missing?"""

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
    releases: Annotated[Path | None, typer.Argument(help="Folder of releases.")] = None,
    version: Annotated[str | None, typer.Option(help="Version; by default the one that serves.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings of the service to look at, see docs/service.md.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="A running service to look at, such as http://127.0.0.1:8000.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(envvar="MULTITUDES_KEY", help="API key of scope read for it; better from MULTITUDES_KEY."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Examine a release, the settings of a service, or a service.

    Of a release: every byte, its index, its items. One line for each finding. The exit code is that of the worst:
    4 damaged, 5 something missing, 6 an index server or a service that does not answer.
    """
    from multitudes.errors import UsageError

    if releases is None and config is None and url is None:
        raise UsageError("nothing to examine; give a folder of releases, --config FILE, --url ADDRESS, or several")
    findings = [*_release(releases, version), *_settings(config, releases, version), *_service(url, key), *_extras()]
    code = max(finding.exit_code for finding in findings)
    _show(findings)
    if json:
        looked_at = {"releases": releases and str(releases), "config": config and str(config), "url": url}
        print_json(looked_at | {"exit_code": code, "findings": [f._asdict() for f in findings]})
    if code:
        raise typer.Exit(code)


def _release(releases: Path | None, version: str | None) -> "list[Finding]":
    from multitudes.release.examine import examine
    from multitudes.release.store import ReleaseStore

    return [] if releases is None else examine(ReleaseStore(releases), version)


def _settings(config: Path | None, releases: Path | None, version: str | None) -> "list[Finding]":
    import os

    from multitudes.cli.extras import require_serve

    if config is None:
        return []
    require_serve()
    from multitudes.service.risks import risks
    from multitudes.service.settings import load

    return risks(load(config, os.environ, {}), config, None if releases is None else _history(releases, version))


def _history(releases: Path, version: str | None) -> int | None:
    """Return how many events the release reads of a user; None where it cannot tell."""
    from multitudes.errors import ArtefactError
    from multitudes.release import manifest
    from multitudes.release.store import ReleaseStore

    try:
        return manifest.read(ReleaseStore(releases).folder(version)).history_length
    except ArtefactError:
        return None


def _service(url: str | None, key: str | None) -> "list[Finding]":
    if url is None:
        return []
    from multitudes.cli.extras import require_client

    require_client()
    from multitudes.cli.doctor_service import Visit, examine_service

    visit = Visit(url, key)
    try:
        return examine_service(visit)
    finally:
        visit.close()


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
