"""``multitudes publish``, ``items``, ``releases`` and ``rollback``: what changes or lists the releases of a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from multitudes.cli.options import SetOption, parse_overrides
from multitudes.cli.output import print_json, print_next, print_table
from multitudes.errors import UsageError
from multitudes.extras import require_extra
from multitudes.progress import Progress, ProgressBar, amount

if TYPE_CHECKING:
    from multitudes.publishing.canary import Canary
    from multitudes.publishing.gate import GateConfig
    from multitudes.publishing.publish import PublishResult
    from multitudes.retrieval.item_updates import AddedItems


def publish_command(
    run: Annotated[Path, typer.Argument(help="Folder written by `multitudes train`.")],
    to: Annotated[Path, typer.Option(help="Folder of releases; created when missing.")],
    gate: Annotated[
        float | None,
        typer.Option(
            min=0, max=0.99, help="Publish only if at most this share of the current release's recall is lost: 0.05."
        ),
    ] = None,
    service: Annotated[
        str | None, typer.Option(help="With --gate: URL of a service that follows the folder; if it fails, roll back.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(envvar="MULTITUDES_KEY", help="API key for --service; safer as MULTITUDES_KEY.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with [index] and [retrieve].")] = None,
    overrides: SetOption = None,
    sign: Annotated[
        Path | None, typer.Option(help="Private key that signs the release, made by `multitudes keys pair`.")
    ] = None,
    trust: Annotated[Path | None, typer.Option(help="Public keys of item updates; default: that of --sign.")] = None,
) -> None:
    """Publish a run as the current release.

    The release is written to a temporary folder, checked against the model, and made current in one atomic step.

    With --gate the new release and the one that serves answer the same held-out users. If the 95 % interval of the
    difference of their recall lies below zero, if a larger share of it is lost, or if too many answers are degraded,
    nothing is published and the exit code is 4. With --service the same requests go to a service before and after; if
    more fail or are degraded after, the release before is current again.
    """
    from multitudes.cli.train import require_extra_for

    if service is not None and gate is None:
        raise UsageError("--service is for --gate: give both")
    require_extra_for(run)
    from multitudes.config import load_section
    from multitudes.index.factory import IndexConfig
    from multitudes.publishing.gate import GateConfig
    from multitudes.publishing.publish import publish
    from multitudes.retrieval.config import RetrieveConfig

    changes = parse_overrides(overrides, "index", "retrieve")
    index = load_section(config, "index", IndexConfig, changes)
    retrieve = load_section(config, "retrieve", RetrieveConfig, changes)
    limits = None if gate is None else GateConfig(margin=gate)
    with ProgressBar("publish") as progress, _open_canary(run, to, limits, service, key, progress) as canary:
        published = publish(
            run, to, retrieve=retrieve, index=index, sign=sign, trust=trust, gate=limits, progress=progress
        )
        answered = canary and canary.ask_after(published.version, published.former)
    print_published(to, published)
    if answered:
        typer.echo(
            f"canary: {answered.requests:,} requests, {answered.failed} failed, {answered.degraded} degraded; p50"
            f" {answered.p50_ms:.0f} ms, p99 {answered.p99_ms:.0f} ms"
        )
    record = published._asdict()
    record |= {"releases": str(to), "index": record.pop("index_info"), "canary": answered and answered._asdict()}
    print_json(record | {"gate": published.gate and published.gate._asdict()})
    print_next("recommend", to, "--user", _first_user(to), "--explain", "--n", "20")
    print_next("explore", to, label="or")


@contextmanager
def _open_canary(
    run: Path, to: Path, gate: "GateConfig | None", service: str | None, key: str | None, progress: Progress
) -> "Iterator[Canary | None]":
    """Yield a canary that has asked the service before the switch; None without a service."""
    if service is None or gate is None:
        yield None
        return
    require_extra("client")
    from multitudes.client import Client
    from multitudes.publishing.canary import Canary, CanaryConfig, canary_requests

    config = CanaryConfig()
    with Client(service, key) as client:
        canary = Canary(client.recommend, canary_requests(run, gate, config.requests), to, config, progress=progress)
        canary.ask_before()
        yield canary


def print_published(to: Path, published: "PublishResult") -> None:
    """Print the new version, and how much the vectors of its user tower differ from those of the model."""
    index, added, removed = published.index_info, published.carried_items, published.removed_items
    typer.echo(
        f"{to}: version {published.version} serves; {index['kind']} index of {index['items']:,} items;"
        f" tower equal to the model within {published.largest_difference:.0e} on {published.checked_users:,} users"
    )
    if added or removed:
        typer.echo(f"taken over: {amount(added, 'added item')}, {removed:,} removed")
    if published.waiting_items:
        waiting = amount(published.waiting_items, "added item")
        typer.echo(f"without a vector in this release: {waiting}; a later one may have them")
    if (passed := published.gate) is not None:
        compared = ""
        if passed.difference is not None:
            compared = f", {passed.serving_recall:.4f} with {passed.serving}: {passed.difference:+.4f}"
            compared += f" ({passed.low:+.4f} to {passed.high:+.4f})"
        typer.echo(f"gate: recall@{passed.n} {passed.recall:.4f} on {passed.users:,} users{compared}")


def _first_user(releases: Path) -> str:
    """Return the id of a user of the current release."""
    import polars as pl

    from multitudes.release.store import release_folder

    users = pl.scan_ipc(release_folder(releases) / "users.arrow", glob=False).head(1).collect()
    return str(users["user_id"][0])


def items_command(
    action: Annotated[
        Literal["add", "remove", "export"],
        typer.Argument(help="Add or replace the items, or remove them; export: write all with their vectors."),
    ],
    releases: Annotated[Path, typer.Argument(help="Folder of releases.")],
    file: Annotated[
        Path, typer.Argument(help="Items table, as in a data set; to remove: a table with item_id; to export: Parquet.")
    ],
    sign: Annotated[Path | None, typer.Option(help="Private key that signs the update, for serve --trust.")] = None,
) -> None:
    """Add items to the current release, or remove some; or export them for a vector store.

    A service that runs sees the update within a second. The next publish takes it over.
    """
    from multitudes.retrieval.item_updates import add_items, export_items, remove_items

    if action == "export":
        version, items = export_items(releases, file)
        typer.echo(f"{file}: release {version}, {amount(items, 'item')}")
        print_json({"action": action, "releases": str(releases), "file": str(file), "version": version, "items": items})
        return
    if action == "add":
        with ProgressBar("items") as progress:
            added = add_items(releases, file, progress, sign=sign)
        _print_added_items(releases, added)
        record, cut_bytes = added._asdict(), added.cut_bytes
    else:
        removed = remove_items(releases, file, sign=sign)
        typer.echo(f"{releases}: release {removed.version}, {amount(removed.removed, 'item')} removed")
        record, cut_bytes = removed._asdict(), removed.cut_bytes
    if cut_bytes:
        typer.echo(f"multitudes: warning: cut off an unfinished update of {amount(cut_bytes, 'byte')}", err=True)
    print_json({"action": action, "releases": str(releases), **record})


def _print_added_items(releases: Path, added: "AddedItems") -> None:
    from multitudes.data.clean.tables import repair_text

    typer.echo(f"{releases}: release {added.version}, {amount(added.new, 'item')} added, {added.replaced:,} replaced")
    for name, count in added.repairs.items():
        typer.echo(f"repair: {repair_text(name, count)}")
    if added.unknown_topics:
        typer.echo(f"unknown to this release: {amount(added.unknown_topics, 'topic')}; the next one may know them")
    if added.unread_columns:
        names = ", ".join(added.unread_columns)
        typer.echo(f"this release also reads {names}; the file lacks it, so it is unknown for all items")
    if added.undescribed:
        typer.echo(
            f"with neither a topic nor an embedding that this release reads: {amount(added.undescribed, 'item')}; such"
            " vectors hardly differ, and are not used in histories"
        )


def releases_command(
    releases: Annotated[Path, typer.Argument(help="Folder of releases.")],
) -> None:
    """List the releases and mark the current one.

    A version whose index is on a server that has lost it is marked too.
    """
    from multitudes.retrieval.rollback import list_releases

    current, problem, rows = list_releases(releases)
    lines, counts = [], ("users", "items", "topics")
    for row in rows:
        mark = ("→" if row["serves"] else "") + ("✗" if "problem" in row else "?" if "not_asked" in row else "")
        created = row.get("created_at", "")[:16].replace("T", " ")
        numbers = [f"{row[name]:,}" if name in row else "" for name in counts]
        lines.append([mark, row["version"], row.get("method", "damaged"), created, *numbers, row.get("index", "")])
    print_table(lines, ("", "version", "method", "created", *counts, "index"), right=counts)
    warnings = [f"{row['version']} cannot serve: {row['problem']}" for row in rows if "problem" in row]
    warnings += {f"store not asked: {row['not_asked']}" for row in rows if "not_asked" in row}
    for warning in warnings + [problem] * bool(problem):
        typer.echo(f"multitudes: warning: {warning}", err=True)
    print_json({"releases": str(releases), "current": current, "problem": problem, "versions": rows})


def rollback_command(
    releases: Annotated[Path, typer.Argument(help="Folder of releases.")],
    version: Annotated[str | None, typer.Argument(help="Default: the one before the current release.")] = None,
    leave_items: Annotated[
        bool, typer.Option(help="Leave out added items that have no vector in that version.")
    ] = False,
    trust: Annotated[
        Path | None, typer.Option(help="Public key, or a folder of such, one of which must have signed the version.")
    ] = None,
    sign: Annotated[Path | None, typer.Option(help="Private key that signs item updates that are taken over.")] = None,
) -> None:
    """Make an older release current again.

    Its files are verified first. Items that were added to the current release or removed from it stay added or removed.
    If its index is on a server, the alias there moves too.
    """
    from multitudes.retrieval.rollback import first_of, rollback

    done = rollback(releases, version, leave_items=leave_items, trust=trust, sign=sign)
    typer.echo(f"{releases}: version {done.version} serves")
    for what, items in (("added item", done.added), ("removal", done.removed)):
        if items:
            names = first_of([str(item) for item in items])
            typer.echo(f"taken over from {done.former}: {amount(len(items), what)}: {names}")
    if done.left:
        left = first_of([str(item) for item in done.left])
        typer.echo(f"left out: {amount(len(done.left), 'item')} added to {done.former}: {left}")
    print_json({"releases": str(releases), **done._asdict()})
