"""The data of a study: prepared once, and refused when the tables changed under it.

From STUDY.toml to cells: which trainings a study consists of.
"""

from pathlib import Path
from typing import Any, NamedTuple

from multitudes.config import deep_merge, parse
from multitudes.data.location import display_location, parse_location
from multitudes.data.prepare import prepare
from multitudes.data.prepared import PreparedData
from multitudes.data.sample import sample_path
from multitudes.data.table_files import table_sha256
from multitudes.errors import ArtefactError, DataError, UsageError
from multitudes.evaluation.config import EvaluateConfig, main_budget
from multitudes.evaluation.pair import METHOD as PAIR
from multitudes.evaluation.pair import PairRunConfig
from multitudes.pinnersage.run import METHOD as PINNERSAGE
from multitudes.pinnersage.run import PinnerSageRunConfig
from multitudes.progress import Progress, silent
from multitudes.retrieval.config import RetrieveConfig
from multitudes.study.cells import AnyRunConfig, Cell
from multitudes.study.config import DataConfig, Settings, StudyConfig, flatten, method_settings, search_space, unflatten
from multitudes.study.search_space import Range, SearchSpace, check_defaults
from multitudes.training.config import RunConfig

_NO_EFFECT_ON_RESULT = {"memory_limit", "threads"}  # to the result


def prepare_dataset(name: str, data: DataConfig, folder: Path, progress: Progress = silent) -> PreparedData:
    """Return the data set ``name``, prepared in ``folder`` unless it is there already.

    Raises:
        DataError: the tables are not those that it was prepared from.
    """
    tables = data.tables if data.tables is not None else sample_path(str(data.sample))
    try:
        found = PreparedData.open(folder)
    except ArtefactError:
        return prepare(tables, folder, data.prepare, progress, overwrite=folder.exists())
    if not _matches_settings(found.manifest, data):
        return prepare(tables, folder, data.prepare, progress, overwrite=True)
    _check_unchanged(name, tables, found.manifest["inputs"])
    return found


def _matches_settings(manifest: dict[str, Any], data: DataConfig) -> bool:
    settings: dict[str, Any] = data.prepare.model_dump(mode="json", exclude=_NO_EFFECT_ON_RESULT)
    return bool(manifest["config"] == settings)


def _check_unchanged(name: str, tables: Path, inputs: dict[str, dict[str, Any]]) -> None:
    for file, known in inputs.items():
        try:
            digest = table_sha256(parse_location(tables) / file)
        except FileNotFoundError:
            digest = ""
        if digest != known["sha256"]:
            what = "changed" if digest else "is gone"
            raise DataError(
                f"{name}: {display_location(tables / file)} {what} since this study began,"
                " so its results would not belong together; put the old file back,"
                " or write the study into another folder with --out"
            )


# What has settings of its own; everything else is trained.
_RUN_CONFIGS: dict[str, type[AnyRunConfig]] = {PINNERSAGE: PinnerSageRunConfig, PAIR: PairRunConfig}


class Dataset(NamedTuple):
    """A prepared data set."""

    path: Path
    digest: str
    items: int  # in its corpus
    warnings: tuple[str, ...] = ()  # of its preparation


class GridEntry(NamedTuple):
    """A method on a data set, before tuning."""

    data: str
    method: str
    settings: Settings  # method, model, train, retrieve: what the study says
    evaluate: EvaluateConfig
    space: SearchSpace
    base_methods: tuple[str, ...] = ()  # the methods that it is made of

    @property
    def reads_embeddings(self) -> bool:
        """Whether it needs the items' own embeddings: pinnersage does, unless it is told of other vectors."""
        named = self.base_methods or self.settings["model"].get("vectors")
        return self.settings["method"] == PINNERSAGE and not named

    def defaults(self) -> dict[str, Any]:
        """Return every setting by dotted key, with its value before tuning."""
        run, retrieve = build_configs(self.settings, seed=0)
        return flatten(run.model_dump(mode="json") | {"retrieve": retrieve.model_dump(mode="json")})


