"""Two models as one, side by side: one item table, one index and one search serve the interests of both.

An item has the vectors of both, [v ; v'], an interest of the first model is [u ; 0] and one of the second [0 ; u'], so
every inner product is that of the interest's own model.

Legend: as in ``user_tower``; D is the sum of both widths d.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from multitudes.nn.interest_assignment import Interests, Partition
from multitudes.nn.item_tower import ItemFeatures, ItemTower
from multitudes.nn.two_tower import HistoryInputs, TwoTower
from multitudes.nn.user_tower import TowerOutput, concatenate_interests


class CombinedItems(ItemTower):
    """Two item towers of the same items, whose id embeddings become one table."""

    def __init__(self, first: ItemTower, second: ItemTower) -> None:
        nn.Module.__init__(self)  # all parts of an item tower exist already
        for name in ItemFeatures._fields:
            self.register_buffer(name, getattr(first, name), persistent=False)
        self.first_width = first.id_embedding.embedding_dim
        weight_ID = torch.cat([first.id_embedding.weight, second.id_embedding.weight], dim=1)
        self.id_embedding = nn.Embedding(weight_ID.shape[0], weight_ID.shape[1], _weight=weight_ID.detach())
        del first.id_embedding, second.id_embedding
        self.first, self.second = first, second

    def split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values of each model (…, d), from those of both (…, D)."""
        return values[..., : self.first_width], values[..., self.first_width :]

    def inputs_from_features(self, id_ND: Tensor, known: ItemFeatures) -> Tensor:
        """Return the history-side input of items (N, D), from their features and their id embeddings ``id_ND``."""
        towers = zip((self.first, self.second), self.split(id_ND), strict=True)
        return torch.cat([tower.inputs_from_features(id_Nd, known) for tower, id_Nd in towers], dim=1)


class CombinedTowers(TwoTower):
    """Two trained models as one."""

    items: CombinedItems

    def __init__(self, first: TwoTower, second: TwoTower) -> None:
        """Combine two models of the same data, which cannot be used alone any more."""
        nn.Module.__init__(self)  # all parts of a model exist already
        self.items = CombinedItems(first.items, second.items)
        self.first, self.second = first, second
        self.has_unconditioned = first.has_unconditioned or second.has_unconditioned
        self.n_implicit = first.n_implicit + second.n_implicit
        self.has_explicit = first.has_explicit or second.has_explicit
        self._left_out = int(first.has_unconditioned and second.has_unconditioned)

    def item_vectors(self, input_ND: Tensor) -> Tensor:
        """Return the vectors of both models for each item (N, D)."""
        first_Nd, second_Nd = self.items.split(input_ND)
        return torch.cat([self.first.item_vectors(first_Nd), self.second.item_vectors(second_Nd)], dim=1)

    def user_vectors(
        self, users: HistoryInputs, generator: torch.Generator | None = None, partition: Partition = "interests"
    ) -> TowerOutput:
        """Return the columns of the first model, then those of the second; of two unconditioned ones, the first."""
        (first, first_BL), (second, second_BL) = (
            model.user_vectors(users._replace(input_BLD=input_BLd), generator, partition)
            for model, input_BLd in zip((self.first, self.second), self.items.split(users.input_BLD), strict=True)
        )
        second = Interests(*(values[:, self._left_out :] for values in second))
        widths = first.vectors_BKD.shape[2], second.vectors_BKD.shape[2]
        first = first._replace(vectors_BKD=pad(first.vectors_BKD, (0, widths[1])))
        second = second._replace(vectors_BKD=pad(second.vectors_BKD, (widths[0], 0)))
        shift = first.mask_BK.shape[1] - self._left_out
        # Only one of the models has implicit interests, so an event belongs to at most one column.
        assignment_BL = torch.maximum(first_BL, torch.where(second_BL >= 0, second_BL + shift, -1))
        return TowerOutput(concatenate_interests([first, second]), assignment_BL)
