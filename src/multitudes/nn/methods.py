"""The registry of methods. A new method is a class of interests, of a plugin or in ``nn/interests`` with a line here.

The rest is derived from it: the type ``Method``, the tables ``[model.NAME]`` of the settings, the module that a model
is built with, the choices of ``--method`` and the parameters of the contract tests; a test holds the table in
``docs/methods/README.md`` to it. The class finds the implicit interests of a method and is constructed with (settings,
interests, width). If it has settings, they are a class with its name and the suffix ``Config`` in the same file. A
built-in one has the name of the method in CamelCase, in ``nn/interests/NAME.py``; that of a plugin is in its
``MethodSpec``, which an entry point names.

Nothing here imports torch: a class is imported when a model is built or its settings are read.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

from multitudes.plugins import Registry

if TYPE_CHECKING:
    from multitudes.config import Config

PINNERSAGE: Final = "pinnersage"  # needs no training: see the package ``pinnersage``
LINEAR: Final = "linear"  # needs no torch: see the package ``linear``
FOLLOWED: Final = "followed"  # an inverted index from topics to items: see ``linear.followed``
NEIGHBOURS: Final = "neighbours"  # needs no torch: see ``linear.neighbours``
COMBINED: Final = "combined"  # of two trained runs: see ``training.combined``
WITHOUT_TORCH: Final = (NEIGHBOURS, LINEAR, PINNERSAGE, FOLLOWED)
DEFAULT_METHOD: Final = "joint"
# The implicit interests of a user: the model's own, or a control: those of a random division of the history, or its own
# on the conditions of another user.
Partition = Literal["interests", "random", "other_user"]


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
    blend: str = "fusion"  # of its lists, unless [retrieve] names another
    module: Callable[..., Any] | None = None  # of a plugin: the class of its interests, an nn.Module


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

_BUILT_IN: Final[dict[str, MethodSpec]] = {
    "single": MethodSpec("none: one vector for everything", always_unconditioned=True),
    # The state of the encoder itself, as in SASRec and eSASRec.
    "transformer": MethodSpec(
        "none: the strongest single vector",
        always_unconditioned=True,
        defaults={"crossing": {"hidden": 0}, "neighbours": True},
    ),
    "clustering": MethodSpec("clusters of the user's own history", "DCM", implicit="own"),
    "conditional": MethodSpec("topics that the user follows", "CR", explicit=True),
    "joint": MethodSpec(
        "both, over one index",
        implicit="chosen",
        explicit=True,
        always_unconditioned=True,
        defaults={"neighbours": True},
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


METHODS: Final = Registry("methods", MethodSpec, _BUILT_IN)  # what is trained
METHOD_NAMES: Final = (*_BUILT_IN, *WITHOUT_TORCH)  # the built-in choices of ``multitudes train --method``
_IMPLICIT: Final = Registry("methods", MethodSpec, {name: s for name, s in _BUILT_IN.items() if s.implicit == "own"})

Method = Annotated[str, METHODS]
ImplicitName = Annotated[str, _IMPLICIT]


def interest_class(method: str) -> Callable[..., Any]:
    """Return the class of interests, an ``nn.Module``, that a plugin or the file of ``method`` defines; needs torch."""
    name = "".join(word.capitalize() for word in method.split("_"))
    found: Callable[..., Any] = METHODS[method].module or getattr(
        import_module(f"multitudes.nn.interests.{method}"), name
    )
    return found


def settings_classes() -> "dict[str, type[Config]]":
    """Return the settings class of every method that has one, in the order of the registry; needs torch."""
    found = {}
    for name, spec in METHODS.items():
        if spec.implicit == "own":
            interests = interest_class(name)
            settings = getattr(sys.modules[interests.__module__], f"{interests.__name__}Config", None)
            if settings is not None:
                found[name] = settings
    return found
