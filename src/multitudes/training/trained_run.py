"""A trained run: its folder, and the model opened from it.

::

    RUN/run.json              method, seed, settings, data, versions, best epoch, shares of the kinds of interests
        weights.safetensors   weights of the best epoch
        state.safetensors     optimiser state at the end of that epoch, for a warm start; see training.optimizer_state
        metrics.jsonl         one line per epoch: loss by kind, validation hit rate, speed
        checkpoint/           state of an interrupted run; deleted when the run is finished
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from multitudes.batches.examples import item_topics
from multitudes.batches.histories import Histories, slice_histories
from multitudes.batches.user_vectors import InterestKind, UserHistories, UserVectors, concatenate_vectors
from multitudes.data.prepared import PreparedData
from multitudes.errors import ArtefactError, UsageError
from multitudes.ids import Id
from multitudes.linear.neighbours import NeighbourSource
from multitudes.nn.methods import METHODS, Method, Partition
from multitudes.nn.two_tower import DataSizes, HistoryInputs, ItemFeatures, TwoTower
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.pinnersage.run import item_embeddings
from multitudes.retrieval.config import Blend
from multitudes.retrieval.response import Recommendation
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.user_vectors import USER_TOWER_INPUTS
from multitudes.run_record import ListDefaults, open_prepared, parse_config, read_record
from multitudes.training.config import RunConfig
from multitudes.training.run_release import retriever_in_memory

WEIGHTS = "weights.safetensors"
_DAMAGED = (OSError, LookupError, TypeError, ValueError, RuntimeError, SafetensorError)  # by any of torch and JSON
_ITEMS_PER_CHUNK = 65_536  # items whose vectors are computed at once
USERS_PER_CHUNK = 1024  # users whose vectors are computed at once


def build_model(prepared: PreparedData, method: Method, config: UserTowerConfig) -> TwoTower:
    """Return an untrained model for ``prepared``; weights are drawn from torch's current seed.

    Raises:
        DataError, UsageError: the item tower is frozen, and the items have no vectors, or of another width.
    """
    if config.item_tower == "frozen" and (width := item_embeddings(prepared).shape[1]) != config.width:
        given = f"the column 'embedding' is {width} wide and [model] width is {config.width}"
        raise UsageError(f"{prepared.path}: {given}; a frozen item tower needs model.width={width}")
    sizes = DataSizes(prepared.n_topics, prepared.n_actions, prepared.user_feature.shape[1])
    return TwoTower(config, method, item_features(prepared), sizes)


def item_features(prepared: PreparedData) -> ItemFeatures:
    """Return the features of every item; row 0 is the unknown item."""
    rows = np.arange(prepared.n_items + 1)
    content = prepared.item_embedding
    return ItemFeatures(
        topic_NG=torch.from_numpy(item_topics(prepared, rows)),
        feature_NF=_map_tensor(prepared.item_feature),
        content_NE=torch.zeros(len(rows), 0) if content is None else _map_tensor(content),
    )


def _map_tensor(array: NDArray[np.float32]) -> Tensor:
    """Return the values as a memory map, so that no page is in memory before it is read.

    The map is copy-on-write, since torch warns about read-only arrays; nothing writes to it.
    """
    if not isinstance(array, np.memmap):
        return torch.from_numpy(np.array(array))
    assert array.filename is not None
    return torch.from_numpy(
        np.memmap(array.filename, dtype=array.dtype, mode="c", offset=array.offset, shape=array.shape)
    )


class TrainedRun:
    """A trained model with its prepared data, as evaluation and publishing use it; a ``Scorer``."""

    controls: tuple[Partition, ...] = ("random", "other_user")

    def __init__(
        self,
        path: Path,
        prepared: PreparedData,
        config: RunConfig,
        model: TwoTower,
        neighbours: NeighbourSource | None = None,
    ) -> None:
        self.path = path
        self.prepared = prepared
        self.config = config
        self.model = model
        self.neighbours = neighbours  # what own events propose beside the vectors

    @classmethod
    def open(cls, path: str | Path, prepared: str | Path | None = None) -> "TrainedRun":
        """Open a finished run with its weights, on the CPU, by the path of its folder.

        ``prepared`` is where its prepared data is now, if it was moved; it must be the same data.

        Raises:
            ArtefactError: the folder is no run, the run is unfinished or damaged, or its data has changed since.
        """
        folder = Path(path)
        record = read_record(folder)
        if not record.get("finished"):
            raise ArtefactError(
                f"{folder}: training is not finished; run the command that began it again, with --resume"
            )
        data = open_prepared(record, folder, prepared)
        config = parse_config(RunConfig, record, folder)
        model = build_model(data, config.method, config.model)
        load_weights(model, folder / WEIGHTS)
        return cls(folder, data, config, model, NeighbourSource.open(folder, record, data.n_items))

    @property
    def blend(self) -> Blend:
        """The blend of the method."""
        return METHODS[self.config.method].blend

    @cached_property
    def list_defaults(self) -> ListDefaults:
        """Shares, blend and calibration of its lists, chosen on validation; see training.selection."""
        record = read_record(self.path)
        return ListDefaults(record["shares"], self.blend, record["calibration"])

    @cached_property
    def retriever(self) -> Retriever:
        """Answers from memory, as the release of this run with an exact index does."""
        return retriever_in_memory(self, _TorchTower(self.model))

    def recommend(
        self,
        user_id: Id | None = None,
        *,
        history: Sequence[Id] | None = None,
        followed_topics: Sequence[str] | None = None,
        n: int = 100,
    ) -> Recommendation:
        """Recommend items without a release; ``retriever`` has all other ways to ask.

        Args:
            user_id: a user of the data. An unknown user gets popular items, and the answer is marked as degraded.
            history: item ids of an anonymous user, newest last.
            followed_topics: topic names of an anonymous user.
            n: number of candidates.

        Returns:
            The candidates, best first, and the interests that brought them.

        Raises:
            UsageError: neither or both of a user and a description are given, or ``n`` is out of bounds.
        """
        return self.retriever.recommend(user_id, history=history, followed_topics=followed_topics, n=n)

    def kinds(self, topics: int) -> tuple[InterestKind, ...]:
        """Return the kind of every column of the user vectors for ``topics`` conditions."""
        kinds: list[InterestKind] = ["unconditioned"] * self.model.has_unconditioned
        kinds += ["implicit"] * self.model.n_implicit
        kinds += ["explicit"] * (topics if self.model.has_explicit else 0)
        return tuple(kinds)

    def item_inputs(self) -> NDArray[np.float32]:
        """Return the history-side input of every item (I + 1, D); row 0 is the unknown item."""
        return self._of_items(lambda input_iD, _: input_iD)

    def item_vectors(self) -> NDArray[np.float32]:
        """Return the vector of every item (I + 1, D), as in the index; row 0, the unknown item, is zero."""
        return self._item_vectors

    @cached_property
    def _item_vectors(self) -> NDArray[np.float32]:
        content_NE = self.model.items.content_NE
        vectors = self._of_items(lambda input_iD, items: self.model.item_vectors(input_iD, content_NE[items]))
        vectors[0] = 0.0
        return vectors

    @torch.no_grad()
    def _of_items(self, function: Callable[[Tensor, slice], Tensor]) -> NDArray[np.float32]:
        """Return what a function makes of the inputs of every item (I + 1, D), some items at a time."""
        self.model.eval()
        weight = self.model.items.id_embedding.weight
        found = np.empty(weight.shape, dtype=np.float32)
        for start in range(0, len(found), _ITEMS_PER_CHUNK):
            items = slice(start, min(start + _ITEMS_PER_CHUNK, len(found)))
            input_iD = self.model.items.inputs(torch.arange(items.start, items.stop, device=weight.device))
            found[items] = function(input_iD, items).cpu().numpy()
        return found

    def user_vectors(self, users: UserHistories, partition: Partition = "interests") -> UserVectors:
        """Return the vectors of B users; they are deterministic and do not depend on the other users.

        The models read only the order of events, not their times. ``partition``: see ``UserTower.forward``.
        """
        rows = [slice(start, start + USERS_PER_CHUNK) for start in range(0, len(users.topic_BC), USERS_PER_CHUNK)]
        chunks = [
            self._user_vectors(slice_histories(users.histories, row), users.topic_BC[row], partition) for row in rows
        ]
        return concatenate_vectors(chunks)

    @torch.no_grad()
    def _user_vectors(self, histories: Histories, topic_BC: NDArray[np.int64], partition: Partition) -> UserVectors:
        self.model.eval()
        device = self.model.items.id_embedding.weight.device
        action_BL, valid_BL, follow_BF, feature_BP, topics = (
            torch.from_numpy(array).to(device) for array in (*histories[1:], topic_BC)
        )
        items, row_BL = np.unique(histories.item_BL, return_inverse=True)
        input_BLD = self.model.items.inputs(torch.from_numpy(items).to(device))[torch.from_numpy(row_BL).to(device)]
        users = HistoryInputs(input_BLD, action_BL, valid_BL, follow_BF, topics, feature_BP)
        generator = torch.Generator().manual_seed(self.config.seed)  # used only by random partitions
        vectors, assignment_BL = self.model.user_vectors(users, generator, partition)
        kinds = self.kinds(topic_BC.shape[1])
        topic_BK = np.zeros((len(topic_BC), len(kinds)), dtype=np.int64)
        if "explicit" in kinds:
            topic_BK[:, len(kinds) - topic_BC.shape[1] :] = topic_BC
        return UserVectors(
            kinds,
            vectors.vectors_BKD.cpu().numpy(),
            vectors.weight_BK.cpu().numpy(),
            vectors.mask_BK.cpu().numpy(),
            topic_BK,
            assignment_BL.cpu().numpy(),
            histories.valid_BL.sum(axis=1),
        )


def named_weights(model: TwoTower) -> dict[str, Tensor]:
    """Return the weights by name, each once; the topic embedding is shared by both towers."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def load_weights(model: TwoTower, file: Path) -> None:
    """Load weights into ``model``.

    Raises:
        ArtefactError: the file is missing, damaged or of another shape.
    """
    own = named_weights(model)
    with translate_read_errors(file):
        loaded = load_file(file)
        if {name: tensor.shape for name, tensor in loaded.items()} != {name: one.shape for name, one in own.items()}:
            raise ValueError
    for name, tensor in own.items():
        tensor.copy_(loaded[name])


