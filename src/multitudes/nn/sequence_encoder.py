"""The encoder of a history: a causal transformer, or a causal mean, applied group by group.

The state of every event reads the older events **of its group** and the event itself. With one group it reads the
entire history; with one group per interest it reads each interest's subsequence, all in one pass. A state depends only
on older events and on how many events ago they were, so one pass computes the state at every moment of the history, and
each can be trained on what followed it (dense training). ``newest_states`` computes only some states: the last block
skips the others.

Source: SASRec (Kang and McAuley 2018), pre-norm. Deviations: positions enter as a learned attention bias by distance,
instead of vectors added to the items, so that a moment in the middle of a history is encoded like the last one; the
gated layer is that of LiGR (2502.03417) as eSASRec uses it.

Legend: B users · L history, column 0 the most recent · R sets of events · H = 1, attention heads · D width.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from multitudes.config import Config
from multitudes.nn.primitives import Dropout, mask_with_lowest


class SequenceConfig(Config):
    """Settings of the sequence encoder."""

    blocks: int = Field(1, ge=0, le=8, description="transformer blocks over the history; 0: the mean of the items")


def build_sequence_encoder(
    config: SequenceConfig, width: int, length: int, dropout: float
) -> "SequenceEncoder | CausalMean":
    """Return a module (item_BLD, group_BL) -> state_BLD; groups are numbered from 0, events of group -1 are ignored."""
    return SequenceEncoder(config, width, length, dropout) if config.blocks else CausalMean()


class SequenceEncoder(nn.Module):
    """Transformer blocks with a mask that separates the groups."""

    def __init__(self, config: SequenceConfig, width: int, length: int, dropout: float) -> None:
        super().__init__()
        self.distance_HL = nn.Parameter(torch.zeros(1, length))
        self.blocks = nn.ModuleList(GatedBlock(width, dropout) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, item_BLD: Tensor, group_BL: Tensor) -> Tensor:
        """Return the state of each event (B, L, D)."""
        bias_BHLL = self._attention_bias(group_BL)
        state_BLD = self.dropout(item_BLD)
        for block in self.blocks:
            state_BLD = block(state_BLD, bias_BHLL)
        encoded: Tensor = self.norm(state_BLD)
        return encoded

    @property
    def sets_may_overlap(self) -> bool:
        """Whether ``newest_states`` takes sets that share events: no block before the last mixes events of a group."""
        return len(self.blocks) == 1

    def newest_states(self, item_BLD: Tensor, group_BL: Tensor, member_BRL: Tensor) -> Tensor:
        """Return the state of the newest event of each of R sets, which reads those of its set: zeros for an empty one.

        A set is a group, or all but the newest events of one; only blocks before the last read ``group_BL``. Shape
        (B, R, D), equal to the states of ``forward`` up to rounding.
        """
        *earlier, last = self.blocks
        state_BLD = self.dropout(item_BLD)
        if earlier:
            bias_BHLL = self._attention_bias(group_BL)
            for block in earlier:
                state_BLD = block(state_BLD, bias_BHLL)
        place_BR = member_BRL.to(torch.int64).argmax(dim=2)  # 0 for an empty set
        place_L = torch.arange(group_BL.shape[1], device=group_BL.device)
        distance_BHRL = self._distance_weights(place_L - place_BR.unsqueeze(2)).permute(0, 3, 1, 2)
        # An empty set reads the newest event, so that no row of the attention is empty.
        reads_BRL = member_BRL | (place_L == place_BR.unsqueeze(2))
        bias_BHRL = mask_with_lowest(distance_BHRL, reads_BRL.unsqueeze(1))
        encoded: Tensor = self.norm(last(state_BLD, bias_BHRL, place_BR))
        return encoded * member_BRL.any(dim=2, keepdim=True)

    def _attention_bias(self, group_BL: Tensor) -> Tensor:
        """Return the attention bias of distance and mask for every event (B, H, L, L)."""
        place_L = torch.arange(group_BL.shape[1], device=group_BL.device)
        distance_HLL = self._distance_weights(place_L.unsqueeze(0) - place_L.unsqueeze(1)).permute(2, 0, 1)
        return mask_with_lowest(distance_HLL.unsqueeze(0), causal_mask(group_BL).unsqueeze(1))

    def _distance_weights(self, distance: Tensor) -> Tensor:
        """Return the weight of each distance in each head (..., H)."""
        known = distance.clamp(min=0, max=self.distance_HL.shape[1] - 1)
        # An embedding, and not distance_HL[…]: threads add up the gradient of the latter in any order.
        return nn.functional.embedding(known, self.distance_HL.T)


class CausalMean(nn.Module):
    """The mean of an event and the older events of its group, as in a two-tower model without an encoder."""

    def forward(self, item_BLD: Tensor, group_BL: Tensor) -> Tensor:
        """Return the state of each event (B, L, D)."""
        reads_BLL = causal_mask(group_BL).to(item_BLD.dtype)
        return (reads_BLL / reads_BLL.sum(dim=2, keepdim=True)) @ item_BLD

    @property
    def sets_may_overlap(self) -> bool:
        """True: a mean reads its own events."""
        return True

    def newest_states(self, item_BLD: Tensor, group_BL: Tensor, member_BRL: Tensor) -> Tensor:
        """Return the mean of each of R sets (B, R, D), zeros for an empty one."""
        del group_BL
        member_BRL = member_BRL.to(item_BLD.dtype)
        return (member_BRL / member_BRL.sum(dim=2, keepdim=True).clamp(min=1)) @ item_BLD


def causal_mask(group_BL: Tensor) -> Tensor:
    """Return whether each event reads each event (B, L, L): older ones of its group, and itself, so no row is empty."""
    length = group_BL.shape[1]
    older_LL = torch.ones(length, length, dtype=torch.bool, device=group_BL.device).triu()
    same_BLL = (group_BL.unsqueeze(2) == group_BL.unsqueeze(1)) & (group_BL >= 0).unsqueeze(1)
    itself_LL = torch.eye(length, dtype=torch.bool, device=group_BL.device)
    return (same_BLL & older_LL) | itself_LL


def rows_at(state_BLD: Tensor, place_BR: Tensor) -> Tensor:
    """Return the states at R places of each history (B, R, D)."""
    return state_BLD.gather(1, place_BR.unsqueeze(2).expand(-1, -1, state_BLD.shape[2]))


class Attention(nn.Module):
    """Attention of one head with a bias, which contains the mask."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, state_BLD: Tensor, bias_BHRL: Tensor, place_BR: Tensor | None = None) -> Tensor:
        """Return the output at every event, or only at R places (B, R, D)."""
        if place_BR is None:
            query, key, value = self.qkv(state_BLD).unsqueeze(1).chunk(3, dim=3)
        else:
            width, weight, bias = state_BLD.shape[2], self.qkv.weight, self.qkv.bias
            reader_BRD = nn.functional.linear(rows_at(state_BLD, place_BR), weight[:width], bias[:width])
            query = reader_BRD.unsqueeze(1)
            key, value = nn.functional.linear(state_BLD, weight[width:], bias[width:]).unsqueeze(1).chunk(2, dim=3)
        attended_BHRD = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias_BHRL)
        read_BRD: Tensor = self.out(attended_BHRD.squeeze(1))
        return read_BRD


class GatedBlock(nn.Module):
    """LiGR's block, pre-norm: the outputs of attention and feed-forward (SwiGLU) are gated by their inputs."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width)
        self.attention_gate = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width)
        self.feed_in = nn.Linear(width, 2 * width, bias=False)
        self.feed_out = nn.Linear(width, width, bias=False)
        self.feed_gate = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, state_BLD: Tensor, bias_BHRL: Tensor, place_BR: Tensor | None = None) -> Tensor:
        """Return the next state of every event, or of those at R places (B, R, D)."""
        normed = self.attention_norm(state_BLD)
        read = self.dropout(self.attention(normed, bias_BHRL, place_BR))
        if place_BR is not None:
            state_BLD, normed = rows_at(state_BLD, place_BR), rows_at(normed, place_BR)
        state_BRD = state_BLD + read * self.attention_gate(normed).sigmoid()
        normed = self.feed_norm(state_BRD)
        value, gate = self.feed_in(normed).chunk(2, dim=-1)
        fed = self.dropout(self.feed_out(self.dropout(nn.functional.silu(gate) * value)))
        next_BRD: Tensor = state_BRD + fed * self.feed_gate(normed).sigmoid()
        return next_BRD
