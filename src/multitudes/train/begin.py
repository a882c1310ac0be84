"""The run folder when training begins: new, to be gone on with, or finished already; and one training at a time."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from multitudes.data.prepared import Prepared
from multitudes.disk import sync
from multitudes.errors import UsageError
from multitudes.locks import locked
from multitudes.train.config import RunConfig
from multitudes.train.record import data_digest, new_record, read_record, write_record


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Keep others from training into ``out``; the lock lies beside it, so that the folder can be replaced.

    Raises:
        UsageError: somebody does already.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out.with_name(f".{out.name}.lock"), wait=False, remove=True) as had:
        if not had:
            raise UsageError(f"{out}: another process trains into it; wait for its end, or give another --out")
        yield


def begin(prepared: Prepared, config: RunConfig, out: Path, *, overwrite: bool) -> None:
    """Make the run folder that is not there yet, or that shall be replaced."""
    if overwrite and out.exists():
        shutil.rmtree(out)
    if _is_new(out):
        out.mkdir(parents=True, exist_ok=True)
        write_record(out, new_record(prepared, config.model_dump(mode="json")))
        sync(out.parent)


def unfinished(prepared: Prepared, config: RunConfig, out: Path, *, resume: bool, overwrite: bool) -> bool:
    """Check that training may begin in ``out``, or go on there; return False if it is finished already.

    Raises:
        UsageError: it exists and neither ``resume`` nor ``overwrite`` is on, was begun with other settings or data, or
            is the run to go on from.
        ArtefactError: what exists is no run.
    """
    if config.continues and out.resolve() == Path(config.continues):
        raise UsageError(f"{out}: is the run to go on from; give another --out")
    if overwrite and out.exists():
        read_record(out)  # refuse to delete a folder that is not a run
        return True
    if not out.exists() or (resume and _is_new(out)):
        return True
    if not resume:
        raise UsageError(f"{out}: exists; give another --out, go on with --resume, or replace it with --overwrite")
    record = read_record(out)
    if record["config"] != config.model_dump(mode="json") or record["prepared_digest"] != data_digest(prepared):
        raise UsageError(f"{out}: was begun with other settings or data; resume with the same, or use --overwrite")
    return not record["finished"]


def _is_new(out: Path) -> bool:
    return not out.exists() or not any(out.iterdir())  # empty: killed before it had written a word
