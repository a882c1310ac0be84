"""``multitudes doctor``: check a release, the settings of a service, a running service and the installed extras."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from multitudes.cli.output import print_json, print_table
from multitudes.errors import ArtefactError, UsageError
from multitudes.extras import missing_extras, require_extra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multitudes.retrieval.inspection import Finding
    from multitudes.service.settings import ServeConfig

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
        typer.Option(envvar="MULTITUDES_KEY", help="API key of scope read for --url; safer as MULTITUDES_KEY."),
    ] = None,
) -> None:
    """Check a release, the settings of a service, or a service.

    Of a release it checks every file, the index and the items. It prints one line for each finding. The exit code is
    that of the worst: 4 damaged, 5 something missing, 6 an index server or a service that does not answer.
    """
    if releases is None and config is None and url is None:
        raise UsageError("nothing to check; give a folder of releases, --config FILE, --url ADDRESS, or several")
    from rich.text import Text

    from multitudes.release.store import ReleaseStore
    from multitudes.retrieval.inspection import Finding, inspect_release

    findings = [] if releases is None else inspect_release(ReleaseStore(releases), version, trust=trust)
    if config is not None:
        findings += _settings_findings(config, releases, version)
    if url is not None:
        require_extra("client")
        from multitudes.cli.doctor_service import examine_service, open_service

        with open_service(url, key) as http:
            findings += examine_service(http)
    if missing := missing_extras():
        text = f"not installed: {', '.join(missing)}; pip install 'multitudes[{','.join(missing)}]'"
        findings.append(Finding("note", "extras", text))
    else:
        findings.append(Finding("ok", "extras", "all are installed"))
    code = max(finding.exit_code for finding in findings)
    levels = [Text(finding.level, style=_LEVEL_STYLES.get(finding.level, "bold red")) for finding in findings]
    print_table((level, one.subject, one.text) for level, one in zip(levels, findings, strict=True))
    subjects = {"releases": releases and str(releases), "config": config and str(config), "url": url}
    print_json(subjects | {"exit_code": code, "findings": [finding._asdict() for finding in findings]})
    if code:
        raise typer.Exit(code)


def _settings_findings(config: Path, releases: Path | None, version: str | None) -> "list[Finding]":
    require_extra("serve")
    from multitudes.release.manifest import read_manifest
    from multitudes.release.store import ReleaseStore
    from multitudes.retrieval.inspection import Finding
    from multitudes.service.api_keys import load_api_keys
    from multitudes.service.settings import load_settings

    settings = load_settings(config, os.environ, {})
    load_api_keys(settings)
    history = 0
    with suppress(ArtefactError):  # the inspection of the release says what is wrong with its manifest
        history = 0 if releases is None else read_manifest(ReleaseStore(releases).folder(version)).history_length
    risks = _risks(settings, config, history)
    return [Finding("warning", "settings", text) for text in risks] or [Finding("ok", "settings", "nothing risky")]


def _risks(settings: "ServeConfig", config: Path, history: int) -> "Iterator[str]":
    """Yield a line for each setting that lets others in, or loses data; ``serve`` rejects what cannot be.

    ``history`` is how many events of a user the release reads; 0: unknown.
    """
    from multitudes.service.settings import LOOPBACK_HOSTS

    server, keys, store, logs = settings.server, settings.keys.file, urlsplit(settings.state.store or ""), settings.logs
    if keys is None and settings.keys.open:
        yield "[keys] open = true: anyone who can reach it may read, write and erase; make keys with `multitudes keys`"
    if keys is not None and keys.stat().st_mode & 0o022:
        yield f"{keys}: other users can add keys to it; run chmod 600"
    if server.host not in LOOPBACK_HOSTS:
        yield f"[server] host = {server.host!r}: plain HTTP; put a proxy with TLS in front of it"
    if "*" in server.proxies.replace(" ", "").split(","):
        yield "[server] proxies = '*': any client may claim any address; give the address of the proxy"
    if store.scheme == "redis" and store.hostname not in {*LOOPBACK_HOSTS, None}:
        yield f"[state] store at {store.hostname}: user states are sent in plain text; use rediss://"
    if store.password and config.stat().st_mode & 0o044:
        yield f"{config}: it contains the password of the store, and other users can read it; run chmod 600"
    if settings.state.keep < history:
        yield f"[state] keep = {settings.state.keep}, and the release reads {history} events of a user; keep as many"
    if logs.keep_days == logs.max_gb == 0:
        yield "[logs] keep_days = 0 and max_gb = 0: the logs grow until the disk is full; limit one of them"
