"""Comparison with other libraries: the same prepared data, each in its own process, one evaluator.

``python -m benchmarks.peers`` exports the training events and the held-out users' histories as plain arrays
(``exchange``), lets every peer train and write lists in a virtual environment of its own, trains our methods with the
same settings, and evaluates all lists alike. A peer is never a dependency: they exchange files only.
"""

from typing import NamedTuple


class Peer(NamedTuple):
    """A system of another library, and the module that runs it: ``python -m MODULE FOLDER VARIANT``."""

    name: str
    module: str
    variant: str
    licence: str
    default: bool = True


PEERS = (
    Peer("RecTools SASRec", "benchmarks.peers.rectools_sasrec", "sampled_softmax", "Apache-2.0"),
    Peer("torch-rechub MIND", "benchmarks.peers.rechub", "mind", "MIT"),
    Peer("torch-rechub ComiRec-SA", "benchmarks.peers.rechub", "comirec_sa", "MIT"),
    # Holds a map for every vector and place of a history: a pass takes a CPU very long, so it is asked for by name.
    Peer("torch-rechub ComiRec-DR", "benchmarks.peers.rechub", "comirec_dr", "MIT", default=False),
)
