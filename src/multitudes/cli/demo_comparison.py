"""How the demo's joint model compares with what stands beside it, whatever came out."""

from pathlib import Path
from typing import Any

import typer

# What joint is set beside, with a word on each.
BESIDE = {
    "single": "a model with one vector per user",
    "round_robin": "joint's vectors blended turn by turn, as in the table above",
    "random_partition": "joint's own tower, the history parted at random",
    "averaged": "joint's vectors averaged into one query",
    "covisit": "items that were often visited together with a user's own, nothing learned",
    "popularity": "the same list for everyone",
}


def show(out: Path) -> dict[str, Any]:
    """Print how joint compares, whatever came out, and return the figures."""
    from rich.console import Console

    from multitudes.report.tables import methods_table

    block = comparison(out)
    console = Console()
    console.print()
    console.print(methods_table(block, "joint", console.width))
    for sentence in sentences(block):
        typer.echo(sentence)
    typer.echo("One seed on a small data set: an interval covers other users, not another seed.")
    return block


def comparison(out: Path) -> dict[str, Any]:
    """Return joint's block of figures with the separately trained single among the methods."""
    from multitudes.evaluate.compare import compare, read_result

    joint, single = (read_result(out / method, "test") for method in ("joint", "single"))
    kind = joint["targets"]
    against = compare([out / "joint"], [out / "single"])["differences"][kind]
    methods = joint["methods"] | {"single": single["methods"]["single"]}
    differences = joint["differences"] | {"single": against}
    return {
        "targets": kind,
        "budget": joint["budget"],
        "users": joint["users"],
        "methods": {name: methods[name] for name in ("joint", *BESIDE)},
        "differences": {name: differences[name] for name in BESIDE},
    }


def sentences(block: dict[str, Any]) -> list[str]:
    """Say for each comparison what the interval allows to say, and no more."""
    from multitudes.report.words import difference, excludes_zero

    found = []
    for name, meaning in BESIDE.items():
        gain = block["differences"][name][f"hr@{block['budget']}"]
        verdict = "is not shown to differ from"
        if excludes_zero(gain):
            verdict = "finds more than" if gain["mean"] > 0 else "finds less than"
        found.append(f"joint {verdict} {name}, {meaning}: {difference(gain)}")
    return found
