"""How a release computes vectors: the exported towers of a trained run, or the settings of a clustering."""

from pathlib import Path
from typing import Any

import numpy as np

from multitudes.index.item_table import select_topics
from multitudes.linear.followed import FollowedRun
from multitudes.linear.run import LinearRun
from multitudes.pinnersage.run import PinnerSageRun
from multitudes.release.manifest import NewItems
from multitudes.release.onnx_session import open_tower
from multitudes.release.release import ITEM_TOWER, USER_TOWER
from multitudes.retrieval.item_updates import pad_topics, run_item_tower
from multitudes.seeding import generator
from multitudes.training.runs import Run

_CHECKED_ITEMS = 1_000
_WITHOUT_TOWERS = (PinnerSageRun, LinearRun, FollowedRun)  # what they serve with is in the manifest and the arrays


def write_towers(run: Run, stage: Path, conditions: int) -> None:
    """Write the towers of a trained run into a staged release.

    Args:
        run: the run.
        stage: folder of the release.
        conditions: number of topics drawn for a request.
    """
    if isinstance(run, _WITHOUT_TOWERS):
        return
    from multitudes.publishing.onnx_export import export_item_tower, export_user_tower  # noqa: PLC0415 (torch)

    export_user_tower(run, stage / USER_TOWER, conditions)
    export_item_tower(run, stage / ITEM_TOWER)


def item_tower_difference(run: Run, stage: Path) -> float:
    """Return the largest difference between the exported item tower and the model, relative to the largest component.

    Both compute vectors of known items as if they were new: from their description, without their ids.
    """
    if isinstance(run, _WITHOUT_TOWERS):
        return 0.0
    from multitudes.publishing.onnx_export import vectors_without_ids  # noqa: PLC0415 (torch)

    prepared = run.prepared
    count = min(prepared.n_items, _CHECKED_ITEMS)
    item_N = 1 + np.sort(generator(0, "publish", "items").choice(prepared.n_items, count, replace=False))
    topic_NG = pad_topics(select_topics(prepared.item_topic_offset, prepared.item_topic, item_N))
    content = prepared.item_embedding
    content_NE = np.zeros((count, 0), dtype=np.float32) if content is None else content[item_N]
    exported = run_item_tower(open_tower(stage / ITEM_TOWER), topic_NG, prepared.item_feature[item_N], content_NE)
    differences = [
        float(np.abs(actual - expected).max()) / max(1.0, float(np.abs(expected).max()))
        for actual, expected in zip(exported, vectors_without_ids(run, item_N), strict=True)
    ]
    return max(differences)


def new_item_settings(run: Run) -> NewItems:
    """Return the settings by which items that are added later get their vectors."""
    prepared = run.prepared
    width = 0 if prepared.item_embedding is None else int(prepared.item_embedding.shape[1])
    if isinstance(run, (LinearRun, FollowedRun)):
        return NewItems(vectors="linear")
    if isinstance(run, PinnerSageRun):
        if run.config.model.vectors is not None:
            return NewItems(vectors="run")
        return NewItems(vectors="embedding", content_width=width)
    rank = 0 if run.linear is None else run.linear.rank
    return NewItems(
        vectors="tower", encoding=tuple(prepared.manifest["item_encoding"]), content_width=width, linear_rank=rank
    )


def pinnersage_settings(run: Run) -> dict[str, Any] | None:
    """Return the settings of the clustering for the manifest; None if a tower computes the vectors."""
    if not isinstance(run, PinnerSageRun):
        return None
    # The source of the vectors is left out: the release contains the vectors.
    return {"config": run.config.model.model_dump(mode="json", exclude={"vectors"}), "typical": run.typical_distance}
