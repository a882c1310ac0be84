"""The value of item descriptions for new items: known items are treated as new, with substitutes for their ids.

::

    python -m benchmarks.new_items RUN

Some items of a trained run lose their id embeddings and are embedded like items that are added later. Then candidates
are found for all users, and compared with their held-out events of these items and of others. ``among new``: only the
hidden items are ranked, so only differences between them count; a tenth of them is returned, so chance finds .100.
"""

import sys
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitudes.batches.held_out import held_out_users, seen_items
from multitudes.evaluation.targets import targets_of_kind
from multitudes.nn.item_tower import ItemFeatures
from multitudes.publishing.onnx_export import mean_over_events
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.scorer import catalogue, user_vectors
from multitudes.retrieval.search import find_candidates
from multitudes.seeding import generator
from multitudes.training.trained_run import TrainedRun

DRAWS, HIDDEN_SHARE, BUDGET = 3, 0.05, 100


def substitute_embeddings(run: TrainedRun, known: NDArray[np.int64]) -> dict[str, Tensor]:
    """Return substitutes for the id embedding of an untrained item (1, D)."""
    weight_ID = run.model.items.id_embedding.weight.detach()
    events_I = np.where(np.isin(np.arange(run.prepared.n_items + 1), known), run.prepared.item_count, 0)
    typical_1D = mean_over_events(weight_ID, events_I)
    return {
        "zeros": torch.zeros_like(weight_ID[:1]),
        "row of the unknown item": weight_ID[:1],
        "mean of the known": weight_ID[torch.from_numpy(known)].mean(dim=0, keepdim=True),
        "mean over events (taken)": typical_1D,
        "twice that": 2 * typical_1D,
    }


def worlds(
    run: TrainedRun, hidden: NDArray[np.int64], draw: int
) -> Iterator[tuple[str, Sequence[NDArray[np.float32]]]]:
    """Yield the inputs and vectors of all items, with those of the hidden ones made in each way."""
    own, items = (run.item_inputs(), run.item_vectors()), run.model.items
    known, number = np.setdiff1d(np.arange(1, run.prepared.n_items + 1), hidden), torch.from_numpy(hidden)
    yield "their own ids (trained)", own
    described = ItemFeatures(items.topic_NG[number], items.feature_NF[number], items.content_NE[number])
    for name, id_1D in substitute_embeddings(run, known).items():
        with torch.no_grad():
            input_ND = items.inputs_from_features(id_1D, described)
            vector_ND = run.model.item_vectors(input_ND).numpy()
        joined_ND = np.pad(vector_ND, ((0, 0), (0, own[1].shape[1] - vector_ND.shape[1])))  # a linear model has none
        yield name, (replace_rows(own[0], hidden, input_ND.numpy()), replace_rows(own[1], hidden, joined_ND))
    random = generator(draw, "new items", "control")
    yield "vector of another item", (own[0], replace_rows(own[1], hidden, own[1][random.choice(known, len(hidden))]))
    direction = random.standard_normal(own[1][hidden].shape).astype(np.float32)
    length = np.linalg.norm(own[1][hidden], axis=1) / np.linalg.norm(direction, axis=1)
    yield "random direction", (own[0], replace_rows(own[1], hidden, direction * length[:, None]))


def replace_rows(
    array: NDArray[np.float32], rows: NDArray[np.int64], values: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return a copy with some rows replaced."""
    changed = array.copy()
    changed[rows] = values
    return changed


def counts(run: TrainedRun, hidden: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return hits and targets of hidden items, the same of others, hits among the hidden alone, places, and theirs."""
    data, retrieve = run.prepared, with_run_defaults(RetrieveConfig(), run.shares, run.blend, run.calibration)
    users = targets_of_kind(held_out_users(data, "test"), "new")
    seen, items = seen_items(data, users), catalogue(run, run.item_vectors())
    vectors = user_vectors(run, users, retrieve, items)
    is_hidden = np.isin(np.arange(data.n_items + 1), hidden)
    vectors_of_hidden = np.where(is_hidden[:, None], run.item_vectors(), 0)
    everything = find_candidates(vectors, items, BUDGET, seen, retrieve)
    only_new = Catalogue(catalogue(run, vectors_of_hidden).index, items.item_count, items.item_taste)
    alone = find_candidates(vectors, only_new, len(hidden) // 10, seen, retrieve)
    found = np.zeros(7)
    for b, (all_items, new_items) in enumerate(zip(everything, alone, strict=True)):
        target = np.unique(users.target[users.target_offset[b] : users.target_offset[b + 1]])
        new, hit = is_hidden[target], np.isin(target, all_items.item_N)
        among = np.isin(target[new], new_items.item_N).sum()
        places = (len(all_items.item_N), is_hidden[all_items.item_N].sum())
        found += [(hit & new).sum(), new.sum(), (hit & ~new).sum(), (~new).sum(), among, *places]
    return found


def main() -> None:
    run = TrainedRun.open(sys.argv[1])
    run.model.eval()
    n_items, sums = run.prepared.n_items, dict[str, NDArray[np.float64]]()
    for draw in range(DRAWS):
        chosen = generator(draw, "new items", "hidden").choice(n_items, int(HIDDEN_SHARE * n_items), replace=False)
        hidden = np.sort(chosen + 1)
        for name, arrays in list(worlds(run, hidden, draw)):
            vars(run)["_joined_items"] = arrays[1]  # what the run computes once: the vectors of all items
            sums[name] = sums.get(name, np.zeros(7)) + counts(run, hidden)
        vars(run).pop("_joined_items")
    print(f"{DRAWS} draws of {len(hidden):,} of {n_items:,} items; HR@{BUDGET} of first-time targets\n")
    print(f"{'in place of the id':26}  new items  others    all  among new  places of new")
    for name, (hits, targets, other_hits, others, among, places, new_places) in sums.items():
        rates = hits / targets, other_hits / others, (hits + other_hits) / (targets + others), among / targets
        cells = (f"{rates[0]:9.3f}", f"{rates[1]:6.3f}", f"{rates[2]:5.3f}", f"{rates[3]:9.3f}")
        print(f"{name:26}  {'  '.join(cells)}  {new_places / places:13.1%}")


if __name__ == "__main__":
    main()
