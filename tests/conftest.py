"""Settings of the whole test run."""

import hashlib
import os

import pytest

# The tensors of the tests are tiny: a second thread costs more than it brings, most of all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where a test asks for two threads, one that waits leaves its core to the other processes of the run.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Files that take a minute or more begin first, so that two processes end at the same time.
_LONGEST = ("test_readme.py", "test_loop.py", "test_run.py", "test_release_policy.py", "test_planted_worlds.py")


def pytest_collection_modifyitems(items):
    """Run the tests of the longest files first; the order within a file stays."""
    items.sort(key=lambda item: _LONGEST.index(item.path.name) if item.path.name in _LONGEST else len(_LONGEST))


@pytest.fixture(scope="session")
def shared_exports():
    """Export towers of equal weights once in a test run, since torch takes ten seconds for one.

    Each publish still writes its towers to the disk, and checks that they equal its model.
    """
    import torch  # noqa: PLC0415 (most tests need none)

    export, programs = torch.onnx.export, {}

    def export_once(module, example, **settings):
        digest = hashlib.sha256()
        for tensor in (*module.parameters(), *module.buffers()):
            digest.update(tensor.detach().contiguous().cpu().numpy().tobytes())
        shapes = tuple(tuple(tensor.shape) for tensor in example)
        key = (repr(module), shapes, repr(settings["dynamic_shapes"]), digest.hexdigest())
        if key not in programs:
            programs[key] = export(module, example, **settings)
        return programs[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", export_once)
        yield
