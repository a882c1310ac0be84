"""STUDY.toml: which methods are compared on which data, and how."""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from multitudes.config import Config, Name, Seeds, deep_merge, load_toml, parse, suggestion
from multitudes.data.location import is_url
from multitudes.data.prepare import PrepareConfig
from multitudes.data.sample import SAMPLES
from multitudes.errors import UsageError
from multitudes.evaluation.config import EvaluateConfig
from multitudes.evaluation.pair import METHOD as PAIR
from multitudes.pinnersage.run import METHOD as PINNERSAGE
from multitudes.study.search_space import SearchSpace, method_space

Settings = dict[str, Any]  # a section of multitudes.toml, or a part of one
SECTIONS = ("model", "train", "retrieve")
Metric = Literal["hr", "recall", "ndcg", "topics"]


class DataConfig(Config):
    """One data set, [data.NAME]: a sample that is shipped, or a folder of tables."""

    sample: str | None = Field(None, description="name of a data set that is shipped, such as movielens-small")
    tables: Path | None = Field(None, description="folder with events, items and users; relative to the study's file")
    prepare: PrepareConfig = Field(PrepareConfig(), description="how it is prepared and split")
    max_users: int | None = Field(None, ge=1, description="most users asked on this set, in place of [evaluate]")
    model: Settings = Field({}, description="settings of every method on this set")
    train: Settings = Field({}, description="settings of every method on this set")
    retrieve: Settings = Field({}, description="settings of every method on this set")

    @field_validator("tables")
    @classmethod
    def _one_source(cls, tables: Path | None, info: ValidationInfo) -> Path | None:
        sample = info.data.get("sample")
        if (tables is None) == (sample is None):
            raise ValueError("give either sample or tables")
        return tables

    @field_validator("sample")
    @classmethod
    def _sample_is_shipped(cls, sample: str | None) -> str | None:
        if sample is not None and sample not in SAMPLES:
            raise ValueError(f"no such data set is shipped{suggestion(sample, SAMPLES)}")
        return sample


class MethodConfig(Config):
    """One method, [methods.NAME]: what differs from the defaults, and is then not tuned."""

    method: str | None = Field(None, description="as in `multitudes train --method`; default: NAME")
    over: str | None = Field(
        None, description="pinnersage: the method whose item vectors are clustered; default: the items' own embedding"
    )
    pair: tuple[str, str] | None = Field(
        None, description="two trained methods as one system: nothing is trained, each brings its part of the list"
    )
    share: float | None = Field(None, ge=0, le=1, description="pair: part of the first of the two; default: half")
    control_of: str | None = Field(
        None, description="the method that this one is a control of: if its interests matter, it beats this one"
    )
    model: Settings = Field({}, description="settings of the model")
    train: Settings = Field({}, description="settings of training")
    retrieve: Settings = Field({}, description="settings of retrieval")
    space: Settings = Field({}, description="what tuning varies, beside or in place of the study's space")

    def kind(self, name: str) -> str:
        """Return what it is, given its name in the study: a method of ``multitudes train``, pinnersage or a pair."""
        return PAIR if self.pair else self.method or name

    @property
    def base_methods(self) -> tuple[str, ...]:
        """The methods of the study that it is made of; they come before it."""
        return self.pair or ((self.over,) if self.over else ())


class TuningConfig(Config):
    """Section [tuning]: every method gets the same number of trials, judged on the validation split alone."""

    trials: int = Field(0, ge=0, description="trainings tried for each method and data set; 0: no tuning")
    metric: Metric = Field("hr", description="what is maximised, at the main budget, for first-time targets")
    seed: int = Field(0, description="seed of the search, and of the training of its trials")
    space: Settings | None = Field(None, description="what is varied, in place of each method's default space")


class ProcessConfig(Config):
    """Section [run]: how the work is spread over the machine."""

    processes: int = Field(2, ge=1, description="trainings side by side; each gets its part of the cores")


class StudyConfig(Config):
    """A study."""

    name: Name = Field("study", description="what it is called in its report")
    seeds: Seeds = Field((0, 1, 2), min_length=1, description="seeds of training, for every method")
    reference: str | None = Field(None, description="the method that the others are compared with; default: the first")
    data: dict[str, DataConfig] = Field({}, description="the data sets")
    methods: dict[str, MethodConfig] = Field({}, description="the methods")
    model: Settings = Field({}, description="settings of every method on every set")
    train: Settings = Field({}, description="settings of every method on every set")
    retrieve: Settings = Field({}, description="settings of every method on every set")
    evaluate: EvaluateConfig = Field(EvaluateConfig(), description="what is asked; the split is the study's own")
    tuning: TuningConfig = Field(TuningConfig(), description="the search for settings")
    run: ProcessConfig = Field(ProcessConfig(), description="processes")

    @field_validator("data", "methods")
    @classmethod
    def _names_are_plain(cls, named: dict[str, Any]) -> dict[str, Any]:
        for name in named:
            if not name or "/" in name or name.startswith("."):
                raise ValueError(f"'{name}' cannot name a folder or a row; expected letters, digits, - and _")
        return named

    @field_validator("evaluate")
    @classmethod
    def _split_is_not_chosen(cls, evaluate: EvaluateConfig) -> EvaluateConfig:
        if "split" in evaluate.model_fields_set:
            raise ValueError("split is not set here: a study shows validation, and test with --open-test")
        return evaluate

    @property
    def reference_method(self) -> str:
        """The method that the others are compared with."""
        return self.reference or next(iter(self.methods))