@contextmanager
def translate_read_errors(file: Path, repair: str = "train again with --overwrite") -> Iterator[None]:
    """Turn errors of reading ``file`` into an error of one line that ends with ``repair``: what to do.

    Raises:
        ArtefactError: the file is missing, damaged, or belongs to another model.
    """
    try:
        yield
    except FileNotFoundError:
        raise ArtefactError(f"{file}: missing; {repair}") from None
    except _DAMAGED as error:
        raise ArtefactError(f"{file}: damaged, or of another model ({type(error).__name__}); {repair}") from None


class _TorchTower:
    """The user tower with the calls of an ONNX session."""

    def __init__(self, model: TwoTower) -> None:
        self._model = model

    def get_inputs(self) -> list[SimpleNamespace]:
        """Return the inputs, of which retrieval reads the names."""
        return [SimpleNamespace(name=name) for name in USER_TOWER_INPUTS]

    @torch.no_grad()
    def run(self, outputs: object, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return ``USER_TOWER_OUTPUTS``."""
        del outputs
        self._model.eval()
        device = self._model.items.id_embedding.weight.device
        tensors = (torch.from_numpy(np.ascontiguousarray(inputs[name])).to(device) for name in USER_TOWER_INPUTS)
        vectors = self._model.user_vectors(HistoryInputs(*tensors))
        return [tensor.cpu().numpy() for tensor in (*vectors.interests, vectors.assignment_BL)]
