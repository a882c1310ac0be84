"""The experiment grid: each data set is prepared once, and each method on each data set becomes cells."""

from pathlib import Path
from typing import Any, NamedTuple

from multitudes.config import deep_merge, parse
from multitudes.data.location import display_location, parse_location
from multitudes.data.prepare import prepare
from multitudes.data.prepared import PreparedData
from multitudes.data.sample import sample_path
from multitudes.data.tables import table_sha256
from multitudes.errors import ArtefactError, DataError
from multitudes.evaluation.config import EvaluateConfig, main_budget
from multitudes.linear.followed import FollowedRunConfig
from multitudes.linear.neighbours_run import NeighboursRunConfig
from multitudes.linear.run import LinearRunConfig
from multitudes.nn.methods import COMBINED, FOLLOWED, LINEAR, NEIGHBOURS, PINNERSAGE
from multitudes.pinnersage.run import PinnerSageRunConfig
from multitudes.progress import Progress, silent
from multitudes.retrieval.config import RetrieveConfig
from multitudes.study.cells import AnyRunConfig, Cell
from multitudes.study.config import DataConfig, Settings, StudyConfig, flatten, method_settings, search_space, unflatten
from multitudes.study.search_space import Range, SearchSpace, check_defaults
from multitudes.training.combined import CombinedRunConfig
from multitudes.training.config import RunConfig

_NO_EFFECT_ON_RESULT = {"memory_limit", "threads"}  # settings of preparation
# Methods with a run configuration of their own; all others are trained.
_RUN_CONFIGS: dict[str, type[AnyRunConfig]] = {
    LINEAR: LinearRunConfig,
    NEIGHBOURS: NeighboursRunConfig,
    PINNERSAGE: PinnerSageRunConfig,
    COMBINED: CombinedRunConfig,
    FOLLOWED: FollowedRunConfig,
}


def prepare_dataset(name: str, data: DataConfig, folder: Path, progress: Progress = silent) -> PreparedData:
    """Return the prepared data set ``name``; prepare it if ``folder`` does not hold it with the same settings.

    Raises:
        DataError: the tables changed since they were prepared.
    """
    tables = data.tables if data.tables is not None else sample_path(str(data.sample))
    try:
        prepared = PreparedData.open(folder)
    except ArtefactError:
        return prepare(tables, folder, data.prepare, progress, overwrite=folder.exists())
    if prepared.manifest["config"] != data.prepare.model_dump(mode="json", exclude=_NO_EFFECT_ON_RESULT):
        return prepare(tables, folder, data.prepare, progress, overwrite=True)
    _check_unchanged(name, tables, prepared.manifest["inputs"])
    return prepared


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


class Dataset(NamedTuple):
    """A prepared data set of a study."""

    path: Path
    digest: str
    items: int  # in the corpus
    warnings: tuple[str, ...] = ()  # from its preparation


class GridEntry(NamedTuple):
    """A method on a data set, before tuning and for all seeds."""

    data: str
    method: str
    settings: Settings  # method, model, train, retrieve, as the study file sets them
    evaluate: EvaluateConfig
    space: SearchSpace
    base_methods: tuple[str, ...] = ()  # the methods that it is built on

    @property
    def reads_embeddings(self) -> bool:
        """Whether it needs the items' own embeddings: pinnersage does, unless it clusters other vectors."""
        has_vectors = self.base_methods or self.settings["model"].get("vectors")
        return self.settings["method"] == PINNERSAGE and not has_vectors

    def defaults(self) -> dict[str, Any]:
        """Return every setting by dotted key, with its value before tuning."""
        run, retrieve = build_configs(self.settings, seed=0)
        return flatten(run.model_dump(mode="json") | {"retrieve": retrieve.model_dump(mode="json")})


def grid_entries(config: StudyConfig, where: str) -> list[GridEntry]:
    """Return every method on every data set, each checked; ``where`` begins error texts: the study file.

    Raises:
        UsageError: a method or a setting does not exist, or a search space does not contain the defaults.
    """
    entries = []
    for data, of_data in config.data.items():
        evaluate = config.evaluate
        if of_data.max_users is not None:
            evaluate = evaluate.model_copy(update={"max_users": of_data.max_users})
        for method, own in config.methods.items():
            settings = {"method": own.kind(method)} | method_settings(config, data, method)
            space = search_space(config, method, f"{where}: ")
            entry = GridEntry(data, method, settings, evaluate, space, own.base_methods)
            build_configs(settings, seed=0, where=f"{where}: [methods.{method}] on {data}")
            if config.tuning.trials:
                check_search(entry, f"{where}: [methods.{method}]")
            entries.append(entry)
    return entries


def check_search(entry: GridEntry, where: str) -> None:
    """Check that the search space contains the defaults, and that every value in it is a valid setting.

    Raises:
        UsageError: a key is not a setting, its default is outside the space, or a value is not valid.
    """
    check_defaults(entry.space, entry.defaults(), where)
    for key, choice in entry.space.items():
        for value in (choice.low, choice.high) if isinstance(choice, Range) else choice:
            build_configs(
                deep_merge(entry.settings, unflatten({key: value})), seed=0, where=f"{where}: the space of {key}"
            )


def build_configs(settings: Settings, seed: int, where: str = "settings") -> tuple[AnyRunConfig, RetrieveConfig]:
    """Return the configurations of a run and of its retrieval, from method, model, train and retrieve.

    Raises:
        UsageError: a setting does not exist.
    """
    run = {key: value for key, value in settings.items() if key != "retrieve" and value} | {"seed": seed}
    return parse(_RUN_CONFIGS.get(settings["method"], RunConfig), run, where), parse(
        RetrieveConfig, settings["retrieve"], where
    )


def make_cell(
    entry: GridEntry,
    dataset: Dataset,
    values: Settings,
    seed: int,
    base_cells: tuple[Cell, ...] = (),
    trial: int | None = None,
) -> Cell:
    """Return the cell of a seed, or of a trial, with settings that a search chose.

    ``values`` are the chosen settings by dotted key. A ``trial``, numbered from 1, evaluates first-time targets, up to
    the main budget, without controls and baselines.
    """
    run, retrieve = build_configs(deep_merge(entry.settings, unflatten(values)), seed)
    evaluate = entry.evaluate
    if trial is not None:
        budgets = tuple(n for n in evaluate.budgets if n <= main_budget(evaluate.budgets))
        less = {"targets": "new", "controls": "none", "baselines": "none", "budgets": budgets}
        evaluate = evaluate.model_copy(update=less)
    return Cell(entry.data, entry.method, dataset.path, dataset.digest, run, retrieve, evaluate, trial, base_cells)


def changed_settings(run: AnyRunConfig, retrieve: RetrieveConfig) -> dict[str, Any]:
    """Return the settings that differ from the defaults, by dotted key."""
    settings = flatten(run.model_dump(mode="json") | {"retrieve": retrieve.model_dump(mode="json")})
    default_run = type(run).model_validate({"method": run.method, "seed": run.seed})
    defaults = flatten(default_run.model_dump(mode="json") | {"retrieve": RetrieveConfig().model_dump(mode="json")})
    return {key: value for key, value in settings.items() if defaults.get(key) != value}
