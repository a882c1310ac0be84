"""The table of item embeddings, parted by rows among the ranks: each keeps its rows and their optimiser state.

A rank asks the owners of the items of its batch for their rows, all at once, and gives the gradients back the same way;
they are sparse, as those of a table in one piece. A stretch of rows is a rank's (``Ranks.part``), so that a checkpoint
of any number of ranks can be read by any other.

Legend: M items asked for · D width.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from multitudes.nn.two_tower import TwoTower
from multitudes.training.distributed import Ranks

ITEM_TABLE = "items.id_embedding.weight"  # its name among the weights
_MODULE = "id_embedding"


class ShardedEmbedding(nn.Module):
    """This rank's rows of a table, called as ``nn.Embedding`` is; all ranks must call it together."""

    def __init__(self, whole: nn.Embedding, ranks: Ranks) -> None:
        super().__init__()
        self.num_embeddings = whole.num_embeddings
        self.ranks = ranks
        self.weight = nn.Parameter(whole.weight.detach()[ranks.own_rows(whole.num_embeddings)].clone())

    def forward(self, item_M: Tensor) -> Tensor:
        """Return the embeddings of any items (M, D)."""
        ranks = self.ranks
        owner_M = item_M // ranks.rows_per_rank(self.num_embeddings)
        order_M = owner_M.argsort(stable=True)
        give = torch.bincount(owner_M, minlength=ranks.size)
        ones = [1] * ranks.size
        take = ranks.all_to_all(give, ones, ones)
        sent, received = give.tolist(), take.tolist()
        asked = ranks.all_to_all(item_M[order_M], sent, received) - ranks.own_rows(self.num_embeddings).start
        rows = nn.functional.embedding(asked, self.weight, sparse=True)
        return ranks.all_to_all(rows, received, sent).index_select(0, order_M.argsort())


def shard_item_table(model: TwoTower, ranks: Ranks) -> TwoTower:
    """Part the table of ``model`` among the ranks, in place; alone, it stays as it is."""
    table = model.items.id_embedding
    if ranks.size > 1:
        model.items.add_module(_MODULE, ShardedEmbedding(table, ranks))
    return model


@contextmanager
def gather_item_table(model: TwoTower, ranks: Ranks) -> Iterator[None]:
    """Within, the first rank's model is one for one process: it is judged by what knows nothing of ranks."""
    if ranks.size == 1:
        yield
        return
    own = model.items.id_embedding
    whole = ranks.gather_to_first(own.weight, own.num_embeddings)
    if whole is None:
        yield
        return
    model.items.add_module(_MODULE, nn.Embedding(whole.shape[0], whole.shape[1], _weight=whole))
    try:
        yield
    finally:
        model.items.add_module(_MODULE, own)


def all_reduce_gradients(weights: list[Tensor], ranks: Ranks) -> None:
    """Add up the gradients of weights that every rank has, in one message."""
    if ranks.size == 1:
        return
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    flat = ranks.sum(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, summed in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(summed.view_as(gradient))
