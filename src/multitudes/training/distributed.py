"""Training by several processes: how they find each other, and the collective operations between them.

Each process, a rank, trains on its rows of the same batch. A model is written for one device and the loop for one
process. The few places where ranks differ use ``Ranks``, which does nothing if there is only one. ``join_ranks``
connects the ranks that ``torchrun`` has started; ``report_error_once`` makes one of them report an error for all.

The item embedding table is sharded by rows: each rank keeps its rows, a contiguous range, with their optimiser state. A
rank requests the rows of its batch from their owners, all at once, and sends the gradients back the same way; they are
sparse, like those of an unsharded table.

Legend: N rows of all ranks together, R of them on this rank · D width · M items requested · W ranks.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from multitudes.errors import MultitudesError, StoppedError, UnavailableError
from multitudes.nn.two_tower import TwoTower

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

# Threads of gloo release the last message after its receiver has continued, and need the interpreter to do so. If the
# interpreter is already shutting down, C++ aborts the process. While this thread sleeps, they can finish.
_GLOO_DRAIN_S = 0.2


@dataclass(frozen=True)
class Ranks:
    """The processes that train one model; by default there is one, and no communication."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that validates, writes shared files and reports."""
        return self.rank == 0

    def own_rows(self, n: int) -> slice:
        """Return the rows of this rank among ``n``: a contiguous range, as long as those of the others or shorter."""
        each = self.rows_per_rank(n)
        return slice(min(self.rank * each, n), min((self.rank + 1) * each, n))

    def rows_per_rank(self, n: int) -> int:
        """Return the largest number of rows among ``n`` that a rank has."""
        return -(-n // self.size)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of the ``values`` of all ranks; overwrites them in place."""
        if self.size > 1:
            _communicate(lambda: dist.all_reduce(values))
        return values

    def any(self, here: bool) -> bool:
        """Return whether the flag is set on any rank."""
        return bool(self.sum(torch.tensor(float(here)))) if self.size > 1 else here

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """Return the ``values`` of the first rank; all ranks must pass equally many."""
        shared = torch.tensor(values, dtype=torch.float64)
        if self.size > 1:
            _communicate(lambda: dist.broadcast(shared, src=0))
        return [float(value) for value in shared]

    def barrier(self) -> None:
        """Wait until all ranks have called this."""
        self.any(False)

    def all_gather(self, own_RD: Tensor, n: int) -> Tensor:
        """Return all N rows; each rank passes its own rows, and gradients flow back to the rank of each row."""
        gathered: Tensor = own_RD if self.size == 1 else _Gather.apply(own_RD, n, self)  # type: ignore[no-untyped-call]
        return gathered

    def all_to_all(self, rows_RD: Tensor, send: list[int], receive: list[int]) -> Tensor:
        """Send ``send`` rows to each rank and return the ``receive`` rows of each; gradients flow back the same way."""
        exchanged: Tensor = _Exchange.apply(rows_RD, send, receive)  # type: ignore[no-untyped-call]
        return exchanged

    def gather_to_first(self, own_RD: Tensor, n: int) -> Tensor | None:
        """Return all N rows on the first rank, None on the others, which need no memory for them."""
        if self.size == 1:
            return own_RD
        padded = _pad_rows(own_RD, self.rows_per_rank(n))
        gathered = [torch.empty_like(padded) for _ in range(self.size)] if self.is_first else None
        _communicate(lambda: dist.gather(padded, gathered, dst=0))
        return None if gathered is None else torch.cat(gathered)[:n]


SINGLE_PROCESS = Ranks()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, own_RD: Tensor, n: int, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks  # type: ignore[attr-defined]
        padded = _pad_rows(own_RD, ranks.rows_per_rank(n))
        gathered = [torch.empty_like(padded) for _ in range(ranks.size)]
        _communicate(lambda: dist.all_gather(gathered, padded))
        return torch.cat(gathered)[:n]

    @staticmethod
    def backward(ctx: FunctionCtx, grad_ND: Tensor) -> tuple[Tensor, None, None]:
        ranks: Ranks = ctx.ranks  # type: ignore[attr-defined]
        grad_ND = ranks.sum(grad_ND.contiguous().clone())
        return grad_ND[ranks.own_rows(len(grad_ND))], None, None


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, rows_RD: Tensor, send: list[int], receive: list[int]) -> Tensor:
        ctx.send, ctx.receive = send, receive  # type: ignore[attr-defined]
        return _all_to_all(rows_RD, send, receive)

    @staticmethod
    def backward(ctx: FunctionCtx, grad_RD: Tensor) -> tuple[Tensor, None, None]:
        return _all_to_all(grad_RD, ctx.receive, ctx.send), None, None  # type: ignore[attr-defined]


