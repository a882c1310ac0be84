"""The steps are those of torch's own classes, to the bit, without what these bring along."""

import subprocess
import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multitudes.training.optimizer import Adam


def weights() -> tuple[nn.Embedding, nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    return nn.Embedding(50, 8, sparse=True), nn.Linear(8, 4), nn.Linear(8, 4)


def trained(kind: str) -> list[Tensor]:
    table, used, idle = weights()
    dense = [*used.parameters(), *idle.parameters()]
    optimizers: Sequence[Adam | torch.optim.Optimizer] = (
        [Adam(dense, rate=0.01), Adam([table.weight], rate=0.01, sparse=True)]
        if kind == "ours"
        else [torch.optim.AdamW(dense, lr=0.01, weight_decay=0.0), torch.optim.SparseAdam([table.weight], lr=0.01)]
    )
    for step in range(5):
        for optimizer in optimizers:
            optimizer.zero_grad()
        layer = used if step != 2 else idle  # whose first gradient comes late
        layer(table(torch.tensor([step, 7, 7, 20 + step]))).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
    return [table.weight, *dense]


def test_the_steps_are_those_of_torch() -> None:
    ours, torchs, fresh = trained("ours"), trained("torch's"), weights()[0].weight
    assert all(torch.equal(one, other) for one, other in zip(ours, torchs, strict=True))
    assert not torch.equal(ours[0], fresh)


STEPS = """
import sys
import torch
from multitudes.training.optimizer import Adam
weight = torch.nn.Parameter(torch.ones(3))
weight.grad = torch.ones(3)
for make in (lambda: Adam([weight], rate=0.1), lambda: torch.optim.AdamW([weight])):
    make().step()
    print("torch._dynamo" in sys.modules)
"""


def test_a_step_imports_no_compiler() -> None:
    found = subprocess.run([sys.executable, "-c", STEPS], check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["False", "True"], "the second is the control"
