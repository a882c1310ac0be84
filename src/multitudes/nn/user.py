"""The user tower: history, follows and features -> one vector per interest (paper §2; method §2, §8).

The history is encoded once for the whole user and once interest by interest; each interest's condition then joins the
same crossing. Columns of the result: [unconditioned] [implicit 1..K] [explicit 1..C].

Legend: B users · L history, column 0 the most recent · K interests · C conditions · F follows · D width.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from multitudes.nn.crossing import crossing, mlp
from multitudes.nn.interests.conditional import Conditional, topic_known
from multitudes.nn.interests.interests import Interests
from multitudes.nn.interests.random_partition import random_partition
from multitudes.nn.interests.single import Single
from multitudes.nn.masking import masked_mean
from multitudes.nn.methods import METHODS, Method, build_implicit
from multitudes.nn.norms import unit
from multitudes.nn.sequence import SequenceEncoder
from multitudes.nn.user_config import UserTowerConfig


class UserInputs(NamedTuple):
    """What the user tower reads, after the items have been looked up."""

    item_BLD: Tensor  # encoded history items, see UserTower.encode
    valid_BL: Tensor
    follow_BF: Tensor
    topic_BC: Tensor  # conditions of the explicit interests, 0 = none
    feature_BP: Tensor


class UserVectors(NamedTuple):
    """One vector per interest and, for each history event, the column of its implicit interest (-1 = none)."""

    interests: Interests
    assignment_BL: Tensor


class UserTower(nn.Module):
    """One tower for every kind of interest.

    Deviation: a residual carries (what the interest reads + its condition) past the crossing, so that with the
    crossing at zero a user vector already lies among the items; on small corpora a tower without it learns little.
    """

    def __init__(
        self, config: UserTowerConfig, method: Method, topics: nn.Embedding, n_actions: int, n_features: int
    ) -> None:
        super().__init__()
        width, dropout = config.width, config.dropout
        self.config = config
        self.topics = topics  # shared with the item tower: a followed topic and an item's topic are one thing
        self.action = nn.Embedding(n_actions + 1, width, padding_idx=0)
        nn.init.normal_(self.action.weight[1:], std=0.05)
        self.history = mlp(2 * width, config.crossing.hidden, width, dropout)
        self.sequence = (
            SequenceEncoder(config.sequence, width, config.history, dropout) if config.sequence.blocks else None
        )
        self.single = Single(width)
        self.implicit = build_implicit(METHODS[method], config)
        self.conditional = Conditional(width) if METHODS[method].explicit else None
        self.keeps_single = method in ("single", "joint") or config.unconditioned
        self.feature = nn.Linear(n_features, width, bias=False) if n_features else None
        # condition, what the interest reads, the whole history, the follows, the user's features
        fields = 4 + (n_features > 0)
        self.crossing = crossing(config.crossing, fields, width, dropout)  # of the unconditioned vector
        conditioned = self.implicit is not None or self.conditional is not None
        self.interest_crossing = crossing(config.crossing, fields, width, dropout) if conditioned else None

    def encode(self, input_ND: Tensor, action_N: Tensor) -> Tensor:
        """Return e_i = x + MLP(x, action), shape as ``input_ND``; x is the item tower's input (method §2)."""
        action_ND = self.action(action_N)
        encoded: Tensor = input_ND + action_ND + self.history(torch.cat([input_ND, action_ND], dim=-1))
        return encoded

    def forward(
        self, inputs: UserInputs, generator: torch.Generator | None = None, at_random: bool = False
    ) -> UserVectors:
        """Return the user vectors.

        Args:
            inputs: see UserInputs.
            generator: draws first seeds (training) or parts (``at_random``). None: deterministic, as in serving.
            at_random: replace the interests by a random partition of the history, the control of method §9.
        """
        whole_BL = torch.where(inputs.valid_BL, 0, -1)
        whole_BLD = self._read(inputs.item_BLD, whole_BL)
        whole_BD = self._summary(whole_BLD, inputs.valid_BL)
        follow_BD = masked_mean(self.topics(inputs.follow_BF), topic_known(inputs.follow_BF))
        shared = [whole_BD, follow_BD]
        if self.feature is not None:
            shared.append(self.feature(inputs.feature_BP))
        columns = []
        if self.keeps_single:
            single = self.single(inputs.valid_BL.any(dim=1) | topic_known(inputs.follow_BF).any(dim=1))
            columns.append(self._cross(self.crossing, single, whole_BD.unsqueeze(1), shared))
        assignment_BL = torch.full_like(whole_BL, -1)
        if self.interest_crossing is not None:
            conditions, read_BKD, assignment_BL = self._conditions(inputs, whole_BLD, whole_BD, generator, at_random)
            shared = [self.hold(field_BD) for field_BD in shared]
            columns.append(self._cross(self.interest_crossing, conditions, read_BKD, shared))
        return UserVectors(concatenate(columns), assignment_BL)

    def _conditions(
        self,
        inputs: UserInputs,
        whole_BLD: Tensor,
        whole_BD: Tensor,
        generator: torch.Generator | None,
        at_random: bool,
    ) -> tuple[Interests, Tensor, Tensor]:
        """Return implicit and explicit conditions, what each reads (B, K, D), and the events' columns (B, L)."""
        parts, reads = [], []
        assignment_BL = torch.full_like(inputs.valid_BL, -1, dtype=torch.int64)
        if self.implicit is not None:
            implicit, assignment_BL = self._implicit(inputs, self.hold(whole_BLD), generator, at_random)
            parts.append(implicit)
            reads.append(self._interest_reads(inputs, whole_BD, assignment_BL))
            assignment_BL = torch.where(assignment_BL >= 0, assignment_BL + int(self.keeps_single), -1)
        if self.conditional is not None:
            topic_BCD = self.hold(self.topics(inputs.topic_BC))
            parts.append(self.conditional(topic_BCD, topic_known(inputs.topic_BC)))
            reads.append(whole_BD.unsqueeze(1).expand_as(topic_BCD))
        return concatenate(parts), self.hold(torch.cat(reads, dim=1)), assignment_BL

    def hold(self, values: Tensor) -> Tensor:
        """Stop the gradient of the interests where they must leave the unconditioned tower as it is."""
        return values.detach() if self.config.isolate and self.keeps_single else values

    def _implicit(
        self, inputs: UserInputs, whole_BLD: Tensor, generator: torch.Generator | None, at_random: bool
    ) -> tuple[Interests, Tensor]:
        assert self.implicit is not None
        item_BLD = self.hold(inputs.item_BLD) if self.config.cluster_on == "items" else whole_BLD
        first_seed = generator if self.training else None
        implicit, assignment_BL = self.implicit(item_BLD, inputs.valid_BL, first_seed)
        if at_random or self.config.partition == "random":
            assert generator is not None
            order_L = torch.rand(self.config.history, generator=generator)[: item_BLD.shape[1]].to(item_BLD.device)
            return random_partition(item_BLD, inputs.valid_BL, implicit.mask_BK, order_L)
        return implicit, assignment_BL

    def _read(self, item_BLD: Tensor, group_BL: Tensor) -> Tensor:
        return item_BLD if self.sequence is None else self.sequence(item_BLD, group_BL)

    def _summary(self, state_BLD: Tensor, member_BL: Tensor) -> Tensor:
        """Summarise the member events: the newest one's encoding, or their mean without an encoder; (B, D)."""
        if self.sequence is None:
            return masked_mean(state_BLD, member_BL)
        newest_B = member_BL.to(torch.int64).argmax(dim=1)
        newest_BD = state_BLD.gather(1, newest_B.view(-1, 1, 1).expand(-1, 1, state_BLD.shape[2])).squeeze(1)
        return newest_BD * member_BL.any(dim=1, keepdim=True)

    def _interest_reads(self, inputs: UserInputs, whole_BD: Tensor, assignment_BL: Tensor) -> Tensor:
        """Return what each implicit interest reads (B, K, D)."""
        k = self.config.interests
        if self.config.reads == "history":
            return whole_BD.unsqueeze(1).expand(-1, k, -1)
        own_BLD = self._read(self.hold(inputs.item_BLD), assignment_BL)
        return torch.stack([self._summary(own_BLD, assignment_BL == j) for j in range(k)], dim=1)

    def _cross(self, crossing_: nn.Module, conditions: Interests, read_BKD: Tensor, shared: list[Tensor]) -> Interests:
        """Let each condition meet what it reads and the user's own features (B, K, F, D)."""
        shared_BKD = [field_BD.unsqueeze(1).expand_as(read_BKD) for field_BD in shared]
        field_BKFD = torch.stack([conditions.vectors_BKD, read_BKD, *shared_BKD], dim=2)
        vectors_BKD: Tensor = conditions.vectors_BKD + read_BKD + crossing_(field_BKFD)
        if self.config.similarity == "cosine":
            vectors_BKD = unit(vectors_BKD) / self.config.temperature
        return conditions._replace(vectors_BKD=vectors_BKD)


def concatenate(parts: list[Interests]) -> Interests:
    """Put interests of several kinds beside each other."""
    return Interests(*(torch.cat(columns, dim=1) for columns in zip(*parts, strict=True)))
