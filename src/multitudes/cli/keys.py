"""``multitudes key``, ``keys`` and ``signing-key``: API keys of the service, and the key pair that signs releases."""

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitudes.cli.output import print_json

if TYPE_CHECKING:
    from multitudes.service.api_keys import ApiKey

_MAX_DAYS = 36_500


class KeyScope(StrEnum):
    """The scopes of an API key."""

    RECOMMEND = "recommend"
    EVENTS = "events"
    METRICS = "metrics"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


def key_command(
    name: Annotated[str, typer.Argument(help="Name of the key's owner, for the journal of the service.")],
    to: Annotated[
        Path, typer.Option(help="File of keys, created when missing; or a folder, which gets a file for the key.")
    ],
    scope: Annotated[
        list[KeyScope] | None,
        typer.Option(
            help="recommend: recommendations and similar items alone; events: send events alone; metrics: /metrics"
            " alone; read: recommend, metrics, and read users and releases; write: events and followed topics;"
            " admin: erase. Default: read."
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="Day from which it is invalid (UTC), such as 2027-01-31; or days from now: 90d.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Make an API key.

    The file holds only a digest, so the key cannot be shown again. To revoke the key, remove its line, or its file in
    the folder. A new file can be read by its owner alone: make it as the user of the service.
    """
    from multitudes.service.api_keys import SCOPES, make_key

    wanted = {str(name) for name in scope or [KeyScope.READ]}
    scopes = tuple(name for name in SCOPES if name in wanted)
    day = None if expires is None else _parse_day(expires)
    key = make_key(to, name, scopes, day)
    if json:
        record = {"name": name, "scopes": list(scopes), "file": str(to), "key": key}
        print_json(record | {"expires": None if day is None else day.isoformat()})
        return
    typer.echo(key)
    until = "" if day is None else f" until {day}"
    typer.echo(f"multitudes: key '{name}' with {', '.join(scopes)}{until} is in {to}; it is not shown again", err=True)


def _parse_day(text: str) -> date:
    from multitudes.errors import UsageError

    if text.endswith("d") and text[:-1].isdecimal() and 0 < int(text[:-1][:9]) <= _MAX_DAYS:
        return datetime.now(UTC).date() + timedelta(days=int(text[:-1]))
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--expires {text!r}: expected a day (2027-01-31), or days from now (90d)") from None


def keys_command(
    keys: Annotated[Path, typer.Argument(help="File of keys, or a folder of such files.")],
    used: Annotated[
        Path | None, typer.Option(help="Data folder of the service, which has the last use of each key.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """List the API keys, with their scopes, expiry and last use."""
    from multitudes.service.access_records import last_uses
    from multitudes.service.api_keys import read_keys

    uses = {} if used is None else last_uses(used)
    records = [_key_record(key, uses) for key in read_keys(keys)]
    if json:
        print_json({"keys": records})
    else:
        _print_keys(records, has_uses=used is not None)


def _key_record(key: "ApiKey", uses: dict[str, float]) -> dict[str, Any]:
    last_use = uses.get(key.name)
    return {
        "name": key.name,
        "scopes": sorted(key.scopes),
        "expires": None if key.expires is None else key.expires.isoformat(),
        "expired": key.is_expired(datetime.now(UTC)),
        "last_use": None if last_use is None else datetime.fromtimestamp(last_use, UTC).isoformat(timespec="minutes"),
    }


def _print_keys(records: list[dict[str, Any]], *, has_uses: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("key", "scopes", "expires", *(["last use (UTC)"] if has_uses else [])):
        table.add_column(heading, overflow="fold")
    for record in records:
        expires = (record["expires"] or "never") + (" (expired)" if record["expired"] else "")
        last_use = (record["last_use"] or "never").removesuffix("+00:00").replace("T", " ")
        table.add_row(record["name"], ", ".join(record["scopes"]), expires, *([last_use] if has_uses else []))
    Console().print(table)


def signing_key_command(
    file: Annotated[Path, typer.Argument(help="File of the private key; the public key is beside it, as FILE.pub.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Make a key pair that signs releases.

    `multitudes publish --sign FILE` signs with the private key, which stays where releases are published. A service
    with the public key, `multitudes serve --trust FILE.pub`, serves what it signed and nothing else.
    """
    from multitudes.release.signature import make_key_pair

    public, fingerprint = make_key_pair(file)
    if json:
        print_json({"private": str(file), "public": str(public), "fingerprint": fingerprint})
        return
    typer.echo(f"{file}: private key, for publish --sign\n{public}: public key {fingerprint}, for serve --trust")
