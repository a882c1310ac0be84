"""``multitudes serve``: answers over HTTP from the release that serves, until it is told to stop.

``multitudes key``: an API key for the service, shown once.

``multitudes load-state``: a store of user states begins with what was prepared.
"""

from collections.abc import Iterator
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitudes.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    from socket import socket

    from multitudes.service.settings import ServeConfig


def serve_command(
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
    from multitudes.service.settings import load_settings

    _run_service(releases, load_settings(config, os.environ, _option_tables(host, port, workers, keys)), json)


def _option_tables(
    host: str | None, port: int | None, workers: int | None, keys: Path | None
) -> dict[str, dict[str, Any]]:
    """Return the options that were given, as tables of the settings."""
    server = {"host": host, "port": port, "workers": workers}
    tables: dict[str, dict[str, Any]] = {"server": {name: value for name, value in server.items() if value is not None}}
    return tables | ({} if keys is None else {"keys": {"file": keys}})


def _run_service(releases: Path, settings: "ServeConfig", json: bool) -> None:
    from multitudes.service.app import create_app
    from multitudes.service.server import listen, serve_single, serve_workers
    from multitudes.service.startup import load_api_keys, open_dependencies

    load_api_keys(settings)
    folder = _release_folder(releases)
    with listen(settings.server.host, settings.server.port) as listening:
        if settings.server.workers > 1:
            serve_workers(releases, settings, listening, lambda: _print_address(folder, settings, listening, json))
            return
        with open_dependencies(releases, settings) as parts:
            app = create_app(parts)
            _print_address(folder, settings, listening, json)
            serve_single(app, settings, listening)


def _print_address(version: Path, settings: "ServeConfig", listening: "socket", json: bool) -> None:
    from multitudes.release import manifest
    from multitudes.service.server import socket_url

    counts, workers = manifest.read_manifest(version).counts, settings.server.workers
    if json:
        record = {"url": socket_url(listening), "release": version.name, "workers": workers}
        print_json(record | {name: counts[name] for name in ("items", "users")})
        return
    many = f" · {workers} workers" if workers > 1 else ""
    holds = f"{counts['items']:,} items · {counts['users']:,} users"
    typer.echo(f"{socket_url(listening)} · release {version.name} · {holds}{many}")


def _release_folder(releases: Path) -> Path:
    """Return the folder of the release that serves."""
    from multitudes.release.manifest import MANIFEST
    from multitudes.release.store import ReleaseStore

    return releases if (releases / MANIFEST).exists() else ReleaseStore(releases).folder()


class KeyScope(StrEnum):
    """What a key may do."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


def key_command(
    name: Annotated[str, typer.Argument(help="Whose key it is; stands in the journal of the service.")],
    to: Annotated[Path, typer.Option(help="File of keys; made where it is not there.")],
    scope: Annotated[
        list[KeyScope] | None,
        typer.Option(help="read: recommend and look; write: events and follows; admin: forget. By default read."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Make an API key.

    The file holds its digest alone, so the key cannot be shown again. Remove its line, and it is no longer good.
    """
    from multitudes.service.api_keys import SCOPES, make_key

    wanted = {one.value for one in scope or [KeyScope.READ]}
    scopes = tuple(one for one in SCOPES if one in wanted)
    key = make_key(to, name, scopes)
    if json:
        print_json({"name": name, "scopes": list(scopes), "file": str(to), "key": key})
        return
    typer.echo(key)
    typer.echo(f"multitudes: key '{name}' with {', '.join(scopes)} is in {to}; it is not shown again", err=True)


if TYPE_CHECKING:
    from multitudes.data.prepared import PreparedData
    from multitudes.state.protocol import UserState


def load_state_command(
    prepared: Annotated[Path, typer.Argument(help="Folder written by `multitudes prepare`.")],
    store: Annotated[str, typer.Argument(help="A file (SQLite), or redis://HOST:PORT (Redis, Valkey).")],
    keep: Annotated[int, typer.Option(min=1, help="Newest events of each user; as in [state] of the service.")] = 200,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Fill a store of user states from prepared data.

    What the store knows already stays, and so does who asked to be forgotten; running it twice changes nothing.
    """
    from multitudes.data.prepared import PreparedData
    from multitudes.state.protocol import StateConfig
    from multitudes.state.store import load_users, open_state_store

    data = PreparedData.open(prepared)
    with (
        closing(open_state_store(store, StateConfig(keep=keep, timeout_s=30))) as states,
        progress_bar("load-state") as progress,
    ):
        loaded = load_users(states, user_states(data, keep), data.n_users, progress)
    typer.echo(
        f"{loaded.users:,} users: {loaded.new_events:,} of {loaded.events:,} events and the follows of"
        f" {loaded.new_followed_topics:,} users are new; {loaded.erased:,} users asked to be forgotten"
    )
    if json:
        print_json({"prepared": str(prepared), **loaded._asdict()})


def user_states(data: "PreparedData", keep: int) -> Iterator["UserState"]:
    """Yield every user with their ``keep`` newest events of known items, and the topics that they follow."""
    from multitudes.state.protocol import UserState
    from multitudes.state.store import event_with_derived_id

    items, actions = [None, *data.items["item_id"].to_list()], ["", *data.manifest["actions"]]
    for user, user_id in enumerate(data.user_ids.to_list()):
        own = slice(data.event_offset[user], data.event_offset[user + 1])
        columns = (column[own].tolist() for column in (data.event_item, data.event_time, data.event_action))
        rows = [row for row in zip(*columns, strict=True) if row[0]][-keep:]
        events = tuple(
            event_with_derived_id(user_id, items[item], time_s, actions[action]) for item, time_s, action in rows
        )
        follows = tuple(data.topics[topic] for topic in data.followed_topics(user).tolist())
        yield UserState(user_id, events, follows or None)
