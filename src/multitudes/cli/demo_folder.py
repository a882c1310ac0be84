"""The demo's folder: its settings, and that it is there as a whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SETTINGS = """\
# The settings of `multitudes demo`: a small model, trained briefly, so that the demo ends within a minute.
# `multitudes init DIR` writes a file with every setting, its default and its meaning.

[prepare]
split = "user"            # MovieLens' users hardly overlap in time, so each user's last events are held out
follows_from_share = 0.2  # nobody stated follows: they are the topics of the first fifth of each history

[model]
history = 20
dropout = 0.1

[retrieve]                 # for the table of one user; evaluated and published are the defaults
blend = "round_robin"      # the paper's blend, turn by turn: every interest shows what it brings
unconditioned_share = 0.3
explicit_share = 0.25

[train]
epochs = 4
batch_size = 64
window = 20
learning_rate = 0.003
in_batch = 256
uniform = 256
validate_users = 200
"""
SETTINGS_FILE = "demo.toml"  # also tells that a folder was written by the demo
_UNFINISHED = ".unfinished"


@contextmanager
def own_folder(out: Path, overwrite: bool) -> Iterator[None]:
    """Make ``out``, and remove it again unless the block ends well.

    The folder is written in its own place because runs remember where their data lies. A file marks it as unfinished,
    so that what a killed demo left behind is replaced by the next one.

    Raises:
        UsageError: ``out`` exists and is not a folder of the demo, or is one and ``overwrite`` is off.
    """
    _make_way(out, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    try:
        (out / _UNFINISHED).touch()
        (out / SETTINGS_FILE).write_text(SETTINGS, encoding="utf-8")
        yield
        (out / _UNFINISHED).unlink()
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise


def _make_way(out: Path, overwrite: bool) -> None:
    from multitudes.errors import UsageError

    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    unfinished = (out / _UNFINISHED).is_file()
    if not unfinished and not (out / SETTINGS_FILE).is_file():
        raise UsageError(f"{out}: exists and was not written by the demo; choose another folder with --out")
    if not unfinished and not overwrite:
        raise UsageError(f"{out}: holds an earlier demo; replace it with --overwrite, or choose another with --out")
    # Moved aside first: a half-deleted folder under this name would not be recognised as the demo's.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.old-", dir=out.parent) as aside:
        out.rename(Path(aside) / out.name)
