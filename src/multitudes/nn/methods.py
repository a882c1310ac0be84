"""The registry of methods. A new method is a file in ``nn/interests`` and one line in ``METHODS``.

The rest is derived from it: the type ``Method``, the tables ``[model.NAME]`` of the settings, the module that a model
is built with, the choices of ``--method`` and the parameters of the contract tests; a test holds the table in
``docs/methods/README.md`` to it. The module that finds the implicit interests of a method is in
``nn/interests/NAME.py``. That file defines a class with the name of the method in CamelCase, constructed with
(settings, interests, width), and, if it has settings, a class with that name and the suffix ``Config``.

Nothing here imports torch: the file of a method is imported when a model is built or its settings are read.
"""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

PINNERSAGE: Final = "pinnersage"  # needs no training: see the package ``pinnersage``
LINEAR: Final = "linear"  # is solved in closed form: see the package ``linear``
FOLLOWED: Final = "followed"  # an inverted index from topics to items: see ``linear.followed``
COMBINED: Final = "combined"  # of two trained runs: see ``training.combined``
WITHOUT_TORCH: Final = (LINEAR, PINNERSAGE, FOLLOWED)
DEFAULT_METHOD: Final = "joint"


class MethodSpec(NamedTuple):
    """The interests of a method, and its description."""

    interests: str  # what an interest is, in a few words
    paper: str = ""  # its name in the literature
    # The module that finds implicit interests: the method's own, or the one chosen by [model] implicit.
    implicit: Literal["own", "chosen"] | None = None
    explicit: bool = False  # has explicit interests: vectors conditioned on topics
    always_unconditioned: bool = False  # has the unconditioned vector even if [model] unconditioned is off
    # Defaults that the method changes: settings of the user tower and of training. A setting that is given wins.
    defaults: Mapping[str, Any] = MappingProxyType({})
    train_defaults: Mapping[str, Any] = MappingProxyType({})
    blend: Literal["fusion", "round_robin"] = "fusion"  # of its lists, unless [retrieve] names another


# Configured as in the paper (Fan et al., KDD 2025, sections 2 to 5), as far as one run can be: pooled features,
# DHEN, seven interests that read the entire history, the nearest interest, in-batch negatives. docs/methods/paper.md
# says where it deviates.
_PAPER_TOWER: Final = {
    "interests": 7,
    "similarity": "cosine",
    "unconditioned": False,
    "reads": "history",
    "sequence": {"blocks": 0},
    "crossing": {"kind": "dhen"},
}
_PAPER_TRAINING: Final = {
    "association": "argmax",
    "dense": False,
    "uniform": 0,
    "explicit_weight": 1.0,
    "item_init": "random",
}

METHODS: Final[dict[str, MethodSpec]] = {
    "single": MethodSpec("none: one vector for everything", always_unconditioned=True),
    # The state of the encoder itself, as in SASRec and eSASRec.
    "transformer": MethodSpec(
        "none: the strongest single vector without a linear history",
        always_unconditioned=True,
        defaults={"crossing": {"hidden": 0}},
    ),
    "clustering": MethodSpec("clusters of the user's own history", "DCM", implicit="own"),
    "conditional": MethodSpec("topics that the user follows", "CR", explicit=True),
    "joint": MethodSpec(
        "both, over one index",
        implicit="chosen",
        explicit=True,
        always_unconditioned=True,
        # Isolated: the unconditioned vector is trained as if alone, and interests add to it.
        defaults={"linear": {"rank": 64}, "isolate": True},
    ),
    "paper": MethodSpec(
        "both, configured as in the paper",
        "DCM + CR",
        implicit="chosen",
        explicit=True,
        defaults=_PAPER_TOWER,
        train_defaults=_PAPER_TRAINING,
        blend="round_robin",
    ),
    "routing": MethodSpec("capsules with a random start", "MIND", implicit="own"),
    "dynamic_routing": MethodSpec("capsules, each with its own map", "ComiRec-DR", implicit="own"),
    "self_attention": MethodSpec("learned attention heads over the history", "ComiRec-SA", implicit="own"),
    "tokens": MethodSpec("learned query vectors", implicit="own"),
    "subsequence": MethodSpec("the concepts, shared by all users, with most events", "PFS", implicit="own"),
    "random_partition": MethodSpec("none: a random partition of the history, the control", implicit="own"),
}
METHOD_NAMES: Final = (*METHODS, *WITHOUT_TORCH)  # what ``multitudes train --method`` accepts

if TYPE_CHECKING:
    from collections.abc import Callable

    from multitudes.config import Config

    Method = str
    ImplicitName = str
else:
    Method = Literal[tuple(METHODS)]  # a method that is trained
    ImplicitName = Literal[tuple(name for name, spec in METHODS.items() if spec.implicit == "own")]


def interest_class(method: str) -> "Callable[..., Any]":
    """Return the class of interests, an ``nn.Module``, that the file of ``method`` defines; needs torch."""
    found: Callable[..., Any] = getattr(_interest_module(method), _class_name(method))
    return found


def settings_classes() -> "dict[str, type[Config]]":
    """Return the settings class of every method whose file defines one, in the order of the registry; needs torch."""
    found = {}
    for name, spec in METHODS.items():
        if spec.implicit == "own" or (spec.explicit and not spec.implicit):
            settings = getattr(_interest_module(name), f"{_class_name(name)}Config", None)
            if settings is not None:
                found[name] = settings
    return found


def _interest_module(method: str) -> ModuleType:
    return import_module(f"multitudes.nn.interests.{method}")


def _class_name(method: str) -> str:
    return "".join(word.capitalize() for word in method.split("_"))
