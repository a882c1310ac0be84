"""Training by several processes: who takes part, and what they tell each other.

Each process, a rank, trains on its rows of the same batch. A model is written for one device and the loop for one
process; the few places where ranks differ ask ``Ranks``, which does nothing where there is only one.

``torchrun`` starts the ranks and says in the environment how they find each other.

Legend: N rows that all ranks have together, R of them here · D width.
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

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store


# Threads of gloo let go of the last message after whoever waited for it went on, and need the interpreter for that:
# where it is ending by then, C++ aborts the process. While this one sleeps, it is theirs.
_LETTING_GO_S = 0.2


@dataclass(frozen=True)
class Ranks:
    """The processes that train one model; by default there is one, and nothing is exchanged."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this rank is the one that judges, writes and speaks."""
        return self.rank == 0

    def part(self, n: int) -> slice:
        """Return which of ``n`` rows are this rank's: a stretch, as long as the others' or shorter."""
        each = self.each(n)
        return slice(min(self.rank * each, n), min((self.rank + 1) * each, n))

    def each(self, n: int) -> int:
        """Return the most rows of ``n`` that a rank has."""
        return -(-n // self.size)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of all ranks' ``values``, which it overwrites."""
        if self.size > 1:
            _said(lambda: dist.all_reduce(values))
        return values

    def any(self, here: bool) -> bool:
        """Return whether it is so at any rank."""
        return bool(self.sum(torch.tensor(float(here)))) if self.size > 1 else here

    def tell(self, values: Sequence[float]) -> list[float]:
        """Return the first rank's ``values``; the others' must be as many."""
        told = torch.tensor(values, dtype=torch.float64)
        if self.size > 1:
            _said(lambda: dist.broadcast(told, src=0))
        return [float(value) for value in told]

    def wait(self) -> None:
        """Go on when all have come here."""
        self.any(False)

    def gather(self, part_RD: Tensor, n: int) -> Tensor:
        """Return all N rows, of which each rank has its ``part``; gradients find their way back to it."""
        gathered: Tensor = part_RD if self.size == 1 else _Gather.apply(part_RD, n, self)  # type: ignore[no-untyped-call]
        return gathered

    def exchange(self, rows_RD: Tensor, give: list[int], take: list[int]) -> Tensor:
        """Give each rank its rows, in the order of the ranks, and return what they give; gradients go the way back."""
        exchanged: Tensor = _Exchange.apply(rows_RD, give, take)  # type: ignore[no-untyped-call]
        return exchanged

    def collect(self, part_RD: Tensor, n: int) -> Tensor | None:
        """Return all N rows to the first rank; None to the others, who need no room for them."""
        if self.size == 1:
            return part_RD
        padded = _padded(part_RD, self.each(n))
        pieces = [torch.empty_like(padded) for _ in range(self.size)] if self.first else None
        _said(lambda: dist.gather(padded, pieces, dst=0))
        return None if pieces is None else torch.cat(pieces)[:n]


ALONE = Ranks()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, part_RD: Tensor, n: int, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks  # type: ignore[attr-defined]
        padded = _padded(part_RD, ranks.each(n))
        pieces = [torch.empty_like(padded) for _ in range(ranks.size)]
        _said(lambda: dist.all_gather(pieces, padded))
        return torch.cat(pieces)[:n]

    @staticmethod
    def backward(ctx: FunctionCtx, grad_ND: Tensor) -> tuple[Tensor, None, None]:
        ranks: Ranks = ctx.ranks  # type: ignore[attr-defined]
        grad_ND = ranks.sum(grad_ND.contiguous().clone())
        return grad_ND[ranks.part(len(grad_ND))], None, None


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, rows_RD: Tensor, give: list[int], take: list[int]) -> Tensor:
        ctx.give, ctx.take = give, take  # type: ignore[attr-defined]
        return _all_to_all(rows_RD, give, take)

    @staticmethod
    def backward(ctx: FunctionCtx, grad_RD: Tensor) -> tuple[Tensor, None, None]:
        return _all_to_all(grad_RD, ctx.take, ctx.give), None, None  # type: ignore[attr-defined]


def _all_to_all(rows_RD: Tensor, give: list[int], take: list[int]) -> Tensor:
    taken = rows_RD.new_empty((sum(take), *rows_RD.shape[1:]))
    _said(lambda: dist.all_to_all_single(taken, rows_RD.contiguous(), take, give))
    return taken


def _padded(part_RD: Tensor, rows: int) -> Tensor:
    """Return the part with rows of zeros behind it: what is gathered must be equally long everywhere."""
    padded = part_RD.new_zeros(rows, *part_RD.shape[1:])
    padded[: len(part_RD)] = part_RD.detach()
    return padded


def _said(call: Callable[[], object]) -> None:
    """Exchange something, and say in one line that it did not come to be."""
    try:
        call()
    except RuntimeError as error:
        rank, size = dist.get_rank(), dist.get_world_size()
        raise UnavailableError(
            f"rank {rank} of {size}: another rank ended or does not answer ({str(error).splitlines()[0][:160]});"
            " see what it said, and go on with --resume"
        ) from None


@contextmanager
def joined(timeout_s: float) -> Iterator[Ranks]:
    """Join the ranks that ``torchrun`` started; alone where it did not.

    Args:
        timeout_s: how long a rank waits for another before it gives up.

    Raises:
        UnavailableError: the others were not there in time, or a rank does not answer any more.
    """
    size = world_size()
    if size == 1:
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    # What is small and known to the processor goes by gloo, what lies on a GPU by NCCL.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        rank = int(os.environ["RANK"])
        store = _store(timeout_s, serve=rank == 0 and not _of_launcher())
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s), store=store, rank=rank, world_size=size)
    except (RuntimeError, ValueError, KeyError) as error:
        raise UnavailableError(f"the ranks of this run did not meet: {str(error).splitlines()[0][:160]}") from None
    yield Ranks(rank, size)
    dist.destroy_process_group()  # not after an error: it might wait for who is gone
    time.sleep(_LETTING_GO_S)


def world_size() -> int:
    """Return how many ranks ``torchrun`` started; 1 where it did not."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Return whether this is the rank that speaks, before it has joined the others."""
    return os.environ.get("RANK", "0") == "0" or world_size() == 1


def restarted() -> bool:
    """Return whether ``torchrun`` has started the ranks anew after one of them was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


@contextmanager
def one_speaks() -> Iterator[None]:
    """Let one rank say why all end; the others end with its exit code and no word.

    An error is said by the first that finds out; that a person interrupted, which all are told, by the first rank.
    """
    try:
        yield
    except KeyboardInterrupt:
        if world_size() > 1:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # torchrun hands on what a terminal has sent already
            if not is_first():
                raise StoppedError("") from None
        raise
    except MultitudesError as error:
        if world_size() > 1 and not _first_to_say():
            raise type(error)("") from None
        raise


def _first_to_say() -> bool:
    try:
        # Of a host that cannot be reached torch speaks in pages, each time that it tries again.
        socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), timeout=5).close()
        return int(_store(5.0).add("said", 1)) == 1
    except (OSError, RuntimeError, KeyError, ValueError):
        return True  # nobody is left to ask


def _store(timeout_s: float, serve: bool = False) -> "Store":
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
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if _of_launcher() else "0"
    return dist.PrefixStore(f"multitudes/{start}", store)  # type: ignore[attr-defined]


def _of_launcher() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
