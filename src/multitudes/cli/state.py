"""``multitudes state``: back up and restore the data folder of a service, and fill its store of user states."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from multitudes.cli.options import reject_options
from multitudes.cli.output import print_json
from multitudes.data.location import reject_url
from multitudes.progress import ProgressBar, amount

if TYPE_CHECKING:
    from multitudes.data.prepared import PreparedData
    from multitudes.state.protocol import UserState


def state_command(
    action: Annotated[
        Literal["backup", "restore", "load"], typer.Argument(help="Which of the three; each copies SOURCE to TARGET.")
    ],
    source: Annotated[
        Path,
        typer.Argument(
            help="backup: data folder of the service, by default RELEASES.service; restore: a backup; load: folder of"
            " `multitudes prepare`."
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            help="backup: new folder; restore: data folder of the service, which must not run; load: a file (SQLite),"
            " or redis://HOST:PORT (Redis, Valkey)."
        ),
    ],
    keep: Annotated[
        int | None,
        typer.Option(
            min=1, help="With load: newest events to keep per user, as in [state] of the service; default: 200."
        ),
    ] = None,
) -> None:
    """Back up, restore or load user states.

    A backup has the user states and the logs. The service may run: nothing waits for it, erasure included. A Redis
    server is backed up by its own means. Before you restore, keep the file `forgotten` of the data folder: users who
    asked to be erased after the backup do not come back then. Load fills a store from prepared data: users, events and
    erasures that it holds stay, and a second run changes nothing.
    """
    if action == "load":
        _load(source, target, keep)
        return
    reject_options(f"state {action}", {"--keep": keep})
    reject_url(target)
    from multitudes.service.backup import back_up, restore

    to = Path(target)
    if action == "backup":
        saved = back_up(source, to)
        held = "the user states" if saved.state else "no user states (they are not in the folder: back up their server)"
        typer.echo(f"{to}: {held} and {amount(saved.log_files, 'file')} of the logs")
        print_json({"data": str(source), "to": str(to), **saved._asdict()})
        return
    result = restore(source, to)
    rows = amount(result.erased_rows, "row")
    typer.echo(f"{to}: {amount(result.segments, 'segment')}, {rows} of erased users left out")
    print_json({"backup": str(source), "data": str(to), **result._asdict()})


def _load(prepared: Path, store: str, keep: int | None) -> None:
    from multitudes.data.prepared import PreparedData
    from multitudes.state.protocol import StateConfig
    from multitudes.state.store import load_users, open_state_store

    data = PreparedData.open(prepared)
    config = StateConfig(keep=StateConfig().keep if keep is None else keep, timeout_s=30)
    with (
        closing(open_state_store(store, config)) as states,
        ProgressBar("load") as progress,
    ):
        result = load_users(states, user_states(data, config.keep), data.n_users, progress)
    typer.echo(
        f"{result.users:,} users: {result.new_events:,} of {result.events:,} events and the followed topics of"
        f" {result.new_followed_topics:,} users are new; {result.erased:,} users are erased and left out"
    )
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
