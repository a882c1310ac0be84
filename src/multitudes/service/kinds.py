"""Ids are of the kind that the data have: a text that looks like the right number would only be somebody unknown."""

from collections.abc import Sequence

from multitudes.ids import Id, IdKind
from multitudes.logs.schemas import Kinds
from multitudes.release.release import Release
from multitudes.service.parts import Parts
from multitudes.service.refusals import RefusalError


def kinds_of(release: Release) -> Kinds:
    """Return what the ids of a release are."""
    users, items = release.user_numbers, release.item_names.published.numbers
    return Kinds("int64" if users.integers else "string", "int64" if items.integers else "string")


def check_kinds(parts: Parts, user_ids: Sequence[Id], item_ids: Sequence[Id]) -> None:
    """Refuse ids of another kind than those of the release that serves.

    Raises:
        RefusalError: (422) an id is a text where those of the data are integers, or the other way round.
    """
    kinds = kinds_of(parts.current().release)
    _check("user_id", user_ids, kinds.user_id)
    _check("item_id", item_ids, kinds.item_id)


def _check(what: str, given: Sequence[Id], expected: IdKind) -> None:
    kind = int if expected == "int64" else str
    wrong = next((one for one in given if not isinstance(one, kind)), None)
    if wrong is not None:
        words = "integers" if kind is int else "texts"
        raise RefusalError(422, f"{what} {wrong!r:.80}: the ids of this data are {words}; give it as in the data")
