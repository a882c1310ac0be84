"""From STUDY.toml to cells: which trainings a study consists of."""

from pathlib import Path
from typing import Any, NamedTuple

from multitudes.config import laid_over, parse
from multitudes.errors import UsageError
from multitudes.evaluate.config import EvaluateConfig, main_budget
from multitudes.evaluate.pair import METHOD as PAIR
from multitudes.evaluate.pair import PairRunConfig
from multitudes.retrieve.plan import RetrieveConfig
from multitudes.study.cells import AnyRunConfig, Cell
from multitudes.study.config import Settings, StudyConfig, flat, nested, searched, settings_of
from multitudes.study.space import Range, Space, check_defaults
from multitudes.train.config import RunConfig
from multitudes.train.pinnersage import METHOD as PINNERSAGE
from multitudes.train.pinnersage import PinnerSageRunConfig

# What has settings of its own; everything else is trained.
_KINDS: dict[str, type[AnyRunConfig]] = {PINNERSAGE: PinnerSageRunConfig, PAIR: PairRunConfig}


class Source(NamedTuple):
    """A prepared data set."""

    path: Path
    digest: str
    items: int  # in its corpus
    warnings: tuple[str, ...] = ()  # of its preparation


class Entry(NamedTuple):
    """A method on a data set, before tuning."""

    data: str
    method: str
    settings: Settings  # method, model, train, retrieve: what the study says
    evaluate: EvaluateConfig
    space: Space
    over: tuple[str, ...] = ()  # the methods that it is made of

    @property
    def reads_embeddings(self) -> bool:
        """Whether it needs the items' own embeddings: pinnersage does, unless it is told of other vectors."""
        named = self.over or self.settings["model"].get("vectors")
        return self.settings["method"] == PINNERSAGE and not named

    def defaults(self) -> dict[str, Any]:
        """Return every setting by dotted key, with its value before tuning."""
        run, retrieve = configs(self.settings, seed=0)
        return flat(run.model_dump(mode="json") | {"retrieve": retrieve.model_dump(mode="json")})


def entries(config: StudyConfig, where: str) -> list[Entry]:
    """Return every method on every data set, each checked.

    Raises:
        UsageError: a method or a setting does not exist, or a search could not begin.
    """
    found = []
    for data in config.data:
        for method, own in config.methods.items():
            settings = {"method": own.kind(method)} | settings_of(config, data, method)
            entry = Entry(
                data, method, settings, _asked(config, data), searched(config, method, f"{where}: "), own.made_of
            )
            configs(settings, seed=0, where=f"{where}: [methods.{method}] on {data}")
            if config.tuning.trials:
                check_search(entry, f"{where}: [methods.{method}]")
            found.append(entry)
    return found


def check_search(entry: Entry, where: str) -> None:
    """Check that a search can begin with the defaults, and that each value it may propose is one that may be set.

    Raises:
        UsageError: a key is no setting, its default lies outside, or a value of the space is refused.
    """
    check_defaults(entry.space, entry.defaults(), where)
    for key, choice in entry.space.items():
        for value in (choice.low, choice.high) if isinstance(choice, Range) else choice:
            configs(laid_over(entry.settings, nested({key: value})), seed=0, where=f"{where}: the space of {key}")


def configs(settings: Settings, seed: int, where: str = "settings") -> tuple[AnyRunConfig, RetrieveConfig]:
    """Return the configurations of a run and of its retrieval.

    Raises:
        UsageError: a setting does not exist, or would show the validation split to training.
    """
    run = {key: value for key, value in settings.items() if key != "retrieve" and value} | {"seed": seed}
    if settings.get("train", {}).get("final"):
        raise UsageError(f"{where}: train.final trains on validation, which judges here; leave it out")
    return parse(_KINDS.get(settings["method"], RunConfig), run, where), parse(
        RetrieveConfig, settings["retrieve"], where
    )


def cell(entry: Entry, source: Source, chosen: dict[str, Any], seed: int, over: tuple[Cell, ...] = ()) -> Cell:
    """Return the cell of a seed with the settings that tuning chose."""
    run, retrieve = configs(laid_over(entry.settings, nested(chosen)), seed)
    return Cell(entry.data, entry.method, source.path, source.digest, run, retrieve, entry.evaluate, over=over)


def trial(
    entry: Entry, source: Source, values: dict[str, Any], number: int, seed: int, over: tuple[Cell, ...] = ()
) -> Cell:
    """Return the cell of a trial: first-time targets, without controls, and no further than the main budget."""
    run, retrieve = configs(laid_over(entry.settings, nested(values)), seed)
    main = main_budget(entry.evaluate.budgets)
    budgets = tuple(n for n in entry.evaluate.budgets if n <= main)
    asked = entry.evaluate.model_copy(update={"targets": "new", "controls": "none", "budgets": budgets})
    return Cell(entry.data, entry.method, source.path, source.digest, run, retrieve, asked, number, over)


def differing(run: AnyRunConfig, retrieve: RetrieveConfig) -> dict[str, Any]:
    """Return the settings that differ from the defaults, by dotted key."""
    own = flat(run.model_dump(mode="json") | {"retrieve": retrieve.model_dump(mode="json")})
    plain = type(run).model_validate({"method": run.method, "seed": run.seed})
    default = flat(plain.model_dump(mode="json") | {"retrieve": RetrieveConfig().model_dump(mode="json")})
    return {key: value for key, value in own.items() if default.get(key) != value}


def _asked(config: StudyConfig, data: str) -> EvaluateConfig:
    most = config.data[data].max_users
    return config.evaluate if most is None else config.evaluate.model_copy(update={"max_users": most})
