"""Training by several processes: who takes part, and what they tell each other.

Each process, a rank, trains on its rows of the same batch. A model is written for one device and the loop for one
process; the few places where ranks differ ask ``Ranks``, which does nothing where there is only one.

How they find each other is ``train/rendezvous.py``'s.

Legend: N rows that all ranks have together, R of them here · D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx

from multitudes.errors import UnavailableError


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
