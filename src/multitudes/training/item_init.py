"""Initial item embeddings: singular vectors of the training interactions in place of random numbers.

With random embeddings, a short training spends most of its steps on what a singular value decomposition tells at once:
which items have users in common; ``docs/training.md`` has what it brings.

X is the binary matrix of users and items, each entry divided by the square roots of the interactions of its user and of
its item, so that neither the most active users nor the most popular items decide. With X ≈ U S Vᵀ, the embedding of an
item is its row of V √S, at the scale of the random ones, which items without interactions keep.

Legend: U users · I items · R singular vectors · D width.
"""

from typing import Final

import numpy as np
import torch

from multitudes.data.prepared import PreparedData
from multitudes.linear.interactions import interaction_matrix, item_factors
from multitudes.nn.two_tower import TwoTower

MAX_EVENTS: Final = 20_000_000  # of more, those of evenly spaced users are read


def initialize_items(model: TwoTower, prepared: PreparedData, *, include_validation: bool) -> None:
    """Replace the id embeddings of the items that have training interactions, in place.

    Args:
        model: untrained.
        prepared: the prepared data.
        include_validation: read the validation split too, for a last fit.
    """
    every = -(-max(len(prepared.event_item), 1) // MAX_EVENTS)
    users = None if every == 1 else np.arange(0, prepared.n_users, every)
    matrix = interaction_matrix(prepared, include_validation=include_validation, users=users)
    weight = model.items.id_embedding.weight
    factors_IR = item_factors(matrix, weight.shape[1])
    has_interactions_I = factors_IR.any(axis=1)
    if not has_interactions_I.any():
        return
    with torch.no_grad():
        scale = float(weight.std()) / np.sqrt((factors_IR[has_interactions_I] ** 2).mean())
        rows = torch.from_numpy(np.flatnonzero(has_interactions_I))
        weight[rows, : factors_IR.shape[1]] = torch.from_numpy(factors_IR[has_interactions_I] * np.float32(scale))
