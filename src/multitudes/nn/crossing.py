"""Feature crossing: a condition and the other features of a user become a user vector (Fan et al., KDD 2025).

Legend: ... any leading dimensions (B, K) · F feature fields · D width. The same crossing serves every kind of interest.
"""

import math
from typing import Final, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from multitudes.config import Config
from multitudes.nn.primitives import Dropout

_MASKS: Final = 4  # parallel MaskNet blocks of dhen; the paper gives neither their number nor their width
_MASK_WIDTH: Final = 128
_HEADS: Final = 4  # of attention of dhen, as far as they divide the width


class CrossingConfig(Config):
    """Settings of the feature crossing."""

    kind: Literal["mlp", "dhen"] = Field("mlp", description="mlp: small default; dhen: two levels, as in the paper")
    hidden: int = Field(256, ge=0, description="width of the hidden layers (the paper: 1024); mlp: 0 is a linear map")


def build_crossing(config: CrossingConfig, fields: int, width: int, dropout: float) -> nn.Module:
    """Return a module (..., F, D) -> (..., D)."""
    if config.kind == "mlp":
        return MLPCrossing(fields, width, config.hidden, dropout)
    return DHENCrossing(config, fields, width, dropout)


class MLPCrossing(nn.Module):
    """Two layers over the concatenated fields."""

    def __init__(self, fields: int, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = mlp(fields * width, hidden, width, dropout)

    def forward(self, field_FD: Tensor) -> Tensor:
        """Cross (..., F, D) into (..., D)."""
        crossed: Tensor = self.layers(field_FD.flatten(-2))
        return crossed


class DHENCrossing(nn.Module):
    """Two levels as the paper describes: transformer + MLP summed, then MaskNet blocks + MLP summed."""

    def __init__(self, config: CrossingConfig, fields: int, width: int, dropout: float) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            width, math.gcd(_HEADS, width), 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.attention = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        flat = fields * width
        self.first_mlp = mlp(flat, config.hidden, flat, dropout)
        self.mask_blocks = nn.ModuleList(MaskBlock(flat, _MASK_WIDTH) for _ in range(_MASKS))
        self.mask_out = nn.Linear(_MASKS * _MASK_WIDTH, width)
        self.second_mlp = mlp(flat, config.hidden, width, dropout)

    def forward(self, field_FD: Tensor) -> Tensor:
        """Cross (..., F, D) into (..., D)."""
        lead = field_FD.shape[:-2]
        flat_NFD = field_FD.flatten(0, -3)
        first_N = self.attention(flat_NFD).flatten(1) + self.first_mlp(flat_NFD.flatten(1))
        masked_N = torch.cat([block(first_N) for block in self.mask_blocks], dim=-1)
        crossed: Tensor = self.mask_out(masked_N) + self.second_mlp(first_N)
        return crossed.reshape(*lead, -1)


class MaskBlock(nn.Module):
    """A MaskNet block (Wang et al. 2021): the input is multiplied by a mask computed from the input itself."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mask = nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, width))
        self.out = nn.Sequential(nn.Linear(width, out), nn.LayerNorm(out), nn.GELU())

    def forward(self, flat_NW: Tensor) -> Tensor:
        """Return (N, out)."""
        normed_NW = self.norm(flat_NW)
        masked: Tensor = self.out(normed_NW * self.mask(normed_NW))
        return masked


def mlp(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    """Return inputs -> GELU(hidden) -> outputs; the last layer starts at zero, so that a residual starts as identity.

    Without a hidden layer it is a linear map.
    """
    last = nn.Linear(hidden or inputs, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    if not hidden:
        return nn.Sequential(last)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), Dropout(dropout), last)
