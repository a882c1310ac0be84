import platform
import subprocess
import sys

import pytest

# Page faults of a loop that frees and asks again for the same 100 MB, more than glibc ever keeps by itself.
FAULTS = """
import resource
import numpy as np
from multitudes.training.execution import keep_freed_memory
{first}
np.ones(25_000_000, dtype=np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(25_000_000, dtype=np.float32)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(first: str) -> int:
    script = FAULTS.format(first=first)
    return int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's")
def test_freed_memory_is_not_mapped_again() -> None:
    assert faults("assert keep_freed_memory()") < faults("") / 10