def grid_entries(config: StudyConfig, where: str) -> list[GridEntry]:
    """Return every method on every data set, each checked.

    Raises:
        UsageError: a method or a setting does not exist, or a search could not begin.
    """
    found = []
    for data in config.data:
        for method, own in config.methods.items():
            settings = {"method": own.kind(method)} | method_settings(config, data, method)
            entry = GridEntry(
                data,
                method,
                settings,
                _evaluate_config(config, data),
                search_space(config, method, f"{where}: "),
                own.base_methods,
            )
            build_configs(settings, seed=0, where=f"{where}: [methods.{method}] on {data}")
            if config.tuning.trials:
                check_search(entry, f"{where}: [methods.{method}]")
            found.append(entry)
    return found


def check_search(entry: GridEntry, where: str) -> None:
    """Check that a search can begin with the defaults, and that each value it may propose is one that may be set.

    Raises:
        UsageError: a key is no setting, its default lies outside, or a value of the space is refused.
    """
    check_defaults(entry.space, entry.defaults(), where)
    for key, choice in entry.space.items():
        for value in (choice.low, choice.high) if isinstance(choice, Range) else choice:
            build_configs(
                deep_merge(entry.settings, unflatten({key: value})), seed=0, where=f"{where}: the space of {key}"
            )


def build_configs(settings: Settings, seed: int, where: str = "settings") -> tuple[AnyRunConfig, RetrieveConfig]:
    """Return the configurations of a run and of its retrieval.

    Raises:
        UsageError: a setting does not exist, or would show the validation split to training.
    """
    run = {key: value for key, value in settings.items() if key != "retrieve" and value} | {"seed": seed}
    if settings.get("train", {}).get("final"):
        raise UsageError(f"{where}: train.final trains on validation, which judges here; leave it out")
    return parse(_RUN_CONFIGS.get(settings["method"], RunConfig), run, where), parse(
        RetrieveConfig, settings["retrieve"], where
    )


def seed_cell(
    entry: GridEntry, dataset: Dataset, tuned_settings: dict[str, Any], seed: int, base_cells: tuple[Cell, ...] = ()
) -> Cell:
    """Return the cell of a seed with the settings that tuning chose."""
    run, retrieve = build_configs(deep_merge(entry.settings, unflatten(tuned_settings)), seed)
    return Cell(
        entry.data, entry.method, dataset.path, dataset.digest, run, retrieve, entry.evaluate, base_cells=base_cells
    )


def trial_cell(
    entry: GridEntry,
    dataset: Dataset,
    values: dict[str, Any],
    number: int,
    seed: int,
    base_cells: tuple[Cell, ...] = (),
) -> Cell:
    """Return the cell of a trial: first-time targets, without controls, and no further than the main budget."""
    run, retrieve = build_configs(deep_merge(entry.settings, unflatten(values)), seed)
    main = main_budget(entry.evaluate.budgets)
    budgets = tuple(n for n in entry.evaluate.budgets if n <= main)
    asked = entry.evaluate.model_copy(update={"targets": "new", "controls": "none", "budgets": budgets})
    return Cell(entry.data, entry.method, dataset.path, dataset.digest, run, retrieve, asked, number, base_cells)


def changed_settings(run: AnyRunConfig, retrieve: RetrieveConfig) -> dict[str, Any]:
    """Return the settings that differ from the defaults, by dotted key."""
    own = flatten(run.model_dump(mode="json") | {"retrieve": retrieve.model_dump(mode="json")})
    plain = type(run).model_validate({"method": run.method, "seed": run.seed})
    default = flatten(plain.model_dump(mode="json") | {"retrieve": RetrieveConfig().model_dump(mode="json")})
    return {key: value for key, value in own.items() if default.get(key) != value}


def _evaluate_config(config: StudyConfig, data: str) -> EvaluateConfig:
    most = config.data[data].max_users
    return config.evaluate if most is None else config.evaluate.model_copy(update={"max_users": most})
