"""The run folder when training begins: new, to be gone on with, or finished already; and one training at a time."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from multitudes.data.prepared import Prepared
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


def begin(prepared: Prepared, config: RunConfig, out: Path, *, resume: bool, overwrite: bool) -> bool:
    """Make the run folder, or check that it can be resumed; return False if it is finished already.

    Raises:
        UsageError: it exists and neither ``resume`` nor ``overwrite`` is on, or was begun with other settings or data.
        ArtefactError: what exists is no run.
    """
    settings = config.model_dump(mode="json")
    if overwrite and out.exists():
        read_record(out)  # refuse to delete a folder that is not a run
        shutil.rmtree(out)
    if not out.exists() or (resume and not any(out.iterdir())):  # killed before it had written a word
        out.mkdir(parents=True, exist_ok=True)
        write_record(out, new_record(prepared, settings))
        return True
    if not resume:
        raise UsageError(f"{out}: exists; give another --out, go on with --resume, or replace it with --overwrite")
    record = read_record(out)
    if record["config"] != settings or record["prepared_digest"] != data_digest(prepared):
        raise UsageError(f"{out}: was begun with other settings or data; resume with the same, or use --overwrite")
    return not record["finished"]
