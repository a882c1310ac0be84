"""WORLD.toml: a world, the arms that are tried in it, and for how long."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator

from multitudes.config import Config, Name, Seeds, deep_merge, load_toml, parse, suggestion
from multitudes.errors import UsageError
from multitudes.index.factory import IndexConfig
from multitudes.nn.methods import METHODS, Method
from multitudes.retrieval.config import RetrieveConfig
from multitudes.simulation.world import World
from multitudes.simulation.world_config import CONTROLS, WorldConfig
from multitudes.training.config import RunConfig

Settings = dict[str, Any]  # a section of multitudes.toml, or a part of one
PolicyName = Literal["popular", "followed"]


class ArmConfig(Config):
    """One arm, [arms.NAME]: a method that is trained in the world, or a policy that learns nothing."""

    method: Method | None = Field(None, description="as in `multitudes train --method`; default: NAME")
    policy: PolicyName | None = Field(
        None, description="popular, or followed (an inverted index from topics to items): nothing is trained"
    )
    like: str | None = Field(None, description="the arm whose training this one shares; it differs in [retrieve] alone")
    model: Settings = Field({}, description="settings of the model")
    train: Settings = Field({}, description="settings of training")
    retrieve: Settings = Field({}, description="settings of retrieval")


class LoopConfig(Config):
    """Section [loop]: how long, how much is shown, how often is learned."""

    model_config = ConfigDict(allow_inf_nan=False)

    past_days: int = Field(30, ge=1, description="days before day 0, in which users saved what they found themselves")
    bootstrap_days: int = Field(14, ge=1, description="days in which everybody is served without a model, and logged")
    days: int = Field(14, ge=1, description="days of the test")
    retrain_every: int = Field(0, ge=0, description="days after which each arm learns from its own logs; 0: never")
    candidates: int = Field(100, ge=1, description="N, retrieved for a visit, in every arm")
    slots: int = Field(30, ge=1, description="shown at a visit, of the candidates, as the ranker has them")
    ranker_noise: float = Field(
        1.0, ge=0, description="what the ranker, common to all arms, does not see: deviation, in units of appeal"
    )


class ExperimentConfig(Config):
    """An experiment in a world."""

    name: Name = Field("experiment", description="what it is called in its report")
    seeds: Seeds = Field((0,), min_length=1, description="each is a world and trainings of its own")
    control: str | None = Field(None, description="the arm that others are compared with; default: the first")
    world: WorldConfig = Field(WorldConfig(), description="the world; its seed is that of the experiment")
    loop: LoopConfig = Field(LoopConfig(), description="how long, how much, how often")
    arms: dict[str, ArmConfig] = Field({}, description="what is tried")
    model: Settings = Field({}, description="settings of every method")
    train: Settings = Field({}, description="settings of every method")
    retrieve: Settings = Field({}, description="settings of every method")
    index: IndexConfig = Field(IndexConfig(), description="the index of every release")

    @field_validator("arms")
    @classmethod
    def _check_arm_names(cls, arms: dict[str, ArmConfig]) -> dict[str, ArmConfig]:
        for name in arms:
            if not name or "/" in name or name.startswith("."):
                raise ValueError(f"'{name}' cannot name a folder; expected letters, digits, - and _")
        return arms

    @property
    def control_arm(self) -> str:
        """The arm that the others are compared with."""
        return self.control or next(iter(self.arms))

    def build_world(self, seed: int) -> World:
        """Return the world of a seed."""
        return World(self.world.model_copy(update={"seed": seed}))

    def run_config(self, arm: str, seed: int) -> RunConfig:
        """Return what is trained for a learning arm, or for the one whose training it shares."""
        own = self.arms[arm]
        if own.like is not None:
            return self.run_config(own.like, seed)
        table = {section: deep_merge(getattr(self, section), getattr(own, section)) for section in ("model", "train")}
        return parse(RunConfig, table | {"method": own.method or arm, "seed": seed}, f"[arms.{arm}]")

    def retrieve_config(self, arm: str) -> RetrieveConfig:
        """Return how an arm retrieves; what is left open is as its training fitted it."""
        own = self.arms[arm]
        return parse(RetrieveConfig, deep_merge(self.retrieve, own.retrieve), f"[arms.{arm}.retrieve]")


def read_experiment(file: Path, arms: Sequence[str] = (), control_world: str | None = None) -> ExperimentConfig:
    """Read an experiment; whatever can be refused is refused here, before the work.

    Args:
        file: WORLD.toml.
        arms: only these, in the order of the file; none: all.
        control_world: of ``CONTROLS``, with a hyphen for a blank: laid over the world of the file.

    Raises:
        UsageError: the file is missing, is no TOML, or names something that does not exist.
    """
    tables = load_toml(file, "examples/world.toml shows one")
    if "seed" in tables.get("world", {}):
        raise UsageError(f"{file}: [world] seed: an experiment may have several worlds; give seeds = [0] above it")
    if control_world is not None:
        name = tables.get("name", ExperimentConfig.model_fields["name"].default)
        laid_under = deep_merge(tables.get("world", {}), CONTROLS[control_world.replace("-", " ")])
        tables |= {"name": f"{name}-{control_world}", "world": laid_under}
    config = parse(ExperimentConfig, tables, str(file))
    if not config.arms:
        raise UsageError(f"{file}: no [arms.NAME]; an experiment needs at least one")
    if arms:
        config = _select_arms(config, arms, file)
    if config.control_arm not in config.arms:
        known = tuple(config.arms)
        raise UsageError(f"{file}: control = '{config.control}' is no arm of it{suggestion(config.control_arm, known)}")
    if config.loop.slots > config.loop.candidates:
        raise UsageError(
            f"{file}: [loop] slots = {config.loop.slots}, candidates = {config.loop.candidates}; what is shown is of"
            " the candidates: expected at most as many"
        )
    for name in config.arms:
        _check_arm(config, name, f"{file}: [arms.{name}]")
    return config


def _select_arms(config: ExperimentConfig, arms: Sequence[str], file: Path) -> ExperimentConfig:
    """Return the experiment with some of its arms."""
    for name in arms:
        if name not in config.arms:
            raise UsageError(f"{file}: --arm {name} is no arm of it{suggestion(name, tuple(config.arms))}")
        like = config.arms[name].like
        if like is not None and like not in arms:
            raise UsageError(f"{file}: --arm {name} shares the training of {like}; give --arm {like} too")
    chosen = {name: own for name, own in config.arms.items() if name in arms}
    return config.model_copy(update={"arms": chosen, "control": config.control_arm})


def _check_arm(config: ExperimentConfig, name: str, where: str) -> None:
    own = config.arms[name]
    if own.policy is not None:
        if own.method or own.like or own.model or own.train or own.retrieve:
            raise UsageError(f"{where}: policy = '{own.policy}' learns nothing; leave out its other settings")
        return
    if own.like is not None:
        trained = tuple(arm for arm, other in config.arms.items() if not other.policy and not other.like)
        if own.like not in trained:
            raise UsageError(
                f"{where}: like = '{own.like}' is no arm with a training of its own{suggestion(own.like, trained)}"
            )
        if own.method or own.model or own.train:
            raise UsageError(f"{where}: it shares the training of {own.like}; only [retrieve] can differ")
    elif (own.method or name) not in METHODS:
        raise UsageError(
            f"{where}: no method of this name{suggestion(name, tuple(METHODS))}; set method, or policy = 'followed' or"
            " 'popular'"
        )
    config.run_config(name, config.seeds[0])
    config.retrieve_config(name)
