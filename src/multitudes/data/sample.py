"""Sample data sets in the package, each with its licence."""

from importlib.resources import files
from pathlib import Path

from multitudes.errors import UsageError

SAMPLES = ("movielens-small",)


def sample_path(name: str) -> Path:
    """Return the folder of the sample of this ``name``, one of ``SAMPLES``: its canonical tables and LICENSE.txt.

    Raises:
        UsageError: there is no data set of this name.
    """
    if name not in SAMPLES:
        raise UsageError(f"sample '{name}': not shipped; expected one of {', '.join(SAMPLES)}")
    return Path(str(files("multitudes.data"))) / "samples" / name
