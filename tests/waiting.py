"""Wait for what another thread or process does; the limit only guards against waiting for ever."""

import time
from collections.abc import Callable

PATIENCE_S = 240.0  # of a busy machine; nothing here is measured


def until(true: Callable[[], bool]) -> None:
    """Return once it is true."""
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.05)
