"""Training by several processes: who takes part, and what they tell each other.

Each process, a rank, trains on its rows of the same batch. A model is written for one device and the loop for one
process; the few places where ranks differ ask ``Ranks``, which does nothing where there is only one.

How they find each other is ``training/distributed.py``'s.

Legend: N rows that all ranks have together, R of them here · D width.

How the ranks that ``torchrun`` has started find each other, and which of them speaks for all.

What they then tell each other is ``training/distributed.py``'s.
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
from torch import Tensor
from torch.autograd.function import FunctionCtx

from multitudes.errors import MultitudesError, StoppedError, UnavailableError


@dataclass(frozen=True)
class Ranks:
    """The processes that train one model; by default there is one, and nothing is exchanged."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this rank is the one that judges, writes and speaks."""
        return self.rank == 0

    def own_rows(self, n: int) -> slice:
        """Return which of ``n`` rows are this rank's: a stretch, as long as the others' or shorter."""
        each = self.rows_per_rank(n)
        return slice(min(self.rank * each, n), min((self.rank + 1) * each, n))

    def rows_per_rank(self, n: int) -> int:
        """Return the most rows of ``n`` that a rank has."""
        return -(-n // self.size)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of all ranks' ``values``, which it overwrites."""
        if self.size > 1:
            _communicate(lambda: dist.all_reduce(values))
        return values

    def any(self, here: bool) -> bool:
        """Return whether it is so at any rank."""
        return bool(self.sum(torch.tensor(float(here)))) if self.size > 1 else here

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """Return the first rank's ``values``; the others' must be as many."""
        told = torch.tensor(values, dtype=torch.float64)
        if self.size > 1:
            _communicate(lambda: dist.broadcast(told, src=0))
        return [float(value) for value in told]

    def barrier(self) -> None:
        """Go on when all have come here."""
        self.any(False)

    def all_gather(self, part_RD: Tensor, n: int) -> Tensor:
        """Return all N rows, of which each rank has its ``own_rows``; gradients find their way back to it."""
        gathered: Tensor = part_RD if self.size == 1 else _Gather.apply(part_RD, n, self)  # type: ignore[no-untyped-call]
        return gathered

    def all_to_all(self, rows_RD: Tensor, send: list[int], receive: list[int]) -> Tensor:
        """Give each rank its rows, in the order of the ranks, and return what they give; gradients go the way back."""
        exchanged: Tensor = _Exchange.apply(rows_RD, send, receive)  # type: ignore[no-untyped-call]
        return exchanged

    def gather_to_first(self, part_RD: Tensor, n: int) -> Tensor | None:
        """Return all N rows to the first rank; None to the others, who need no room for them."""
        if self.size == 1:
            return part_RD
        padded = _pad_rows(part_RD, self.rows_per_rank(n))
        pieces = [torch.empty_like(padded) for _ in range(self.size)] if self.is_first else None
        _communicate(lambda: dist.gather(padded, pieces, dst=0))
        return None if pieces is None else torch.cat(pieces)[:n]


SINGLE_PROCESS = Ranks()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, part_RD: Tensor, n: int, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks  # type: ignore[attr-defined]
        padded = _pad_rows(part_RD, ranks.rows_per_rank(n))
        pieces = [torch.empty_like(padded) for _ in range(ranks.size)]
        _communicate(lambda: dist.all_gather(pieces, padded))
        return torch.cat(pieces)[:n]

    @staticmethod
    def backward(ctx: FunctionCtx, grad_ND: Tensor) -> tuple[Tensor, None, None]:
        ranks: Ranks = ctx.ranks  # type: ignore[attr-defined]
        grad_ND = ranks.sum(grad_ND.contiguous().clone())
        return grad_ND[ranks.own_rows(len(grad_ND))], None, None


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, rows_RD: Tensor, give: list[int], take: list[int]) -> Tensor:
        ctx.give, ctx.take = give, take  # type: ignore[attr-defined]
        return _all_to_all(rows_RD, give, take)

    @staticmethod
    def backward(ctx: FunctionCtx, grad_RD: Tensor) -> tuple[Tensor, None, None]:
        return _all_to_all(grad_RD, ctx.take, ctx.give), None, None  # type: ignore[attr-defined]


