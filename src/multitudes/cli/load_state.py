"""``multitudes load-state``: a store of user states begins with what was prepared."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    from multitudes.data.prepared import Prepared
    from multitudes.state.records import Person


def command(
    prepared: Annotated[Path, typer.Argument(help="Folder written by `multitudes prepare`.")],
    store: Annotated[str, typer.Argument(help="A file (SQLite), or redis://HOST:PORT (Redis, Valkey).")],
    keep: Annotated[int, typer.Option(min=1, help="Newest events of each user; as in [state] of the service.")] = 200,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Fill a store of user states from prepared data.

    What the store knows already stays, and so does who asked to be forgotten; running it twice changes nothing.
    """
    from multitudes.data.prepared import Prepared
    from multitudes.state.config import StateConfig
    from multitudes.state.load import load
    from multitudes.state.place import open_states

    data = Prepared.open(prepared)
    with (
        closing(open_states(store, StateConfig(keep=keep, timeout_s=30))) as states,
        progress_bar("load-state") as progress,
    ):
        loaded = load(states, people(data, keep), data.n_users, progress)
    typer.echo(
        f"{loaded.users:,} users: {loaded.new_events:,} of {loaded.events:,} events and the follows of"
        f" {loaded.new_follows:,} users are new; {loaded.forgotten:,} users asked to be forgotten"
    )
    if json:
        print_json({"prepared": str(prepared), **loaded._asdict()})


def people(data: "Prepared", keep: int) -> Iterator["Person"]:
    """Yield every user with their ``keep`` newest events of known items, and the topics that they follow."""
    from multitudes.state.load import named
    from multitudes.state.records import Person

    items, actions = [None, *data.items["item_id"].to_list()], ["", *data.manifest["actions"]]
    for user, user_id in enumerate(data.user_ids.to_list()):
        own = slice(data.event_offset[user], data.event_offset[user + 1])
        columns = (column[own].tolist() for column in (data.event_item, data.event_time, data.event_action))
        rows = [row for row in zip(*columns, strict=True) if row[0]][-keep:]
        events = tuple(named(user_id, items[item], time_s, actions[action]) for item, time_s, action in rows)
        follows = tuple(data.topics[topic] for topic in data.follows(user).tolist())
        yield Person(user_id, events, follows or None)
