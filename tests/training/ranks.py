"""Ranks of one training in processes of their own, by gloo, and what each of them found."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, multiprocessing

from multitudes.training.distributed import Ranks, join_ranks
from tests.ports import free_port

# It moves all scores of a vector alike and so has no gradient but rounding, which Adam makes steps of.
WITHOUT_GRADIENT = "items.layers.3.bias"


def with_gradient(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with a gradient: attention's bias of keys, which moves all scores of a query, has none."""
    found = {name: weight for name, weight in weights.items() if name != WITHOUT_GRADIENT}
    for name in [name for name in found if name.endswith("qkv.bias")]:
        query, _, value = found[name].chunk(3)
        found[name] = torch.cat([query, value])
    return found


def of_ranks(size: int, work: Callable[..., Any], folder: Path, *arguments: object) -> list[Any]:
    """Return what ``work(ranks, *arguments)`` returned at each of ``size`` ranks."""
    folder.mkdir(parents=True, exist_ok=True)
    multiprocessing.spawn(  # type: ignore[attr-defined]
        _rank, (size, free_port(), work, folder, arguments), nprocs=size
    )
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(size)]


def _rank(
    rank: int,
    size: int,
    port: int,
    work: Callable[..., Any],
    folder: Path,
    arguments: tuple[Any, ...],
) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        with join_ranks(120) as ranks:
            torch.save(work(ranks, *arguments), folder / f"{rank}.pt")
    except Exception:
        traceback.print_exc(file=sys.stderr)
        raise


def alone(work: Callable[..., Any], *arguments: object) -> Any:
    """Return what ``work`` returns in this process."""
    return work(Ranks(), *arguments)
