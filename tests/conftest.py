"""Settings of the whole test run."""

import os

# The tensors of the tests are tiny: a second thread costs more than it brings, most of all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
