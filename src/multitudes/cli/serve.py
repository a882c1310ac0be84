"""``multitudes serve``: answers over HTTP from the release that serves, until it is told to stop."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitudes.cli.output import print_json

if TYPE_CHECKING:
    from socket import socket

    from multitudes.service.settings import ServeConfig


def command(
    releases: Annotated[Path, typer.Argument(help="Folder of releases, or one version's own folder.")],
    host: Annotated[str | None, typer.Option(help="Address to listen on; by default 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0: any that is free; by default 8000.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; by default 1.")] = None,
    keys: Annotated[Path | None, typer.Option(help="File of API keys, made by `multitudes key`.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file; see docs/service.md for its settings.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object in place of the first line.")] = False,
) -> None:
    """Serve recommendations over HTTP.

    A release that is published while it runs is taken up without a restart. SIGTERM ends it when everything that was
    accepted has been answered and written down.
    """
    import os

    from multitudes.cli.extras import require_serve

    require_serve()
    # NumPy reads it when it is loaded. Products of one request are small: on every core they end no sooner, and take
    # twice the processor's time.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from multitudes.service.settings import load

    _serve(releases, load(config, os.environ, _options(host, port, workers, keys)), json)


def _options(host: str | None, port: int | None, workers: int | None, keys: Path | None) -> dict[str, dict[str, Any]]:
    """Return the options that were given, as tables of the settings."""
    server = {"host": host, "port": port, "workers": workers}
    tables: dict[str, dict[str, Any]] = {"server": {name: value for name, value in server.items() if value is not None}}
    return tables | ({} if keys is None else {"keys": {"file": keys}})


def _serve(releases: Path, settings: "ServeConfig", json: bool) -> None:
    from multitudes.service.app import build
    from multitudes.service.opening import check_door, opened
    from multitudes.service.process import listen, serve_alone, serve_together

    check_door(settings)
    folder = _release(releases)
    with listen(settings.server.host, settings.server.port) as listening:
        if settings.server.workers > 1:
            serve_together(releases, settings, listening, lambda: _say(folder, settings, listening, json))
            return
        with opened(releases, settings) as parts:
            app = build(parts)
            _say(folder, settings, listening, json)
            serve_alone(app, settings, listening)


def _say(version: Path, settings: "ServeConfig", listening: "socket", json: bool) -> None:
    from multitudes.release import manifest
    from multitudes.service.process import address

    counts, workers = manifest.read(version).counts, settings.server.workers
    if json:
        record = {"url": address(listening), "release": version.name, "workers": workers}
        print_json(record | {name: counts[name] for name in ("items", "users")})
        return
    many = f" · {workers} workers" if workers > 1 else ""
    holds = f"{counts['items']:,} items · {counts['users']:,} users"
    typer.echo(f"{address(listening)} · release {version.name} · {holds}{many}")


def _release(releases: Path) -> Path:
    """Return the folder of the release that serves."""
    from multitudes.release.manifest import MANIFEST
    from multitudes.release.store import ReleaseStore

    return releases if (releases / MANIFEST).exists() else ReleaseStore(releases).folder()
