"""The user tower: one vector per interest from history, followed topics and features (Fan et al., KDD 2025).

The sequence encoder runs once over the entire history and once over the events of each interest; the condition of each
interest then enters the same crossing. Columns of the result: [unconditioned] [implicit 1..K] [explicit 1..C].

Legend: B users · L history, column 0 the most recent · K interests · C conditions · F followed topics · P user features
· S moments · R sets of events · D width.
"""

from typing import Final, NamedTuple

import torch
from torch import Generator, Tensor, nn

from multitudes.nn.crossing import build_crossing, mlp
from multitudes.nn.interest_assignment import ImplicitInterests, Interests, with_conditions_of_others
from multitudes.nn.interests.random_partition import replace_by_random_partition
from multitudes.nn.methods import METHODS, ImplicitName, Method, Partition, interest_class
from multitudes.nn.primitives import l2_normalize
from multitudes.nn.sequence_encoder import build_sequence_encoder, rows_at
from multitudes.nn.user_tower_config import UserTowerConfig


class Conditional(nn.Module):
    """Explicit interests: conditional retrieval, CR (section 4 of the paper).

    The condition is the learned embedding of a topic: the one that explains the example in training, one that the user
    follows in serving. All have the same importance, since every topic gets the same budget.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.project.weight)

    def forward(self, topic_BCD: Tensor, known_BC: Tensor) -> Interests:
        """Return K = C interests from topic embeddings; ``known_BC`` is False at padding and unknown topics."""
        weight_BC = known_BC.to(topic_BCD.dtype)
        weight_BC = weight_BC / weight_BC.sum(dim=1, keepdim=True).clamp(min=1.0)
        return Interests(self.project(topic_BCD) * known_BC.unsqueeze(2), weight_BC, known_BC)


def is_topic(topic_BC: Tensor) -> Tensor:
    """Return whether each entry is a topic: 0 is padding or unknown."""
    return torch.gt(topic_BC, 0)


_TEMPERATURE: Final = 0.07  # divides cosines


class UserInputs(NamedTuple):
    """Inputs of the user tower, with embedded items."""

    item_BLD: Tensor  # encoded history items, see UserTower.encode
    valid_BL: Tensor  # True = a usable event
    past_BL: Tensor  # valid and before the moment of the vectors; in serving, all valid events
    follow_BF: Tensor
    topic_BC: Tensor  # conditions of the explicit interests, 0 = none
    feature_BP: Tensor


class TowerOutput(NamedTuple):
    """One vector per interest, and the assignment of the history's events to the implicit ones."""

    interests: Interests
    assignment_BL: Tensor  # the column of each event's implicit interest, -1 = none


