"""The encoder of a history: a causal transformer, or a causal mean, read group by group.

Every event's state reads the older events **of its own group** and itself. With one group it reads the whole history;
with one group per interest it reads each interest's own subsequence, all in one pass. A state depends on older events
alone, and on how many events ago they were, never on what came later: so one pass gives the state of every moment of
the history, and each can be trained on what followed it (dense training).

Source: SASRec (Kang and McAuley 2018), pre-norm. Deviations: places enter as a learned bias of the attention by
distance, in place of vectors added to the items, so that a moment in the middle of a history is encoded as if it were
the last; the gated layer is that of LiGR (2502.03417) as eSASRec uses it.

Legend: B users · L history, column 0 the most recent · H heads · D width.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from multitudes.config import Config
from multitudes.nn.dropout import Dropout
from multitudes.nn.masking import masked_low


class SequenceConfig(Config):
    """Settings of the sequence encoder."""

    blocks: int = Field(1, ge=0, le=8, description="transformer blocks over the history; 0: the mean of the items")
    heads: int = Field(1, ge=1, description="attention heads")
    layer: Literal["plain", "gated"] = Field("gated", description="plain: SASRec's block; gated: LiGR's (eSASRec)")


def sequence_encoder(config: SequenceConfig, width: int, length: int, dropout: float) -> nn.Module:
    """Return a module (item_BLD, group_BL) -> state_BLD; groups are numbered from 0, -1 takes part in nothing."""
    return SequenceEncoder(config, width, length, dropout) if config.blocks else CausalMean()


class SequenceEncoder(nn.Module):
    """Transformer blocks with a mask that keeps groups apart."""

    def __init__(self, config: SequenceConfig, width: int, length: int, dropout: float) -> None:
        super().__init__()
        self.distance_HL = nn.Parameter(torch.zeros(config.heads, length))
        layer = GatedBlock if config.layer == "gated" else Block
        self.blocks = nn.ModuleList(layer(width, config.heads, dropout) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, item_BLD: Tensor, group_BL: Tensor) -> Tensor:
        """Return the state of each event (B, L, D)."""
        place_L = torch.arange(group_BL.shape[1], device=group_BL.device)
        apart_LL = (place_L.unsqueeze(0) - place_L.unsqueeze(1)).clamp(min=0, max=self.distance_HL.shape[1] - 1)
        bias_BHLL = masked_low(self.distance_HL[:, apart_LL].unsqueeze(0), causal_groups(group_BL).unsqueeze(1))
        state_BLD = self.dropout(item_BLD)
        for block in self.blocks:
            state_BLD = block(state_BLD, bias_BHLL)
        encoded: Tensor = self.norm(state_BLD)
        return encoded


class CausalMean(nn.Module):
    """The mean of an event and the older events of its group: what a two-tower model without an encoder reads."""

    def forward(self, item_BLD: Tensor, group_BL: Tensor) -> Tensor:
        """Return the state of each event (B, L, D)."""
        reads_BLL = causal_groups(group_BL).to(item_BLD.dtype)
        mean: Tensor = (reads_BLL / reads_BLL.sum(dim=2, keepdim=True)) @ item_BLD
        return mean


def causal_groups(group_BL: Tensor) -> Tensor:
    """Return which events each may read (B, L, L): older ones of its group, and itself, so that no row is empty."""
    length = group_BL.shape[1]
    older_LL = torch.ones(length, length, dtype=torch.bool, device=group_BL.device).triu()
    same_BLL = (group_BL.unsqueeze(2) == group_BL.unsqueeze(1)) & (group_BL >= 0).unsqueeze(1)
    itself_LL = torch.eye(length, dtype=torch.bool, device=group_BL.device)
    return (same_BLL & older_LL) | itself_LL


class Attention(nn.Module):
    """Multi-head attention with a bias, which holds the mask too."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, state_BLD: Tensor, bias_BHLL: Tensor) -> Tensor:
        """Return what each event read (B, L, D)."""
        batch, length, width = state_BLD.shape
        qkv = self.qkv(state_BLD).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        read = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias_BHLL)
        read_BLD: Tensor = self.out(read.transpose(1, 2).reshape(batch, length, width))
        return read_BLD


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each with a residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.feed_norm = nn.LayerNorm(width)
        # As wide as the state, as in SASRec: four times wider costs most of a step and gained nothing on these data.
        self.feed = nn.Sequential(nn.Linear(width, width), nn.GELU(), Dropout(dropout), nn.Linear(width, width))
        self.dropout = Dropout(dropout)

    def forward(self, state_BLD: Tensor, bias_BHLL: Tensor) -> Tensor:
        """Return the next state (B, L, D)."""
        state_BLD = state_BLD + self.dropout(self.attention(self.attention_norm(state_BLD), bias_BHLL))
        next_BLD: Tensor = state_BLD + self.dropout(self.feed(self.feed_norm(state_BLD)))
        return next_BLD


class GatedBlock(nn.Module):
    """LiGR's block: what attention and feed-forward (SwiGLU) add is gated by what they are added to."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.attention_gate = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width)
        self.feed_in = nn.Linear(width, 2 * width, bias=False)
        self.feed_out = nn.Linear(width, width, bias=False)
        self.feed_gate = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, state_BLD: Tensor, bias_BHLL: Tensor) -> Tensor:
        """Return the next state (B, L, D)."""
        normed = self.attention_norm(state_BLD)
        read = self.dropout(self.attention(normed, bias_BHLL))
        state_BLD = state_BLD + read * self.attention_gate(normed).sigmoid()
        normed = self.feed_norm(state_BLD)
        value, gate = self.feed_in(normed).chunk(2, dim=-1)
        fed = self.dropout(self.feed_out(self.dropout(nn.functional.silu(gate) * value)))
        next_BLD: Tensor = state_BLD + fed * self.feed_gate(normed).sigmoid()
        return next_BLD
