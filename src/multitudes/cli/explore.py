"""``multitudes explore``: users' interests on a page, served on this machine or written to a file."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from multitudes.atomic import write_text
from multitudes.cli.options import reject_options
from multitudes.cli.output import print_json, print_next, prints_json
from multitudes.errors import UsageError
from multitudes.extras import require_extra
from multitudes.progress import ProgressBar, amount
from multitudes.service.api_keys import make_key

if TYPE_CHECKING:
    from multitudes.explorer.explorer import NamedExplorer
    from multitudes.ids import Id

_MAX_USERS = 1_000  # an exported user takes about 30 KB


def explore_command(
    releases: Annotated[Path, typer.Argument(help="Folder of releases, or one version's own folder.")],
    beside: Annotated[
        str | None,
        typer.Argument(help="A release to show beside it: a version of RELEASES, or another such folder."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on 127.0.0.1; 0: any free port.")] = 8000,
    export: Annotated[
        Path | None, typer.Option(help="Write a page with a sample of users to this file, and serve nothing.")
    ] = None,
    users: Annotated[
        int | None, typer.Option(min=1, max=_MAX_USERS, help="With --export: number of users. Default: 5.")
    ] = None,
    user: Annotated[list[str] | None, typer.Option(help="With --export: id of a user; repeatable.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="With --export: replace an existing file.")] = False,
    images: Annotated[
        Path | None, typer.Option(help="Items table (Parquet) whose column image_url has images, which are shown.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Data folder of the service, whose erased users are not shown. Default: beside the releases."
        ),
    ] = None,
) -> None:
    """Explore users and their interests on a page.

    The page is on this machine only, for whoever has the printed URL: it holds a key of this run. Nothing that is tried
    there is kept. --export writes one HTML file that needs no service. With two releases, the page shows how both
    answer the same user.
    """
    forgotten = _erasure_file(releases, data)
    if export is not None:
        _export(releases, beside, export, users or 5, user or [], overwrite, forgotten, images)
        return
    reject_options("explore without --export", {"--users": users, "--user": user or None, "--overwrite": overwrite})
    _serve(releases, beside, port, forgotten, images)


def _erasure_file(releases: Path, data: Path | None) -> Path | None:
    """Return the file of users who asked to be erased; None if no service has one."""
    from multitudes.release.manifest import MANIFEST
    from multitudes.release.store import VERSIONS, service_folder
    from multitudes.state.erasure_requests import FILE_NAME

    root = releases.resolve()
    if (root / MANIFEST).exists() and root.parent.name == VERSIONS:
        root = root.parents[1]
    file = (data or service_folder(root)) / FILE_NAME
    if data is not None and not data.is_dir():
        raise UsageError(f"{data}: no such folder; expected the data folder of the service")
    try:
        return file if file.exists() and file.read_bytes() else None
    except OSError as error:
        raise UsageError(
            f"{file}: cannot be read ({error.strerror}), so erased users are unknown; run as the service's user"
        ) from None


def _is_hidden(forgotten: Path | None) -> "Callable[[Id], bool]":
    """Return the function that tells whether a user asked to be erased."""
    from multitudes.state.erasure_requests import ErasureRequests

    return (lambda _: False) if forgotten is None else ErasureRequests(forgotten).__contains__


def _open_beside(releases: Path, beside: str) -> "NamedExplorer":
    """Open the release that is shown beside another."""
    from multitudes.explorer.explorer import Explorer, NamedExplorer
    from multitudes.release.store import VERSIONS, release_folder
    from multitudes.retrieval.retriever import Retriever

    shown, version = release_folder(releases).resolve(), releases / VERSIONS / beside
    if not version.is_dir() and not Path(beside).is_dir():
        raise UsageError(
            f"{beside}: neither a version in {releases}, as `multitudes releases` lists them, nor a folder"
        )
    folder = release_folder(version if version.is_dir() else Path(beside)).resolve()
    if folder == shown:
        raise UsageError(f"{beside}: is the release that is shown already; give another version or folder")
    retriever = Retriever.open(folder)
    explorer = Explorer(lambda: retriever, _is_hidden(_erasure_file(folder, None)))
    return NamedExplorer(_name_beside(folder, shown), explorer)


def _name_beside(folder: Path, shown: Path) -> str:
    """Return the version of a release, after as much of its path as tells it from another in another folder."""
    if folder.parent == shown.parent:
        return folder.name
    parts, others = folder.parents[1].parts, shown.parents[1].parts
    same = next((k for k in range(1, len(parts)) if parts[-k:] != others[-k:]), len(parts))
    return "/".join((*parts[-same:], folder.name))


def _serve(releases: Path, beside: str | None, port: int, forgotten: Path | None, images: Path | None) -> None:
    """Serve the page with the service on this machine; its folder of states, logs and the key ends with it."""
    require_extra("serve")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # see serve_command
    from dataclasses import replace
    from shutil import copy
    from tempfile import TemporaryDirectory

    from multitudes.service.app import create_app
    from multitudes.service.server import listen, serve_single, socket_url
    from multitudes.service.settings import load_settings
    from multitudes.service.startup import open_dependencies

    other = None if beside is None else _open_beside(releases, beside)
    with TemporaryDirectory(prefix="multitudes-explore-") as folder, listen("127.0.0.1", port) as listener:
        keys = Path(folder) / "keys"
        key = make_key(keys, "explorer", ("read",))
        options = {
            "data": {"folder": Path(folder)},
            "keys": {"file": keys},
            "explorer": {"images": images},
            "state": {"read_s": 1.0},  # a person waits for it; the store is empty
            "journal": {"level": "warning", "format": "text", "requests": 0},
        }
        settings = load_settings(None, {}, options)
        if forgotten is not None:
            copy(forgotten, folder)
        with open_dependencies(releases, settings) as dependencies:
            app = create_app(replace(dependencies, beside=other), own_names_only=True)
            url = f"{socket_url(listener)}/#key={key}"  # a browser sends no fragment to anybody
            print_json({"url": url, "release": dependencies.get_retriever().release.version})
            if not prints_json():
                typer.echo(f"{url}\nopen it in a browser; Ctrl-C ends it")
            serve_single(app, settings, listener)


def _export(
    releases: Path,
    beside: str | None,
    file: Path,
    users: int,
    given: list[str],
    overwrite: bool,
    forgotten: Path | None,
    images: Path | None,
) -> None:
    from multitudes import api
    from multitudes.cli.recommend import parse_release_id
    from multitudes.explorer.explorer import Explorer
    from multitudes.explorer.images import read_images
    from multitudes.explorer.page import Beside, static_page
    from multitudes.retrieval.retriever import Retriever

    if file.exists() and not overwrite:
        raise UsageError(f"{file}: exists; give another name or --overwrite")
    retriever = Retriever.open(releases)
    pictures = read_images(images)
    explorer = Explorer(lambda: retriever, _is_hidden(forgotten), pictures.urls)
    other = None if beside is None else _open_beside(releases, beside)
    chosen = [parse_release_id(text, retriever.release.user_ids, "user") for text in given]
    chosen = chosen or explorer.draw_users(users, seed=0)
    answers, others = [], []
    with ProgressBar("export") as progress:
        for done, user_id in enumerate(chosen, start=1):
            request = api.ExploreRequest(user_id)
            answer = explorer.explore(request)
            if answer is None:
                raise UsageError(
                    f"user {user_id!r} is not in release {retriever.release.version}; leave --user out to draw some"
                )
            answers.append(answer)
            others += [] if other is None else [other.explorer.explore(request)]
            progress(done, len(chosen))
    both = None if other is None else Beside(other.name, others)
    write_text(file, static_page(explorer.map(), answers, both, pictures.origins))
    size = file.stat().st_size
    typer.echo(f"{file}: {amount(len(answers), 'user')}, {size / 1e3:,.0f} kB; open it in a browser")
    print_json({"file": str(file), "users": [answer.user_id for answer in answers], "bytes": size})
    print_next("explore", releases)
