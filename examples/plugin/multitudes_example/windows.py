"""A method: an interest is a stretch of the history. B users · L events, newest first · K interests · D width."""

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from multitudes import Config, ImplicitInterests, MethodSpec, assign_events


class WindowsConfig(Config):
    """Settings of the windows, table [model.windows]."""

    power: float = Field(1.0, gt=0, le=1, description="1: windows of equal length; less: the newest are shorter")


class Windows(nn.Module):
    """Cuts each history into K stretches; the condition of an interest is the mean of its items."""

    def __init__(self, config: WindowsConfig, interests: int, width: int) -> None:
        super().__init__()
        del width  # nothing to learn
        self.power, self.interests = config.power, interests

    def forward(self, item_BLD: Tensor, valid_BL: Tensor, generator: Generator | None = None) -> ImplicitInterests:
        """Return the interests of each user; invalid events count nowhere."""
        del generator  # nothing is random
        rank_BL = (valid_BL.to(torch.int64).cumsum(dim=1) - 1).clamp(min=0)
        place_BL = rank_BL / valid_BL.sum(dim=1, keepdim=True).clamp(min=1)
        window_BL = (place_BL**self.power * self.interests).to(torch.int64).clamp(max=self.interests - 1)
        share_BLK = (nn.functional.one_hot(window_BL, self.interests) * valid_BL.unsqueeze(2)).to(item_BLD.dtype)
        mean_BKD = share_BLK.transpose(1, 2) @ item_BLD / share_BLK.sum(dim=1).clamp(min=1).unsqueeze(2)
        return assign_events(mean_BKD, share_BLK)


windows = MethodSpec("stretches of the history, by time", implicit="own", module=Windows)
