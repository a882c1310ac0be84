"""Ids are of the kind that the data have: a text that looks like the right number would only be somebody unknown."""

from collections.abc import Sequence

import polars as pl

from multitudes.ids import Id
from multitudes.service.parts import Parts
from multitudes.service.refusals import RefusalError


def check_kinds(parts: Parts, user_ids: Sequence[Id], item_ids: Sequence[Id]) -> None:
    """Refuse ids of another kind than those of the release that serves.

    Raises:
        RefusalError: (422) an id is a text where those of the data are integers, or the other way round.
    """
    release = parts.current().release
    if user_ids:
        _check("user_id", user_ids, release.user_ids)
    if item_ids:
        _check("item_id", item_ids, release.items["item_id"])


def _check(what: str, given: Sequence[Id], known: pl.Series) -> None:
    kind = int if known.dtype.is_integer() else str
    wrong = next((one for one in given if not isinstance(one, kind)), None)
    if wrong is not None:
        words = "integers" if kind is int else "texts"
        raise RefusalError(422, f"{what} {wrong!r:.80}: the ids of this data are {words}; give it as in the data")
