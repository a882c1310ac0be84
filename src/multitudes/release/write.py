"""Writing the files of a release; the reading side, with the meaning of each file, is ``release.release``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.index.protocol import Index
from multitudes.release import manifest as manifests
from multitudes.release.manifest import Manifest
from multitudes.release.release import ARRAYS


def write_release(
    folder: Path,
    manifest: Manifest,
    arrays: Mapping[str, NDArray[Any]],
    index: Index,
    user_ids: pl.Series,
    items: pl.DataFrame,
    topics: list[str],
) -> None:
    """Write everything but the towers, which lie in ``folder`` already if there are any; the manifest comes last.

    Args:
        folder: a staged release.
        manifest: without its checksums, which are taken here.
        arrays: every array of ``ARRAYS``, by name.
        index: holds the item vectors under the item numbers.
        user_ids: in the order of the user numbers.
        items: columns item_id and title, in the order of the item numbers.
        topics: names by topic number; entry 0, the unknown topic, is not written.
    """
    for name, dtype in ARRAYS.items():
        np.save(folder / f"{name}.npy", np.asarray(arrays[name], dtype=dtype), allow_pickle=False)
    (folder / "index").mkdir()
    index.save(folder / "index")
    pl.DataFrame({"user_id": user_ids}).write_parquet(folder / "users.parquet")
    items.select("item_id", "title").write_parquet(folder / "items.parquet")
    pl.DataFrame({"topic": topics[1:]}, schema={"topic": pl.String}).write_parquet(folder / "topics.parquet")
    manifests.write(folder, manifest)
