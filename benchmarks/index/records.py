"""The records of a run, sorted by what they were measured on."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

WORLD = "world"  # the part that makes a corpus
_ORDER = ("", "exact", "inverted", "milvus")  # of engines in tables; a corpus has none
Record = dict[str, Any]
Parts = Mapping[str, Mapping[str, Any]]  # figures of an engine by part; under "record" the whole records by part


class Corpus(NamedTuple):
    """What was measured over one corpus."""

    items: int
    kind: str
    world: Mapping[str, Any]
    engines: dict[str, Parts]

    def __str__(self) -> str:
        """Name it."""
        return f"{self.items:,} {self.kind} vectors"


def corpora(records: Iterable[Record]) -> list[Corpus]:
    """Return the records by corpus, engine and part, the small corpora first; none on which nothing was measured."""
    found: dict[tuple[Any, ...], Corpus] = {}
    for record in sorted(records, key=lambda record: _ORDER.index(record["step"]["engine"])):
        step = record["step"]
        key = (step["items"], step["kind"] == "clustered", step["width"])
        corpus = found.setdefault(key, Corpus(step["items"], step["kind"], {}, {}))
        if step["part"] == WORLD:
            found[key] = corpus._replace(world=record)
            continue
        parts: dict[str, Any] = corpus.engines.setdefault(step["engine"], {"record": {}})  # type: ignore[assignment]
        parts[step["part"]] = record["figures"]
        parts["record"][step["part"]] = record
    return [found[key] for key in sorted(found) if found[key].engines]
