"""Data sets that are shipped with the package, each with its licence beside it."""

from importlib.resources import files
from pathlib import Path

from multitudes.errors import UsageError

SAMPLES = ("movielens-small",)


def sample_path(name: str) -> Path:
    """Return the folder with the canonical tables and LICENSE.txt of the data set ``name``.

    Raises:
        UsageError: no data set of this name is shipped.
    """
    if name not in SAMPLES:
        raise UsageError(f"sample '{name}': not shipped; expected one of {', '.join(SAMPLES)}")
    return Path(str(files("multitudes.data"))) / "samples" / name