class UserTower(nn.Module):
    """One tower for every kind of interest.

    Deviation: a residual adds (the state that the interest reads + its condition) to the output of the crossing. Even
    while the crossing is zero, a user vector is then near the item vectors; on small corpora a tower without it learns
    little.
    """

    def __init__(
        self, config: UserTowerConfig, method: Method, topics: nn.Embedding, n_actions: int, n_features: int
    ) -> None:
        super().__init__()
        width, dropout = config.width, config.dropout
        self.config = config
        self.topics = topics  # shared with the item tower: followed topics and topics of items are the same
        self.action = nn.Embedding(n_actions + 1, width, padding_idx=0)
        nn.init.normal_(self.action.weight[1:], std=0.05)
        self.history = mlp(2 * width, config.crossing.hidden, width, dropout)
        self.sequence = build_sequence_encoder(config.sequence, width, config.history, dropout)
        # One learned condition, the same for every user, so that the vector depends only on the user's features.
        self.single = nn.ParameterDict({"condition_D": torch.zeros(width)})
        spec = METHODS[method]
        self.implicit = build_implicit(implicit_method(method, config), config)
        self.conditional = Conditional(width) if spec.explicit else None
        self.has_unconditioned = spec.always_unconditioned or config.unconditioned
        self.feature = nn.Linear(n_features, width, bias=False) if n_features else None
        # condition, state that the interest reads, state of the entire history, followed topics, user features
        fields = 4 + (n_features > 0)
        self.crossing = build_crossing(config.crossing, fields, width, dropout)  # for the unconditioned vector
        conditioned = self.implicit is not None or self.conditional is not None
        self.interest_crossing = build_crossing(config.crossing, fields, width, dropout) if conditioned else None

    @property
    def n_implicit(self) -> int:
        """K, the number of implicit interests; 0 if the method has none."""
        return self.config.interests if self.implicit is not None else 0

    def encode(self, input_ND: Tensor, action_N: Tensor) -> Tensor:
        """Return e_i = x + MLP(x, action), shape as ``input_ND``; x is the item tower's input."""
        action_ND = self.action(action_N)
        encoded: Tensor = input_ND + action_ND + self.history(torch.cat([input_ND, action_ND], dim=-1))
        return encoded

    def forward(
        self, inputs: UserInputs, generator: Generator | None = None, partition: Partition = "interests"
    ) -> TowerOutput:
        """Return the user vectors.

        ``generator`` draws the first seeds of clusters in training, or the random partition; None: deterministic, as in
        serving. The partition "random" replaces the interests by a random partition of the history, "other_user" their
        conditions by those of another user of the batch: two controls.
        """
        return self.vectors(inputs, self.states(inputs) if self.training else None, generator, partition)

    def states(self, inputs: UserInputs) -> Tensor:
        """Return the state of the entire history at every event (B, L, D)."""
        state_BLD: Tensor = self.sequence(inputs.item_BLD, one_group(inputs.valid_BL))
        return state_BLD

    def vectors(
        self,
        inputs: UserInputs,
        state_BLD: Tensor | None,
        generator: Generator | None = None,
        partition: Partition = "interests",
    ) -> TowerOutput:
        """Return the user vectors, see ``forward``, given ``states``; with None, compute only the states needed."""
        implicit: ImplicitInterests | None = None
        if self.implicit is not None:
            implicit = self._implicit_interests(inputs, generator, partition)
        history_BD, read_BKD = self._history_state(inputs, state_BLD, implicit)
        topic_BD = self.mean_followed_topic(inputs.follow_BF)
        columns = []
        if self.has_unconditioned:
            single_B1D = self.unconditioned_vector(history_BD, topic_BD, inputs.feature_BP).unsqueeze(1)
            is_known_B1 = (inputs.past_BL.any(dim=1) | is_topic(inputs.follow_BF).any(dim=1)).unsqueeze(1)
            columns.append(Interests(single_B1D, is_known_B1.to(single_B1D.dtype), is_known_B1))
        if self.interest_crossing is not None:
            conditions, read_BKD = self._interest_conditions(inputs, implicit, history_BD, read_BKD)
            shared = self._user_fields(history_BD, topic_BD, inputs.feature_BP)
            fields = [conditions.vectors_BKD, read_BKD, *shared]
            vectors_BKD = self._cross(self.interest_crossing, conditions.vectors_BKD + read_BKD, fields)
            columns.append(conditions._replace(vectors_BKD=vectors_BKD))
        return TowerOutput(concatenate_interests(columns), self._assignment(inputs, implicit))

    def unconditioned_vector(self, history_SD: Tensor, topic_SD: Tensor, feature_SP: Tensor) -> Tensor:
        """Return the unconditioned vector at S moments (S, D): one per user, or many in dense training.

        The state of the history is zeros if there is none, the mean followed topic if none was known yet.
        """
        condition_SD = self.single["condition_D"].expand_as(history_SD)
        fields = [condition_SD, history_SD, *self._user_fields(history_SD, topic_SD, feature_SP)]
        return self._cross(self.crossing, condition_SD + history_SD, fields)

    def mean_followed_topic(self, follow_BF: Tensor) -> Tensor:
        """Return the mean embedding of the followed topics of each user (B, D), zeros if there is none."""
        topic_BFD = self.topics(follow_BF)
        followed_BF1 = is_topic(follow_BF).unsqueeze(2).to(topic_BFD.dtype)
        mean: Tensor = (topic_BFD * followed_BF1).sum(dim=1) / followed_BF1.sum(dim=1).clamp(min=1.0)
        return mean

    def _user_fields(self, history_SD: Tensor, topic_SD: Tensor, feature_SP: Tensor) -> list[Tensor]:
        """Return the feature fields that all of a user's vectors share."""
        shared = [history_SD, topic_SD]
        return shared if self.feature is None else [*shared, self.feature(feature_SP)]

    def _interest_conditions(
        self, inputs: UserInputs, implicit: ImplicitInterests | None, history_BD: Tensor, read_BKD: Tensor | None
    ) -> tuple[Interests, Tensor]:
        """Return the conditions before the crossing, and the state of the history that each interest reads."""
        conditions, states = [], []
        if implicit is not None:
            if read_BKD is None:
                read_BKD = self._interest_states(inputs, implicit.assignment_BL, history_BD)
            conditions.append(implicit.interests)
            states.append(read_BKD)
        if self.conditional is not None:
            topic_BCD = self.topics(inputs.topic_BC)
            conditions.append(self.conditional(topic_BCD, is_topic(inputs.topic_BC)))
            states.append(history_BD.unsqueeze(1).expand_as(topic_BCD))
        return concatenate_interests(conditions), torch.cat(states, dim=1)

    def _assignment(self, inputs: UserInputs, implicit: ImplicitInterests | None) -> Tensor:
        """Return the column of each event's interest (B, L)."""
        if implicit is None:
            return torch.full_like(inputs.past_BL, -1, dtype=torch.int64)
        column_BL = implicit.assignment_BL + int(self.has_unconditioned)
        return torch.where(implicit.assignment_BL >= 0, column_BL, -1)

    def _implicit_interests(
        self, inputs: UserInputs, generator: Generator | None, partition: Partition
    ) -> ImplicitInterests:
        assert self.implicit is not None
        first_seed = generator if self.training else None
        implicit: ImplicitInterests = self.implicit(inputs.item_BLD, inputs.past_BL, first_seed)
        if partition == "random":
            assert generator is not None
            order_L = torch.rand(inputs.item_BLD.shape[1], generator=generator).to(inputs.item_BLD.device)
            return replace_by_random_partition(implicit.interests, inputs.item_BLD, inputs.past_BL, order_L)
        if partition == "other_user":
            return implicit._replace(interests=with_conditions_of_others(implicit.interests))
        return implicit

    def _history_state(
        self, inputs: UserInputs, state_BLD: Tensor | None, implicit: ImplicitInterests | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the state of the entire history (B, D), and those of interests (B, K, D) if one pass gives both."""
        if state_BLD is not None:
            return newest_state(state_BLD, inputs.past_BL), None
        sets_BRL = inputs.past_BL.unsqueeze(1)
        read = implicit if self.config.reads == "interest" and self.sequence.sets_may_overlap else None
        if read is not None:
            sets_BRL = torch.cat([sets_BRL, self._members(read.assignment_BL)], dim=1)
        state_BRD: Tensor = self.sequence.newest_states(inputs.item_BLD, one_group(inputs.valid_BL), sets_BRL)
        return state_BRD[:, 0], None if read is None else state_BRD[:, 1:]

    def _interest_states(self, inputs: UserInputs, assignment_BL: Tensor, history_BD: Tensor) -> Tensor:
        """Return the state of the history that each implicit interest reads (B, K, D), by a pass of its own."""
        if self.config.reads == "history":
            return history_BD.unsqueeze(1).expand(-1, self.n_implicit, -1)
        member_BKL = self._members(assignment_BL)
        if not self.training:
            return self.sequence.newest_states(inputs.item_BLD, assignment_BL, member_BKL)
        state_BLD = self.sequence(inputs.item_BLD, assignment_BL)
        return torch.stack([newest_state(state_BLD, member_BL) for member_BL in member_BKL.unbind(1)], dim=1)

    def _members(self, assignment_BL: Tensor) -> Tensor:
        """Return the events of each implicit interest (B, K, L)."""
        return assignment_BL.unsqueeze(1) == torch.arange(self.n_implicit, device=assignment_BL.device).unsqueeze(1)

    def _cross(self, crossing: nn.Module, residual: Tensor, fields: list[Tensor]) -> Tensor:
        """Return the crossing of the fields plus the residual (B, K, D) or (S, D); (B, D) is repeated."""
        expanded = [
            field.unsqueeze(1).expand_as(residual) if residual.dim() > field.dim() else field for field in fields
        ]
        vectors: Tensor = residual + crossing(torch.stack(expanded, dim=-2))
        return l2_normalize(vectors) / _TEMPERATURE if self.config.similarity == "cosine" else vectors


def implicit_method(method: Method, config: UserTowerConfig) -> ImplicitName | None:
    """Return the method whose module finds the implicit interests; None if there are none."""
    match METHODS[method].implicit:
        case "own":
            return method
        case "chosen":
            return config.implicit
        case _:
            return None


def build_implicit(name: ImplicitName | None, config: UserTowerConfig) -> nn.Module | None:
    """Return the ``ImplicitModule`` of a method, untrained; None for None."""
    if name is None:
        return None
    module: nn.Module = interest_class(name)(getattr(config, name, None), config.interests, config.width)
    return module


def newest_state(state_BLD: Tensor, member_BL: Tensor) -> Tensor:
    """Return the state of each user's newest member event (B, D), zeros if there is none."""
    newest_B = member_BL.to(torch.int64).argmax(dim=1)
    newest_BD = rows_at(state_BLD, newest_B.unsqueeze(1)).squeeze(1)
    return newest_BD * member_BL.any(dim=1, keepdim=True)


def one_group(valid_BL: Tensor) -> Tensor:
    """Return the group of each event (B, L) where all valid ones belong together."""
    return torch.where(valid_BL, 0, -1)


def concatenate_interests(kinds: list[Interests]) -> Interests:
    """Concatenate interests of several kinds column by column."""
    return Interests(*(torch.cat(columns, dim=1) for columns in zip(*kinds, strict=True)))
