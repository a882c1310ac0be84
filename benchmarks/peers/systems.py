"""What is compared when everybody is trained to the end, and the settings that each system tries on validation."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks.peers.exchange import Settings

Trial = Mapping[str, Any]  # fields of ``Settings``, and what the module of the system reads beside them


class System(NamedTuple):
    """A system and its trials; ``module`` runs it in the peers' virtual environment: of ours it is empty."""

    name: str
    variant: str
    trials: tuple[Trial, ...]
    module: str = ""
    default: bool = True

    @property
    def is_ours(self) -> bool:
        """Whether it is a system of this project."""
        return not self.module


REFERENCE = "EASE"  # that the others are compared with: exact, without a seed, and the same model in RecTools
BASE = Settings(batch_size=128, negatives=128, epochs=300, patience=10)

_LINEAR, _TRANSFORMER = "benchmarks.peers.rectools_linear", "benchmarks.peers.rectools_sasrec"
_RECHUB = "benchmarks.peers.rechub"
_EASE = ({"regularisation": 300}, {"regularisation": 1000}, {"regularisation": 100})
# Two blocks, as RecTools' default; its default width of 256 and four heads became 64, which all have here, and one.
# They begin with many passes at popularity or below, so their patience is longer.
_SASREC = (
    {"batch_size": 32, "blocks": 2, "dropout": 0.2, "patience": 30},
    {"batch_size": 32, "blocks": 2, "dropout": 0.5, "patience": 30},
)
_RECHUB_TRIALS = ({"batch_size": 256, "temperature": 0.1}, {"batch_size": 256, "temperature": 0.02})

SYSTEMS = (
    System("popularity", "popularity", ({},)),
    System("item-kNN", "item_knn", ({"shrinkage": 20}, {"shrinkage": 5})),
    System("EASE", "ease", _EASE),
    System(
        "iALS",
        "ials",
        (
            {"regularisation": 30, "alpha": 3},
            {"regularisation": 100, "alpha": 10},
            {"regularisation": 10, "alpha": 1},
        ),
    ),
    System(
        "RecTools item-kNN",
        "item_knn",
        (
            {"similarity": "bm25", "neighbours": 100},
            {"similarity": "tfidf", "neighbours": 100},
            {"similarity": "counts", "neighbours": 100},
            {"similarity": "cosine", "neighbours": 100},
        ),
        _LINEAR,
    ),
    System(
        "RecTools iALS",
        "ials",
        (
            {"regularisation": 30, "alpha": 4, "sweeps": 15},
            {"regularisation": 100, "alpha": 10, "sweeps": 15},
            {"regularisation": 10, "alpha": 1, "sweeps": 15},
        ),
        _LINEAR,
    ),
    System("RecTools EASE", "ease", _EASE, _LINEAR),
    System("RecTools EASE corrected", "ease_corrected", _EASE, _LINEAR),
    System("RecTools SASRec", "softmax", _SASREC, _TRANSFORMER),
    System("torch-rechub MIND", "mind", _RECHUB_TRIALS, _RECHUB),
    System("torch-rechub ComiRec-SA", "comirec_sa", _RECHUB_TRIALS, _RECHUB),
    System("RecTools eSASRec", "esasrec", _SASREC, _TRANSFORMER),
    System("linear", "linear", ({},)),
    System("joint", "joint", ({},)),
    # Holds a map for every vector and place of a history: a pass takes a CPU very long, so it is asked for by name.
    System("torch-rechub ComiRec-DR", "comirec_dr", _RECHUB_TRIALS, _RECHUB, default=False),
)
