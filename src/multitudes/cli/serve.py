"""``multitudes serve`` and ``load-state``: the HTTP service and its user state store."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitudes.cli.output import print_json
from multitudes.cli.set_option import SetOption, parse_overrides
from multitudes.progress import ProgressBar

if TYPE_CHECKING:
    from socket import socket

    from multitudes.data.prepared import PreparedData
    from multitudes.service.settings import ServeConfig
    from multitudes.state.protocol import UserState


def serve_command(
    releases: Annotated[Path, typer.Argument(help="Folder of releases, or one version's own folder.")],
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0: any free port; default: 8000.")] = None,
    workers: Annotated[int | None, typer.Option(help="Number of processes; default: 2, or 1 on a single core.")] = None,
    keys: Annotated[
        Path | None, typer.Option(help="File of API keys, made by `multitudes key`, or a folder of such files.")
    ] = None,
    trust: Annotated[
        Path | None, typer.Option(help="Public key, or a folder of such: only releases that one of them signed.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file; see docs/service-settings.md.")] = None,
    overrides: SetOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print the first line as one JSON object.")] = False,
) -> None:
    """Serve recommendations over HTTP.

    The service switches to a newly published release without a restart. On SIGTERM it answers and logs all accepted
    requests before it ends.
    """
    from multitudes.extras import require_extra

    require_extra("serve")
    # NumPy reads this when it is imported. The matrix products of a request are small: on all cores they are no faster
    # and take twice the CPU time.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from multitudes.config import deep_merge
    from multitudes.service.settings import load_settings

    options = deep_merge(parse_overrides(overrides), _option_tables(host, port, workers, keys, trust))
    _run_service(releases, load_settings(config, os.environ, options), json)


def _option_tables(
    host: str | None, port: int | None, workers: int | None, keys: Path | None, trust: Path | None
) -> dict[str, dict[str, Any]]:
    """Return the given options as tables of settings."""
    server = {"host": host, "port": port, "workers": workers}
    tables: dict[str, dict[str, Any]] = {"server": {name: value for name, value in server.items() if value is not None}}
    files = {"keys": {"file": keys}, "releases": {"trust": trust}}
    return tables | {section: table for section, table in files.items() if None not in table.values()}


def _run_service(releases: Path, settings: "ServeConfig", json: bool) -> None:
    from multitudes.release.store import release_folder
    from multitudes.service.app import create_app
    from multitudes.service.server import listen, serve_single, serve_workers
    from multitudes.service.startup import load_api_keys, open_dependencies

    load_api_keys(settings)
    _keep_new_files_private()
    folder = release_folder(releases)
    with listen(settings.server.host, settings.server.port) as listener:
        if settings.server.processes > 1:
            serve_workers(releases, settings, listener, lambda: _print_address(folder, settings, listener, json))
            return
        with open_dependencies(releases, settings) as dependencies:
            app = create_app(dependencies)
            _print_address(folder, settings, listener, json)
            serve_single(app, settings, listener)


def _print_address(version: Path, settings: "ServeConfig", listener: "socket", json: bool) -> None:
    from multitudes.release import manifest
    from multitudes.service.server import socket_url

    counts, workers = manifest.read_manifest(version).counts, settings.server.processes
    if json:
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


def load_state_command(
    prepared: Annotated[Path, typer.Argument(help="Folder written by `multitudes prepare`.")],
    store: Annotated[str, typer.Argument(help="A file (SQLite), or redis://HOST:PORT (Redis, Valkey).")],
    keep: Annotated[
        int, typer.Option(min=1, help="Newest events to keep per user, as in [state] of the service.")
    ] = 200,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Fill a user state store from prepared data.

    Users, events and erasures that the store already holds stay. A second run changes nothing.
    """
    from multitudes.data.prepared import PreparedData
    from multitudes.state.protocol import StateConfig
    from multitudes.state.store import load_users, open_state_store

    data = PreparedData.open(prepared)
    with (
        closing(open_state_store(store, StateConfig(keep=keep, timeout_s=30))) as states,
        ProgressBar("load-state") as progress,
    ):
        result = load_users(states, user_states(data, keep), data.n_users, progress)
    typer.echo(
        f"{result.users:,} users: {result.new_events:,} of {result.events:,} events and the followed topics of"
        f" {result.new_followed_topics:,} users are new; {result.erased:,} users are erased and left out"
    )
    if json:
        print_json({"prepared": str(prepared), **result._asdict()})


def user_states(data: "PreparedData", keep: int) -> Iterator["UserState"]:
    """Yield each user with the ``keep`` newest events of known items, and the followed topics."""
    from multitudes.state.protocol import UserState
    from multitudes.state.store import event_with_derived_id

    items, actions = [None, *data.items["item_id"].to_list()], ["", *data.manifest["actions"]]
    for user, user_id in enumerate(data.user_ids.to_list()):
        events_of_user = slice(data.event_offset[user], data.event_offset[user + 1])
        columns = (column[events_of_user].tolist() for column in (data.event_item, data.event_time, data.event_action))
        rows = [row for row in zip(*columns, strict=True) if row[0]][-keep:]
        events = tuple(
            event_with_derived_id(user_id, items[item], time_s, actions[action]) for item, time_s, action in rows
        )
        followed_topics = tuple(data.topics[topic] for topic in data.followed_topics(user).tolist())
        yield UserState(user_id, events, followed_topics or None)
