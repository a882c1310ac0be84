"""A causal transformer over the history, read group by group (SASRec, Kang and McAuley 2018, pre-norm).

Every event attends to the older events **of its own group**. With one group it reads the whole history; with one group
per interest it reads each interest's own subsequence, all in one pass. Positions are recency ranks within the group.

Legend: B users · L history, column 0 the most recent · D width.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from multitudes.config import Config
from multitudes.nn.dropout import Dropout


class SequenceConfig(Config):
    """Settings of the sequence encoder."""

    blocks: int = Field(1, ge=0, le=8, description="transformer blocks over the history; 0: the mean of the items")
    heads: int = Field(1, ge=1, description="attention heads")


class SequenceEncoder(nn.Module):
    """Transformer blocks with a mask that keeps groups apart."""

    def __init__(self, config: SequenceConfig, width: int, length: int, dropout: float) -> None:
        super().__init__()
        self.length = length
        self.position = nn.Embedding(length, width)
        nn.init.normal_(self.position.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(width, config.heads, dropout) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, item_BLD: Tensor, group_BL: Tensor) -> Tensor:
        """Return an encoding of each event (B, L, D); ``group_BL`` is -1 for events that take part in nothing."""
        allowed_BLL, rank_BL = causal_groups(group_BL)
        state_BLD = self.dropout(item_BLD + self.position(rank_BL.clamp(max=self.length - 1)))
        for block in self.blocks:
            state_BLD = block(state_BLD, allowed_BLL)
        encoded: Tensor = self.norm(state_BLD)
        return encoded


def causal_groups(group_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Return which events each may read (B, L, L) and its recency rank within its group (B, L).

    An event always reads itself, so no row is masked entirely.
    """
    length = group_BL.shape[1]
    older_LL = torch.ones(length, length, dtype=torch.bool, device=group_BL.device).triu()
    same_BLL = (group_BL.unsqueeze(2) == group_BL.unsqueeze(1)) & (group_BL >= 0).unsqueeze(1)
    itself_LL = torch.eye(length, dtype=torch.bool, device=group_BL.device)
    rank_BL = (same_BLL & ~older_LL).sum(dim=2)
    return (same_BLL & older_LL) | itself_LL, rank_BL


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each with a residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width)
        # As wide as the state, as in SASRec: four times wider costs most of a step and gained nothing on these data.
        self.feed = nn.Sequential(nn.Linear(width, width), nn.GELU(), Dropout(dropout), nn.Linear(width, width))
        self.dropout = Dropout(dropout)

    def forward(self, state_BLD: Tensor, allowed_BLL: Tensor) -> Tensor:
        """Return the next state (B, L, D)."""
        batch, length, width = state_BLD.shape
        qkv = self.qkv(self.attention_norm(state_BLD)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        read = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed_BLL.unsqueeze(1))
        state_BLD = state_BLD + self.dropout(self.out(read.transpose(1, 2).reshape(batch, length, width)))
        next_BLD: Tensor = state_BLD + self.dropout(self.feed(self.feed_norm(state_BLD)))
        return next_BLD
