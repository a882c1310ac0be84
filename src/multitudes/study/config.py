"""The study file, STUDY.toml: which methods to compare on which data sets, and how."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from multitudes.config import NO_OVERRIDES, Config, Name, Seeds, deep_merge, load_toml, parse_with_overrides, suggestion
from multitudes.data.location import is_url
from multitudes.data.prepare import PrepareConfig
from multitudes.data.sample import SAMPLES
from multitudes.errors import UsageError
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.list_metrics import METRICS
from multitudes.nn.methods import COMBINED, FOLLOWED, PINNERSAGE, WITHOUT_TORCH
from multitudes.plugins import Registry
from multitudes.study.search_space import SearchSpace, default_space, parse_space

Settings = dict[str, Any]  # a section of multitudes.toml, or some of its keys
SECTIONS = ("model", "train", "retrieve")
Metric = Annotated[str, Registry("metrics", object, dict.fromkeys(("hr", *METRICS.built_in)))]


class DataConfig(Config):
    """Section [data.NAME]: one data set, either a shipped sample or a folder of tables."""

    sample: str | None = Field(None, description="name of a shipped data set, such as movielens-small")
    tables: Path | None = Field(None, description="folder with events, items and users; relative to the study's file")
    prepare: PrepareConfig = Field(PrepareConfig(), description="how to prepare and split it")
    max_users: int | None = Field(None, ge=0, description="max_users of [evaluate] for this data set")
    seeds: Seeds | None = Field(None, min_length=1, description="training seeds on this data set; unset: the study's")
    model: Settings = Field({}, description="settings of all methods on this data set")
    train: Settings = Field({}, description="settings of all methods on this data set")
    retrieve: Settings = Field({}, description="settings of all methods on this data set")


class MethodConfig(Config):
    """Section [methods.NAME]: one method and its settings. Settings given here are not tuned."""

    method: str | None = Field(None, description="as in `multitudes train --method`; default: NAME")
    over: str | None = Field(
        None, description="pinnersage: the method whose item vectors are clustered; default: the items' own embedding"
    )
    combine: tuple[str, str] | None = Field(
        None, description="two trained methods as one, as by `multitudes combine`; nothing is trained"
    )
    control_of: str | None = Field(
        None, description="the method that this one is a control of: its interests matter if it beats this one"
    )
    model: Settings = Field({}, description="settings of the model")
    train: Settings = Field({}, description="settings of training")
    retrieve: Settings = Field({}, description="settings of retrieval")
    space: Settings = Field({}, description="search space, added to the study's space; its entries take precedence")

    def kind(self, name: str) -> str:
        """Return the kind of the method ``name``: a method of ``multitudes train``, ``pinnersage`` or ``combined``."""
        return COMBINED if self.combine else self.method or name

    @property
    def base_methods(self) -> tuple[str, ...]:
        """The methods of the study that this one is built on; they are trained first."""
        return self.combine or ((self.over,) if self.over else ())


class TuningConfig(Config):
    """Section [tuning]: all methods get the same number of trials, scored on the validation split only."""

    trials: int = Field(0, ge=0, description="trials for each method and data set; 0: no tuning")
    metric: Metric = Field("hr", description="metric to maximise, at the main budget, for first-time targets")
    seed: int = Field(0, description="seed of the search and of each trial's training")
    space: Settings | None = Field(None, description="search space, in place of each method's default space")


class ProcessConfig(Config):
    """Section [run]: worker processes."""

    processes: int = Field(2, ge=1, description="parallel worker processes; they share the cores equally")


class StudyConfig(Config):
    """A study: a grid of data sets × methods × seeds."""

    name: Name = Field("study", description="title of the report")
    seeds: Seeds = Field((0, 1, 2), min_length=1, description="training seeds of every method")
    reference: str | None = Field(None, description="the method that all others are compared with; default: the first")
    data: dict[Name, DataConfig] = Field({}, description="the data sets")
    methods: dict[Name, MethodConfig] = Field({}, description="the methods")
    model: Settings = Field({}, description="settings of all methods on all data sets")
    train: Settings = Field({}, description="settings of all methods on all data sets")
    retrieve: Settings = Field({}, description="settings of all methods on all data sets")
    evaluate: EvaluateConfig = Field(EvaluateConfig(), description="evaluation settings, except the split")
    tuning: TuningConfig = Field(TuningConfig(), description="hyperparameter search")
    run: ProcessConfig = Field(ProcessConfig(), description="worker processes")

    @field_validator("evaluate")
    @classmethod
    def _check_split(cls, evaluate: EvaluateConfig) -> EvaluateConfig:
        if "split" in evaluate.model_fields_set:
            raise ValueError("split cannot be set here: a study evaluates validation, and test with --open-test")
        return evaluate

    def seeds_of(self, data: str) -> tuple[int, ...]:
        """Return the training seeds of a data set."""
        return self.data[data].seeds or self.seeds

    @property
    def reference_method(self) -> str:
        """The method that all others are compared with."""
        return self.reference or next(iter(self.methods))


def read_study(file: Path, overrides: Mapping[str, Any] = NO_OVERRIDES) -> StudyConfig:
    """Read a study file and check it as a whole, so that errors appear before hours of work.

    Paths in it are relative to its folder, and normalised in the result; ``overrides`` count more than the file.

    Raises:
        UsageError: the file is missing, is not TOML, or refers to something that does not exist.
    """
    tables = load_toml(file, "examples/quick.toml shows one")
    config = parse_with_overrides(StudyConfig, tables, str(file), overrides)
    for section in ("data", "methods"):
        if not getattr(config, section):
            raise UsageError(f"{file}: no [{section}.NAME]; a study needs at least one")
    if config.reference_method not in config.methods:
        known = tuple(config.methods)
        raise UsageError(
            f"{file}: reference = '{config.reference_method}' is not one of its methods"
            f"{suggestion(config.reference_method, known)}"
        )
    for name in config.methods:
        _check_base_methods(config, name, f"{file}: [methods.{name}]")
        _check_control(config, name, f"{file}: [methods.{name}]")
    data = {name: _locate_tables(name, data, file) for name, data in config.data.items()}
    return config.model_copy(update={"data": data})


def _check_control(config: StudyConfig, name: str, where: str) -> None:
    """Check that ``control_of`` names another method of the study, and that no other control names the same one."""
    of = config.methods[name].control_of
    if of is None:
        return
    if of == name or of not in config.methods:
        others = tuple(other for other in config.methods if other != name)
        raise UsageError(f"{where}: control_of = '{of}' is not another method of this study{suggestion(of, others)}")
    controls = [other for other, method in config.methods.items() if method.control_of == of]
    if len(controls) > 1:
        raise UsageError(
            f"{where}: {' and '.join(controls)} both have control_of = '{of}'; expected one control for each method"
        )


def _check_base_methods(config: StudyConfig, name: str, where: str) -> None:
    """Check that a method's base methods are trained ones, and that it sets nothing that belongs to them."""
    own = config.methods[name]
    kind = own.kind(name)
    if own.over is not None and kind != PINNERSAGE:
        raise UsageError(f"{where}: only {PINNERSAGE} has over; leave it out")
    if kind == COMBINED and own.combine is None:
        raise UsageError(f"{where}: nothing to combine; expected combine = two methods of this study")
    if own.combine and (own.method or own.train or own.model.keys() - {"blend"}):
        raise UsageError(f"{where}: combine takes two methods as they are; only model.blend and retrieve can be set")
    no_base = (COMBINED, *WITHOUT_TORCH) if own.combine else (COMBINED, PINNERSAGE, FOLLOWED)
    trained = tuple(n for n, m in config.methods.items() if m.kind(n) not in no_base)
    for other in own.base_methods:
        if other not in trained:
            key = "combine" if own.combine else "over"
            known = suggestion(other, trained)
            raise UsageError(f"{where}: {key} names '{other}', which is not a trained method of this study{known}")


