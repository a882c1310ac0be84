"""``python -m benchmarks.peers [PREPARED …] [--out FILE]``: this library and others side by side."""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.machine import ROOT, MeasurementContext
from benchmarks.peers import PEERS
from benchmarks.peers.compare import compare
from benchmarks.peers.exchange import Settings
from benchmarks.suite import save_record
from benchmarks.timing import print_progress
from benchmarks.worlds import prepare_movielens
from multitudes.data.prepared import PreparedData
from multitudes.errors import MultitudesError


def main() -> None:
    """Compare on each set and keep the record."""
    given = _arguments()
    settings = Settings(
        history=given.history,
        batch_size=given.batch_size,
        window=given.window,
        epochs=given.epochs,
        cpu_s=given.cpu_s,
        seed=given.seed,
    )
    circumstances = MeasurementContext()
    try:
        sets = _compare_sets(given, settings)
    except MultitudesError as error:
        sys.exit(str(error))
    save_record(
        {
            "name": "peers-one-target" if given.window == 1 else "peers",
            "quick": False,
            **circumstances.head(),
            "seeds": [given.seed],
            "threads": given.threads,
            "figures": {"sets": sets},
        },
        given.out.resolve(),
    )
    print(given.out)


def _arguments() -> argparse.Namespace:
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("prepared", nargs="*", type=Path, help="prepared folders; none: the MovieLens sample")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "peers.json")
    parser.add_argument(
        "--methods", nargs="+", default=["transformer", "single"], help="ours; the first is the reference"
    )
    usual = [peer.name for peer in PEERS if peer.default]
    parser.add_argument("--peers", nargs="*", default=usual, choices=names, help="which of the others")
    parser.add_argument("--python", type=Path, default=ROOT / ".venv-peers" / "bin" / "python")
    parser.add_argument("--batch-size", type=int, default=Settings().batch_size, help="histories of a step")
    parser.add_argument("--history", type=int, default=Settings().history, help="events that a model reads")
    parser.add_argument("--window", type=int, default=Settings().window, help="ours alone: positives of a history")
    parser.add_argument("--epochs", type=int, default=Settings().epochs, help="most passes over the training events")
    parser.add_argument(
        "--cpu-s", type=float, default=Settings().cpu_s, help="of training a peer; then no epoch begins"
    )
    parser.add_argument("--max-users", type=int, default=3000, help="most users who are asked")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _compare_sets(given: argparse.Namespace, settings: Settings) -> list[dict[str, Any]]:
    """Return the comparison of every set."""
    with TemporaryDirectory(prefix="multitudes-peers-") as temporary:
        sets = [PreparedData.open(path) for path in given.prepared] or [
            prepare_movielens(Path(temporary) / "movielens-small")
        ]
        peers = [peer for peer in PEERS if peer.name in given.peers]
        compared: list[dict[str, Any]] = []
        for prepared in sets:
            name = (prepared.path.parent if prepared.path.name == "prepared" else prepared.path).name
            folder = Path(temporary) / f"runs-{len(compared)}"
            folder.mkdir()
            figures = compare(
                prepared,
                given.methods,
                peers,
                settings,
                given.python,
                folder,
                given.max_users,
                given.threads,
                print_progress(f"peers on {name}"),
            )
            compared.append({"name": name} | figures)
    return compared


if __name__ == "__main__":
    main()
