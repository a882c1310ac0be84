"""A Milvus server beside the embedded engines: ``--milvus URI``, its password in ``MILVUS_TOKEN``.

Its process is not ours: time is what the caller waits, and processor time and memory are those of the client alone.

Legend: K vectors of a request · D dimensions · M results.
"""

from pathlib import Path
from typing import Any

from benchmarks.index.world import World
from benchmarks.timing import print_progress, round_figure, time_calls

ENGINE = "milvus"
PARTS = ("build", "requests", "topics")
_TIMEOUT_S = 60.0  # on a busy machine; what is measured is how long it takes, not whether it is in time


def build(world: str, index: str, uri: str) -> dict[str, Any]:
    """Publish a collection and note in ``index`` where it is; it stays on the server."""
    from multitudes_milvus.config import MilvusConfig  # noqa: PLC0415 (its package is an extra)
    from multitudes_milvus.publishing import publish_collection  # noqa: PLC0415

    made, folder = World.open(Path(world)), Path(index)
    config = MilvusConfig(uri=uri, alias="benchmark", timeout_s=_TIMEOUT_S)
    kept: list[Any] = []

    def publish() -> None:
        kept.append(
            publish_collection(
                made.ids(),
                made.item_nD,
                config,
                topics=made.topics(),
                queries=made.tuning_QD,
                progress=print_progress(ENGINE),
            )
        )

    published = time_calls(publish, 1)
    folder.mkdir(parents=True, exist_ok=True)
    kept[0].save(folder)
    return {"seconds": round_figure(published.wall[0]), "cpu_s": round_figure(published.cpu[0]), "info": kept[0].info()}
