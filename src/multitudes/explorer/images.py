"""Images of items on the explorer's page. Each browser asks the hosts of their URLs, so there are none by default."""

from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from multitudes.errors import DataError, UsageError

_ORIGIN: Final = r"^(https?://[A-Za-z0-9.-]+(?::\d+)?)/[^\s]*$"  # goes into a policy, whose syntax it must not change


class Images(NamedTuple):
    """The URLs of images by the ids of items as text, and their origins, from which alone the page loads images."""

    urls: dict[str, str]
    origins: list[str]


def read_images(file: Path | None) -> Images:
    """Read a Parquet table of items with the columns item_id and image_url (null: no image); None: no images.

    Raises:
        DataError: the file cannot be read, has no such column, or one of its URLs is none.
        UsageError: there is no such file.
    """
    if file is None:
        return Images({}, [])
    try:
        table = pl.read_parquet(file, columns=["item_id", "image_url"], glob=False).cast(pl.String).drop_nulls()
    except FileNotFoundError:
        raise UsageError(f"{file}: no such file; give the table of items that has the column image_url") from None
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{file}: {reason}; expected Parquet with the columns item_id and image_url") from None
    origins = table["image_url"].str.extract(_ORIGIN)
    if origins.null_count():
        url = table["image_url"].filter(origins.is_null())[0]
        raise DataError(f"{file}: {url!r:.80} is no image_url; expected one such as https://images.example/1.jpg")
    return Images(dict(table.rows()), origins.unique().sort().to_list())