def _locate_tables(name: str, data: DataConfig, file: Path) -> DataConfig:
    where = f"{file}: [data.{name}]"
    if (data.sample is None) == (data.tables is None):
        raise UsageError(f"{where}: expected either sample = one of {', '.join(SAMPLES)}, or tables = a folder")
    if data.sample is not None and data.sample not in SAMPLES:
        raise UsageError(f"{where}: '{data.sample}': no such data set is shipped{suggestion(data.sample, SAMPLES)}")
    if data.tables is None or is_url(data.tables):
        return data
    tables = Path(os.path.normpath(file.parent / data.tables))
    if not tables.is_dir():
        raise UsageError(f"{where}: {tables} is not a folder; expected one with events, items and users")
    return data.model_copy(update={"tables": tables})


def method_settings(config: StudyConfig, data: str, method: str) -> Settings:
    """Return the sections [model], [train] and [retrieve] of a method on a data set, before tuning."""
    own = config.methods[method]
    if own.kind(method) in WITHOUT_TORCH:  # no tower is trained, so [model] and [train] of the study do not apply
        return {"model": own.model, "train": own.train, "retrieve": deep_merge(config.retrieve, own.retrieve)}
    layers = (config, config.data[data], own)
    if own.combine:
        return {"model": own.model, "train": {}, "retrieve": deep_merge(*(layer.retrieve for layer in layers))}
    return {section: deep_merge(*(getattr(layer, section) for layer in layers)) for section in SECTIONS}


def search_space(config: StudyConfig, method: str, where: str = "") -> SearchSpace:
    """Return the search space of a method: the study's or the default one, with what the method adds and replaces.

    It is without the settings that the method's own table fixes. ``where``, such as ``study.toml: ``, begins errors.

    Raises:
        UsageError: an entry is neither a range nor a list of choices.
    """
    own = config.methods[method]
    kind = own.kind(method)
    shared = None if kind in (*WITHOUT_TORCH, COMBINED) else config.tuning.space
    space = default_space(kind) if shared is None else parse_space(shared, f"{where}[tuning.space]")
    space = space | parse_space(own.space, f"{where}[methods.….space] of {kind}")
    fixed = flatten({section: getattr(own, section) for section in SECTIONS})
    return {key: choice for key, choice in space.items() if key not in fixed}


def flatten(table: Settings, prefix: str = "") -> Settings:
    """Return nested tables as one table with dotted keys."""
    result: Settings = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        result |= flatten(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return result


def unflatten(values: Settings) -> Settings:
    """Return a table with dotted keys as nested tables."""
    result: Settings = {}
    for name, value in values.items():
        *path, key = name.split(".")
        table = result
        for section in path:
            table = table.setdefault(section, {})
        table[key] = value
    return result
