"""Tables of any size, and their preparation: what their processes import counts as their memory, so not torch."""

from benchmarks import SEED
from multitudes.data.prepare import PrepareConfig, prepare
from multitudes_lab.synthetic import SynthConfig, write_synthetic_tables

_EVENTS_A_USER, _EVENTS_AN_ITEM, _TOPICS = 50, 100, 500


def world_config(events: int, items: int | None = None) -> SynthConfig:
    """Return the configuration of a world with so many events; the default number of items grows with them."""
    items = items or max(events // _EVENTS_AN_ITEM, _TOPICS)
    return SynthConfig(events=events, users=events // _EVENTS_A_USER, items=items, topics=_TOPICS, seed=SEED)


def write_tables(events: int, folder: str, items: int | None = None) -> None:
    """Write the tables."""
    write_synthetic_tables(folder, world_config(events, items))


def prepare_tables(data: str, out: str, memory_limit: str, min_item_count: int = 1) -> None:
    """Prepare the tables with a memory limit for the engine; with ``min_item_count`` = 0 every item has a row."""
    prepare(data, out, PrepareConfig(memory_limit=memory_limit, min_item_count=min_item_count))