def read_study(file: Path) -> StudyConfig:
    """Read a study; whatever can be refused is refused here, before hours of work.

    Raises:
        UsageError: the file is missing, is no TOML, or names something that does not exist.
    """
    tables = load_toml(file, "examples/quick.toml shows one")
    config = parse(StudyConfig, tables, str(file))
    for section in ("data", "methods"):
        if not getattr(config, section):
            raise UsageError(f"{file}: no [{section}.NAME]; a study needs at least one")
    if config.reference_method not in config.methods:
        known = tuple(config.methods)
        raise UsageError(
            f"{file}: reference = '{config.reference_method}' is none of its methods"
            f"{suggestion(config.reference_method, known)}"
        )
    for name in config.methods:
        _check_base_methods(config, name, f"{file}: [methods.{name}]")
        _check_control(config, name, f"{file}: [methods.{name}]")
    data = {name: _locate_tables(name, data, file) for name, data in config.data.items()}
    return config.model_copy(update={"data": data})


def _check_control(config: StudyConfig, name: str, where: str) -> None:
    """Check that a control names another method of the study, and is the only one that does."""
    of = config.methods[name].control_of
    if of is None:
        return
    if of == name or of not in config.methods:
        others = tuple(other for other in config.methods if other != name)
        raise UsageError(f"{where}: control_of = '{of}' is no other method of this study{suggestion(of, others)}")
    rivals = [other for other, method in config.methods.items() if method.control_of == of]
    if len(rivals) > 1:
        raise UsageError(f"{where}: {' and '.join(rivals)} are both control_of = '{of}'; expected one for each method")


def _check_base_methods(config: StudyConfig, name: str, where: str) -> None:
    """Check that what is made of other methods names trained ones, and sets nothing that is theirs."""
    own = config.methods[name]
    kind = own.kind(name)
    if own.over is not None and kind != PINNERSAGE:
        raise UsageError(f"{where}: over is of {PINNERSAGE} alone; leave it out")
    if kind == PAIR and own.pair is None:
        raise UsageError(f"{where}: of which two? Give pair = two methods of this study")
    if own.share is not None and own.pair is None:
        raise UsageError(f"{where}: share is of a pair alone; leave it out")
    if own.pair and (own.method or own.model or own.train or own.retrieve):
        raise UsageError(f"{where}: a pair is trained and served as its two methods are; only share can be set")
    trained = tuple(n for n, m in config.methods.items() if m.kind(n) not in (PINNERSAGE, PAIR))
    for other in own.base_methods:
        if other not in trained:
            key = "pair" if own.pair else "over"
            raise UsageError(
                f"{where}: {key} names '{other}', no trained method of this study{suggestion(other, trained)}"
            )


def _locate_tables(name: str, data: DataConfig, file: Path) -> DataConfig:
    if data.sample is None and data.tables is None:
        raise UsageError(f"{file}: [data.{name}]: no source; give sample = one of {', '.join(SAMPLES)}, or tables")
    if data.tables is None or is_url(data.tables):
        return data
    tables = Path(os.path.normpath(file.parent / data.tables))
    if not tables.is_dir():
        raise UsageError(f"{file}: [data.{name}]: {tables} is no folder; expected one with events, items and users")
    return data.model_copy(update={"tables": tables})


def method_settings(config: StudyConfig, data: str, method: str) -> Settings:
    """Return the sections [model], [train] and [retrieve] of a method on a data set, before tuning."""
    own = config.methods[method]
    if own.pair:
        return {"model": {} if own.share is None else {"share": own.share}, "train": {}, "retrieve": {}}
    if own.kind(method) == PINNERSAGE:  # it has settings of its own, and nothing is trained
        return {"model": own.model, "train": own.train, "retrieve": deep_merge(config.retrieve, own.retrieve)}
    layers = (config, config.data[data], own)
    return {section: deep_merge(*(getattr(layer, section) for layer in layers)) for section in SECTIONS}


def search_space(config: StudyConfig, method: str, where: str = "") -> SearchSpace:
    """Return what tuning varies for a method: nothing that the method's own table sets; ``where`` begins an error.

    Raises:
        UsageError: the space is no space.
    """
    own = config.methods[method]
    kind = own.kind(method)
    wide = method_space(kind, None if kind in (PINNERSAGE, PAIR) else config.tuning.space, own.space, where)
    fixed = flatten({section: getattr(own, section) for section in SECTIONS})
    return {key: choice for key, choice in wide.items() if key not in fixed}


def flatten(table: Settings, prefix: str = "") -> Settings:
    """Return nested tables as one, its keys dotted."""
    result: Settings = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        result |= flatten(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return result


def unflatten(values: Settings) -> Settings:
    """Return dotted keys as nested tables."""
    result: Settings = {}
    for name, value in values.items():
        *path, key = name.split(".")
        table = result
        for part in path:
            table = table.setdefault(part, {})
        table[key] = value
    return result
