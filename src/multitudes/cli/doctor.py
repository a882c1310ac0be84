"""``multitudes doctor``: check a release, the settings of a service, a running service and the installed extras."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.output import print_json

if TYPE_CHECKING:
    from multitudes.retrieval.inspection import Finding

_LEVEL_STYLES = {"ok": "green", "note": "cyan", "warning": "yellow"}


def doctor_command(
    releases: Annotated[Path | None, typer.Argument(help="Folder of releases.")] = None,
    version: Annotated[str | None, typer.Option(help="Version; default: the current release.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings file of a service to check, see docs/service-settings.md.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="URL of a running service, such as http://127.0.0.1:8000.")] = None,
    trust: Annotated[
        Path | None, typer.Option(help="Public key, or a folder of such, one of which must have signed the release.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(envvar="MULTITUDES_KEY", help="API key of scope read for --url; better given as MULTITUDES_KEY."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Check a release, the settings of a service, or a service.

    Of a release it checks every file, the index and the items. It prints one line for each finding. The exit code is
    that of the worst: 4 damaged, 5 something missing, 6 an index server or a service that does not answer.
    """
    from multitudes.errors import UsageError

    if releases is None and config is None and url is None:
        raise UsageError("nothing to examine; give a folder of releases, --config FILE, --url ADDRESS, or several")
    findings = [
        *_release_findings(releases, version, trust),
        *_settings_findings(config, releases, version),
        *_service_findings(url, key),
        _extras_finding(),
    ]
    code = max(finding.exit_code for finding in findings)
    _print_findings(findings)
    if json:
        subjects = {"releases": releases and str(releases), "config": config and str(config), "url": url}
        print_json(subjects | {"exit_code": code, "findings": [finding._asdict() for finding in findings]})
    if code:
        raise typer.Exit(code)


def _release_findings(releases: Path | None, version: str | None, trust: Path | None) -> "list[Finding]":
    from multitudes.release.store import ReleaseStore
    from multitudes.retrieval.inspection import inspect_release

    return [] if releases is None else inspect_release(ReleaseStore(releases), version, trust=trust)


def _settings_findings(config: Path | None, releases: Path | None, version: str | None) -> "list[Finding]":
    import os

    from multitudes.extras import require_extra

    if config is None:
        return []
    require_extra("serve")
    from multitudes.service.settings import load_settings
    from multitudes.service.settings_audit import audit_settings

    history_length = None if releases is None else _history_length(releases, version)
    return audit_settings(load_settings(config, os.environ, {}), config, history_length)


def _history_length(releases: Path, version: str | None) -> int | None:
    """Return how many events of a user the release reads; None if its manifest cannot be read."""
    from multitudes.errors import ArtefactError
    from multitudes.release import manifest
    from multitudes.release.store import ReleaseStore

    try:
        return manifest.read_manifest(ReleaseStore(releases).folder(version)).history_length
    except ArtefactError:
        return None


def _service_findings(url: str | None, key: str | None) -> "list[Finding]":
    if url is None:
        return []
    from multitudes.extras import require_extra

    require_extra("client")
    from multitudes.cli.doctor_service import ServiceProbe, examine_service

    probe = ServiceProbe(url, key)
    try:
        return examine_service(probe)
    finally:
        probe.close()


def _extras_finding() -> "Finding":
    from multitudes.extras import missing_extras
    from multitudes.retrieval.inspection import Finding

    missing = missing_extras()
    if not missing:
        return Finding("ok", "extras", "all are installed")
    install = f"pip install 'multitudes[{','.join(missing)}]'"
    return Finding("note", "extras", f"not installed: {', '.join(missing)}; {install}")


def _print_findings(findings: "list[Finding]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        level = Text(finding.level, style=_LEVEL_STYLES.get(finding.level, "bold red"))
        table.add_row(level, finding.subject, Text(finding.text, overflow="fold"))
    Console().print(table)
