"""``multitudes keys``: API keys of the service, and the key pair that signs releases."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from multitudes.cli.options import reject_options
from multitudes.cli.output import print_json, print_table
from multitudes.data.location import reject_url
from multitudes.errors import UsageError
from multitudes.release.signature import make_key_pair
from multitudes.service.api_keys import SCOPES, ApiKey, make_key, read_keys

_MAX_DAYS = 36_500
KeyScope = StrEnum("KeyScope", ["recommend", "events", "metrics", "read", "write", "admin"])


def keys_command(
    action: Annotated[
        Literal["add", "list", "pair"],
        typer.Argument(help="add: make an API key; list: list them; pair: make a key pair that signs releases."),
    ],
    file: Annotated[
        str,
        typer.Argument(
            help="File of API keys, created when missing, or a folder, which gets a file for each key; with pair: file"
            " of the private key, and the public key is beside it, as FILE.pub."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="With add: name of the key's owner, for the journal of the service.")
    ] = None,
    scope: Annotated[
        list[KeyScope] | None,
        typer.Option(
            help="With add. recommend: recommendations and similar items alone; events: send events alone; metrics:"
            " /metrics alone; read: recommend, metrics, and read users and releases; write: events and followed"
            " topics; admin: erase. Default: read."
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(help="With add: day from which it is invalid (UTC), such as 2027-01-31; or days from now: 90d."),
    ] = None,
    used: Annotated[
        Path | None, typer.Option(help="With list: data folder of the service, which has the last use of each key.")
    ] = None,
) -> None:
    """Make and list API keys, or make a key pair that signs.

    The file of API keys holds only their digests, so a key is shown once, when it is added. To revoke it, remove its
    line, or its file in the folder. A new file can be read by its owner alone: make it as the user of the service.

    `multitudes publish --sign FILE` signs with the private key of a pair, which stays where releases are published. A
    service with the public key, `multitudes serve --trust FILE.pub`, serves what it signed and nothing else.
    """
    reject_url(file)
    path = Path(file)
    added = {"--name": name, "--scope": scope or None, "--expires": expires}
    unread = {"--used": used} if action == "add" else added if action == "list" else {**added, "--used": used}
    reject_options(f"keys {action}", unread)
    if action == "list":
        _list_keys(path, used)
        return
    if file.endswith("/") and not path.is_dir():
        raise UsageError(f"{file}: a folder was given, and there is none; expected a file, or make the folder first")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{file}: its folder does not exist; make it, or name another file")
    if action == "pair":
        public, fingerprint = make_key_pair(path)
        typer.echo(f"{path}: private key, for publish --sign\n{public}: public key {fingerprint}, for serve --trust")
        print_json({"private": str(path), "public": str(public), "fingerprint": fingerprint})
    elif name is None:
        raise UsageError(f"a key needs a name: multitudes keys add {file} --name shop")
    else:
        _add_key(path, name, scope or [KeyScope.read], expires)


def _add_key(file: Path, name: str, scope: Sequence[str], expires: str | None) -> None:
    scopes = tuple(one for one in SCOPES if one in scope)
    day = None if expires is None else _parse_day(expires)
    key = make_key(file, name, scopes, day)
    typer.echo(key)
    until = "" if day is None else f" until {day}"
    typer.echo(
        f"multitudes: key '{name}' with {', '.join(scopes)}{until} is in {file}; it is not shown again", err=True
    )
    record = {"name": name, "scopes": list(scopes), "file": str(file), "key": key}
    print_json(record | {"expires": None if day is None else day.isoformat()})


def _parse_day(text: str) -> date:
    if text.endswith("d") and text[:-1].isdecimal() and 0 < int(text[:-1][:9]) <= _MAX_DAYS:
        return datetime.now(UTC).date() + timedelta(days=int(text[:-1]))
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--expires {text!r}: expected a day (2027-01-31), or days from now (90d)") from None


def _list_keys(file: Path, used: Path | None) -> None:
    from multitudes.service.access_records import last_uses

    uses = {} if used is None else last_uses(used)
    records = [_key_record(key, uses) for key in read_keys(file)]
    rows = []
    for record in records:
        expires = (record["expires"] or "never") + (" (expired)" if record["expired"] else "")
        last_use = (record["last_use"] or "never").removesuffix("+00:00").replace("T", " ")
        rows.append([record["name"], ", ".join(record["scopes"]), expires, *([last_use] if used else [])])
    print_table(rows, ("key", "scopes", "expires", *(["last use (UTC)"] if used else [])))
    print_json({"keys": records})


def _key_record(key: ApiKey, uses: dict[str, float]) -> dict[str, Any]:
    last_use = uses.get(key.name)
    return {
        "name": key.name,
        "scopes": sorted(key.scopes),
        "expires": None if key.expires is None else key.expires.isoformat(),
        "expired": key.is_expired,
        "last_use": None if last_use is None else datetime.fromtimestamp(last_use, UTC).isoformat(timespec="minutes"),
    }
