"""The item embedding table, sharded by rows among the ranks: each rank keeps its rows and their optimiser state.

A rank requests the rows of its batch from their owners, all at once, and sends the gradients back the same way; they
are sparse, like those of an unsharded table. The rows of a rank are a contiguous range (``Ranks.own_rows``), so a
checkpoint of any number of ranks can be read by any other number.

Legend: M items requested · D width · W ranks.
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
    """This rank's rows of an embedding table. Call it like ``nn.Embedding``, but on all ranks together."""

    def __init__(self, table: nn.Embedding, ranks: Ranks) -> None:
        super().__init__()
        self.num_embeddings = table.num_embeddings
        self.ranks = ranks
        self.weight = nn.Parameter(table.weight.detach()[ranks.own_rows(table.num_embeddings)].clone())

    def forward(self, item_M: Tensor) -> Tensor:
        """Return the embeddings of any items (M, D)."""
        ranks = self.ranks
        owner_M = item_M // ranks.rows_per_rank(self.num_embeddings)
        order_M = owner_M.argsort(stable=True)
        send_W = torch.bincount(owner_M, minlength=ranks.size)
        ones = [1] * ranks.size
        receive_W = ranks.all_to_all(send_W, ones, ones)
        sent, received = send_W.tolist(), receive_W.tolist()
        requested_M = ranks.all_to_all(item_M[order_M], sent, received) - ranks.own_rows(self.num_embeddings).start
        rows = nn.functional.embedding(requested_M, self.weight, sparse=True)
        return ranks.all_to_all(rows, received, sent).index_select(0, order_M.argsort())


def shard_item_table(model: TwoTower, ranks: Ranks) -> TwoTower:
    """Shard the item table of ``model`` among the ranks, in place; with one rank nothing changes."""
    table = model.items.id_embedding
    if ranks.size > 1:
        model.items.add_module(_MODULE, ShardedEmbedding(table, ranks))
    return model


@contextmanager
def gather_item_table(model: TwoTower, ranks: Ranks) -> Iterator[None]:
    """Give the first rank the whole item table within the context, so that validation needs no ranks."""
    if ranks.size == 1:
        yield
        return
    own = model.items.id_embedding
    weight = ranks.gather_to_first(own.weight, own.num_embeddings)
    if weight is None:
        yield
        return
    model.items.add_module(_MODULE, nn.Embedding(weight.shape[0], weight.shape[1], _weight=weight))
    try:
        yield
    finally:
        model.items.add_module(_MODULE, own)


def all_reduce_gradients(weights: list[Tensor], ranks: Ranks) -> None:
    """Sum the gradients of weights that every rank has, in one message."""
    if ranks.size == 1:
        return
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    flat = ranks.sum(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, summed in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(summed.view_as(gradient))