def _all_to_all(rows_RD: Tensor, send: list[int], receive: list[int]) -> Tensor:
    taken = rows_RD.new_empty((sum(receive), *rows_RD.shape[1:]))
    _communicate(lambda: dist.all_to_all_single(taken, rows_RD.contiguous(), receive, send))
    return taken


def _pad_rows(part_RD: Tensor, rows: int) -> Tensor:
    """Return the part with rows of zeros behind it: what is gathered must be equally long everywhere."""
    padded = part_RD.new_zeros(rows, *part_RD.shape[1:])
    padded[: len(part_RD)] = part_RD.detach()
    return padded


def _communicate(call: Callable[[], object]) -> None:
    """Exchange something, and say in one line that it did not come to be."""
    try:
        call()
    except RuntimeError as error:
        rank, size = dist.get_rank(), dist.get_world_size()
        raise UnavailableError(
            f"rank {rank} of {size}: another rank ended or does not answer ({str(error).splitlines()[0][:160]});"
            " see what it said, and go on with --resume"
        ) from None


if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

# Threads of gloo let go of the last message after whoever waited for it went on, and need the interpreter for that:
# where it is ending by then, C++ aborts the process. While this one sleeps, it is theirs.
_GLOO_DRAIN_S = 0.2


@contextmanager
def join_ranks(timeout_s: float) -> Iterator[Ranks]:
    """Join the ranks that ``torchrun`` started; alone where it did not.

    Args:
        timeout_s: how long a rank waits for another before it gives up.

    Raises:
        UnavailableError: the others were not there in time, or a rank does not answer any more.
    """
    size = world_size()
    if size == 1:
        yield SINGLE_PROCESS
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    # What is small and known to the processor goes by gloo, what lies on a GPU by NCCL.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        rank = int(os.environ["RANK"])
        store = _open_store(timeout_s, serve=rank == 0 and not _uses_launcher_store())
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s), store=store, rank=rank, world_size=size)
    except (RuntimeError, ValueError, KeyError) as error:
        raise UnavailableError(f"the ranks of this run did not meet: {str(error).splitlines()[0][:160]}") from None
    yield Ranks(rank, size)
    dist.destroy_process_group()  # not after an error: it might wait for who is gone
    time.sleep(_GLOO_DRAIN_S)


def world_size() -> int:
    """Return how many ranks ``torchrun`` started; 1 where it did not."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_rank() -> bool:
    """Return whether this is the rank that speaks, before it has joined the others."""
    return os.environ.get("RANK", "0") == "0" or world_size() == 1


def is_restart() -> bool:
    """Return whether ``torchrun`` has started the ranks anew after one of them was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


@contextmanager
def report_error_once() -> Iterator[None]:
    """Let one rank say why all end; the others end with its exit code and no word.

    An error is said by the first that finds out; that a person interrupted, which all are told, by the first rank.
    """
    try:
        yield
    except KeyboardInterrupt:
        if world_size() > 1:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # torchrun hands on what a terminal has sent already
            if not is_first_rank():
                raise StoppedError("") from None
        raise
    except MultitudesError as error:
        if world_size() > 1 and not _is_first_to_report():
            raise type(error)("") from None
        raise


def _is_first_to_report() -> bool:
    try:
        # Of a host that cannot be reached torch speaks in pages, each time that it tries again.
        socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), timeout=5).close()
        return int(_open_store(5.0).add("said", 1)) == 1
    except (OSError, RuntimeError, KeyError, ValueError):
        return True  # nobody is left to ask


def _open_store(timeout_s: float, serve: bool = False) -> "Store":
    """Return where the ranks leave notes for each other, of this start alone: those of an earlier one mislead them.

    The store of a launcher outlives a start, so its notes are apart by how often that launcher has started the ranks. A
    store of the first rank ends with it. There the count must not matter: a host that was lost comes back with a
    launcher of its own, which begins to count anew.
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
