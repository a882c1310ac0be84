"""How the ranks that ``torchrun`` has started find each other, and which of them speaks for all.

What they then tell each other is ``train/parallel.py``'s.
"""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from multitudes.errors import MultitudesError, StoppedError, UnavailableError
from multitudes.train.parallel import ALONE, Ranks

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

# Threads of gloo let go of the last message after whoever waited for it went on, and need the interpreter for that:
# where it is ending by then, C++ aborts the process. While this one sleeps, it is theirs.
_LETTING_GO_S = 0.2


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
