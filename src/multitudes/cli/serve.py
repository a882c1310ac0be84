"""``multitudes serve``: the HTTP service."""

import os
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.options import SetOption, parse_overrides
from multitudes.cli.output import print_json, prints_json
from multitudes.extras import require_extra

if TYPE_CHECKING:
    from socket import socket

    from multitudes.service.settings import ServeConfig


def serve_command(
    releases: Annotated[Path, typer.Argument(help="Folder of releases, or one version's own folder.")],
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0: any free port; default: 8000.")] = None,
    workers: Annotated[int | None, typer.Option(help="Number of processes; default: 2, or 1 on a single core.")] = None,
    keys: Annotated[
        Path | None, typer.Option(help="File of API keys, made by `multitudes keys add`, or a folder of such files.")
    ] = None,
    trust: Annotated[
        Path | None, typer.Option(help="Public key, or a folder of such: only releases that one of them signed.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file; see docs/service-settings.md.")] = None,
    overrides: SetOption = None,
) -> None:
    """Serve recommendations over HTTP.

    The service switches to a newly published release without a restart. On SIGTERM it answers and logs all accepted
    requests before it ends.
    """
    require_extra("serve")
    # NumPy reads this when it is imported. The matrix products of a request are small: on all cores they are no faster
    # and take twice the CPU time.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # the service has a folder of its own for its processes
    from multitudes.config import deep_merge
    from multitudes.service.settings import load_settings

    tables: dict[str, dict[str, object]] = {
        "server": {"host": host, "port": port, "workers": workers},
        "keys": {"file": keys},
        "releases": {"trust": trust},
    }
    given = {section: {k: v for k, v in table.items() if v is not None} for section, table in tables.items()}
    options = deep_merge(parse_overrides(overrides), given)
    _run_service(releases, load_settings(config, os.environ, options))


def _run_service(releases: Path, settings: "ServeConfig") -> None:
    from multitudes.release.store import release_folder
    from multitudes.service.api_keys import load_api_keys
    from multitudes.service.server import listen, serve_single, serve_workers

    load_api_keys(settings)
    _keep_new_files_private()
    folder, context = release_folder(releases), copy_context()  # another thread prints, and it has the options of this
    with listen(settings.server.host, settings.server.port) as listener:
        if settings.server.processes > 1:
            serve_workers(releases, settings, listener, lambda: context.run(_print_address, folder, settings, listener))
            return
        from multitudes.service.app import create_app
        from multitudes.service.startup import open_dependencies

        with open_dependencies(releases, settings) as dependencies:
            app = create_app(dependencies)
            _print_address(folder, settings, listener)
            serve_single(app, settings, listener)


def _print_address(version: Path, settings: "ServeConfig", listener: "socket") -> None:
    from multitudes.release import manifest
    from multitudes.service.server import socket_url

    counts, workers = manifest.read_manifest(version).counts, settings.server.processes
    if prints_json():
        record = {"url": socket_url(listener), "release": version.name, "workers": workers}
        print_json(record | {name: counts[name] for name in ("items", "users")})
        return
    size = f"{counts['items']:,} items · {counts['users']:,} users"
    processes = f" · {workers} workers" if workers > 1 else ""
    typer.echo(f"{socket_url(listener)} · release {version.name} · {size}{processes}")


def _keep_new_files_private() -> None:
    """Let only the owner read the files that this process makes, unless its umask shuts other users out already."""
    umask = os.umask(0o077)
    if umask & 0o007 == 0o007:
        os.umask(umask)