def _all_to_all(rows_RD: Tensor, send: list[int], receive: list[int]) -> Tensor:
    received = rows_RD.new_empty((sum(receive), *rows_RD.shape[1:]))
    _communicate(lambda: dist.all_to_all_single(received, rows_RD.contiguous(), receive, send))
    return received


def _pad_rows(own_RD: Tensor, rows: int) -> Tensor:
    """Return the rows followed by rows of zeros: gathered tensors must have equal length on all ranks."""
    padded = own_RD.new_zeros(rows, *own_RD.shape[1:])
    padded[: len(own_RD)] = own_RD.detach()
    return padded


def _communicate(call: Callable[[], object]) -> None:
    """Call a collective operation; report its failure as an error of one line."""
    try:
        call()
    except RuntimeError as error:
        rank, size = dist.get_rank(), dist.get_world_size()
        raise UnavailableError(
            f"rank {rank} of {size}: another rank ended or does not respond ({str(error).splitlines()[0][:160]});"
            " see its message, then continue with --resume"
        ) from None


@contextmanager
def join_ranks(timeout_s: float) -> Iterator[Ranks]:
    """Join the ranks that ``torchrun`` started; without torchrun this is the only one.

    Each waits ``timeout_s`` for the others, then it fails.

    Raises:
        UnavailableError: the other ranks did not join in time, or a rank no longer responds.
    """
    size = world_size()
    if size == 1:
        yield SINGLE_PROCESS
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    # Gloo exchanges tensors on the CPU, NCCL those on a GPU.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        rank = int(os.environ["RANK"])
        store = _open_store(timeout_s, serve=rank == 0 and not _uses_launcher_store())
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s), store=store, rank=rank, world_size=size)
    except (RuntimeError, ValueError, KeyError) as error:
        raise UnavailableError(f"the ranks of this run could not connect: {str(error).splitlines()[0][:160]}") from None
    yield Ranks(rank, size)
    dist.destroy_process_group()  # not after an error: it could wait for a rank that has ended
    time.sleep(_GLOO_DRAIN_S)


def world_size() -> int:
    """Return the number of ranks that ``torchrun`` started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_rank() -> bool:
    """Return whether this is the first rank; works before the ranks have joined."""
    return os.environ.get("RANK", "0") == "0" or world_size() == 1


def is_restart() -> bool:
    """Return whether ``torchrun`` has restarted the ranks after one of them was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


@contextmanager
def report_error_once() -> Iterator[None]:
    """Report an error on one rank; the others end with the same exit code and no message.

    The first rank that fails reports an error. An interrupt reaches all ranks, and rank 0 reports it.
    """
    try:
        yield
    except KeyboardInterrupt:
        if world_size() > 1:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # torchrun forwards what the terminal has already sent
            if not is_first_rank():
                raise StoppedError("") from None
        raise
    except MultitudesError as error:
        if world_size() > 1 and not _is_first_to_report():
            raise type(error)("") from None
        raise


def _is_first_to_report() -> bool:
    try:
        # Torch logs pages of errors for a host that it cannot reach, at every retry: so try the connection first.
        socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), timeout=5).close()
        return int(_open_store(5.0).add("errors", 1)) == 1
    except (OSError, RuntimeError, KeyError, ValueError):
        return True  # the store is gone, so no other rank has reported


def _open_store(timeout_s: float, serve: bool = False) -> "Store":
    """Return the key-value store shared by the ranks of this start; keys of an earlier start would mislead them.

    The store of a launcher outlives a start, so its keys have the number of restarts as prefix. A store of the first
    rank ends with it, and there the number must not be used: a host that was lost comes back with a new launcher, which
    counts from zero.
    """
    store = dist.TCPStore(  # type: ignore[attr-defined]
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=serve,
        timeout=timedelta(seconds=timeout_s),
        wait_for_workers=False,
    )
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if _uses_launcher_store() else "0"
    return dist.PrefixStore(f"multitudes/{start}", store)  # type: ignore[attr-defined]


def _uses_launcher_store() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


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
