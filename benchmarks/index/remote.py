"""A Milvus server beside the embedded engines: ``--milvus URI``, its password in ``MILVUS_TOKEN``.

Its process is not ours: time is what the caller waits, and processor time and memory are those of the client alone.

Legend: K vectors of a request · D dimensions · M results.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.index.corpus import Vectors
from benchmarks.index.truth import Ids
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


def collection(folder: Path) -> Any:  # noqa: ANN401 (its package is an extra)
    """Open the collection that ``build`` published."""
    from multitudes.index.factory import load_index  # noqa: PLC0415

    return load_index(folder)  # on the server of MILVUS_URI


class Client:
    """A bare search by the client library: no promise, no deadline, no check of what comes back."""

    def __init__(self, info: dict[str, Any]) -> None:
        from pymilvus import MilvusClient  # noqa: PLC0415

        from multitudes_milvus.collection import pad_queries  # noqa: PLC0415
        from multitudes_milvus.config import settings_to_open  # noqa: PLC0415

        self._as_queries = pad_queries  # the items lie there with one coordinate more
        server = settings_to_open(info["server"], os.environ)
        self._client = MilvusClient(uri=server.uri, token=os.environ.get(server.token_variable, ""))
        self._name = info["collection"]

    def search(self, query_KD: Vectors, effort: int, depth: int, excluded: Ids | None) -> Ids:
        """Return ids (K, M), filled with −1."""
        answers = self._client.search(
            self._name,
            data=list(self._as_queries(query_KD)),
            filter="" if excluded is None else f"id not in {excluded.tolist()}",
            limit=depth,
            anns_field="vector",
            search_params={"metric_type": "IP", "params": {"ef": max(effort, depth)}},
            consistency_level="Bounded",
        )
        id_KM = np.full((len(answers), depth), -1, dtype=np.int64)
        for row, answer in enumerate(answers):
            id_KM[row, : len(answer)] = [hit["id"] for hit in answer]
        return id_KM
