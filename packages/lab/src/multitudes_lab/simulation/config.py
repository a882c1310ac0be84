"""WORLD.toml: a world, the arms compared in it, and the length of the test."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from multitudes.config import (
    NO_OVERRIDES,
    Config,
    Name,
    Seeds,
    deep_merge,
    load_toml,
    parse,
    parse_with_overrides,
    suggestion,
)
from multitudes.errors import UsageError
from multitudes.index.factory import IndexConfig
from multitudes.nn.methods import METHODS, Method
from multitudes.retrieval.config import RetrieveConfig
from multitudes.training.config import RunConfig
from multitudes_lab.simulation.world import World
from multitudes_lab.simulation.world_config import CONTROLS, WorldConfig

Settings = dict[str, Any]  # a section of multitudes.toml, or some of its settings
PolicyName = Literal["popular", "followed"]


class ArmConfig(Config):
    """One arm, [arms.NAME]: a method that is trained in the world, or a policy without training."""

    method: Method | None = Field(None, description="as in `multitudes train --method`; default: NAME")
    policy: PolicyName | None = Field(
        None, description="popular, or followed (an inverted index from topics to items): nothing is trained"
    )
    like: str | None = Field(None, description="the arm whose training this one shares; only [retrieve] may differ")
    model: Settings = Field({}, description="settings of the model")
    train: Settings = Field({}, description="settings of training")
    retrieve: Settings = Field({}, description="settings of retrieval")
    rerank: Literal["mmr", "dpp"] | None = Field(
        None, description="a reference chooses the list from a longer one; λ by the hits of the validation split"
    )


class LoopConfig(Config):
    """Section [loop]: length of the test, size of the lists, and how often arms train again."""

    model_config = ConfigDict(allow_inf_nan=False)

    past_days: int = Field(30, ge=1, description="days before day 0, with organic saves and no feed")
    bootstrap_days: int = Field(14, ge=1, description="days in which all users are served without a model, and logged")
    days: int = Field(14, ge=1, description="days of the test")
    retrain_every: int = Field(0, ge=0, description="days after which each arm trains on its own logs; 0: never")
    candidates: int = Field(100, ge=1, description="N, candidates retrieved for a visit, in every arm")
    slots: int = Field(30, ge=1, description="candidates shown at a visit, chosen by the ranker")
    ranker: Literal["knows", "learns"] = Field(
        "knows",
        description="how all arms rank candidates: knows sees what users want, through noise; learns is fitted to the"
        " arm's own logs at each training, and shows candidates by chance before the first",
    )
    ranker_noise: float = Field(
        1.0, ge=0, description="standard deviation of the noise of the ranker that knows, in units of appeal"
    )

    def training_day(self, day: int) -> int:
        """Return the day on whose morning the releases of a day of the test were trained."""
        passed = day - self.bootstrap_days
        return self.bootstrap_days + (passed // self.retrain_every * self.retrain_every if self.retrain_every else 0)


class ExperimentConfig(Config):
    """An experiment in a simulated world."""

    name: Name = Field("experiment", description="name in the report")
    seeds: Seeds = Field((0,), min_length=1, description="each has its own world and trainings")
    control: str | None = Field(None, description="the arm that others are compared with; default: the first")
    world: WorldConfig = Field(WorldConfig(), description="the world; its seed is that of the experiment")
    loop: LoopConfig = Field(LoopConfig(), description="length of the test, size of the lists")
    arms: dict[Name, ArmConfig] = Field({}, description="the arms")
    model: Settings = Field({}, description="settings of every method")
    train: Settings = Field({}, description="settings of every method")
    retrieve: Settings = Field({}, description="settings of every method")
    index: IndexConfig = Field(IndexConfig(), description="the index of every release")

    @property
    def control_arm(self) -> str:
        """The arm that the others are compared with."""
        return self.control or next(iter(self.arms))

    def build_world(self, seed: int) -> World:
        """Return the world of a seed."""
        return World(self.world.model_copy(update={"seed": seed}))

    def run_config(self, arm: str, seed: int) -> RunConfig:
        """Return the run to train for an arm, or for the arm whose training it shares."""
        config = self.arms[arm]
        if config.like is not None:
            return self.run_config(config.like, seed)
        table = {name: deep_merge(getattr(self, name), getattr(config, name)) for name in ("model", "train")}
        return parse(RunConfig, table | {"method": config.method or arm, "seed": seed}, f"[arms.{arm}]")

    def retrieve_config(self, arm: str) -> RetrieveConfig:
        """Return the retrieval settings of an arm; what they leave open is as its training fitted it."""
        settings = deep_merge(self.retrieve, self.arms[arm].retrieve)
        return parse(RetrieveConfig, settings, f"[arms.{arm}.retrieve]")


def read_experiment(
    file: Path,
    arms: Sequence[str] = (),
    control_world: str | None = None,
    overrides: Mapping[str, Any] = NO_OVERRIDES,
) -> ExperimentConfig:
    """Read and check an experiment, before any work begins.

    Args:
        file: WORLD.toml.
        arms: use only these arms, in the order of the file; empty: all.
        control_world: a key of ``CONTROLS`` with a hyphen for the blank; its settings replace those of the file.
        overrides: settings as nested tables, which count more than the file.

    Raises:
        UsageError: the file is missing, is not TOML, or names something that does not exist.
    """
    tables = load_toml(file, "examples/world.toml shows one")
    if "seed" in {**tables.get("world", {}), **overrides.get("world", {})}:
        raise UsageError(f"{file}: [world] seed: an experiment has one world per seed; give seeds = [0] at the top")
    if control_world is not None:
        controls = {name.replace(" ", "-"): settings for name, settings in CONTROLS.items()}
        if control_world not in controls:
            raise UsageError(f"--control-world {control_world}: no such world{suggestion(control_world, [*controls])}")
        name = tables.get("name", ExperimentConfig.model_fields["name"].default)
        world = deep_merge(tables.get("world", {}), controls[control_world])
        tables |= {"name": f"{name}-{control_world}", "world": world}
    config = parse_with_overrides(ExperimentConfig, tables, str(file), overrides)
    if not config.arms:
        raise UsageError(f"{file}: no [arms.NAME]; an experiment needs at least one")
    if arms:
        config = _select_arms(config, arms, file)
    if config.control_arm not in config.arms:
        known = tuple(config.arms)
        raise UsageError(f"{file}: control = '{config.control}': no such arm{suggestion(config.control_arm, known)}")
    if config.loop.slots > config.loop.candidates:
        raise UsageError(
            f"{file}: [loop] slots = {config.loop.slots}, candidates = {config.loop.candidates}; slots show candidates:"
            " expected at most as many slots"
        )
    for name in config.arms:
        _check_arm(config, name, f"{file}: [arms.{name}]")
    return config


def _select_arms(config: ExperimentConfig, arms: Sequence[str], file: Path) -> ExperimentConfig:
    """Return the experiment with only some of its arms."""
    for name in arms:
        if name not in config.arms:
            raise UsageError(f"{file}: --arm {name}: no such arm{suggestion(name, tuple(config.arms))}")
        like = config.arms[name].like
        if like is not None and like not in arms:
            raise UsageError(f"{file}: --arm {name} shares the training of {like}; give --arm {like} too")
    selected = {name: arm for name, arm in config.arms.items() if name in arms}
    return config.model_copy(update={"arms": selected, "control": config.control_arm})


def _check_arm(config: ExperimentConfig, name: str, where: str) -> None:
    """Check the settings of one arm; ``where`` names it in errors."""
    arm = config.arms[name]
    if arm.policy is not None:
        if arm.method or arm.like or arm.model or arm.train or arm.retrieve or arm.rerank:
            raise UsageError(f"{where}: policy = '{arm.policy}' is not trained; leave out its other settings")
        return
    if arm.like is not None:
        trained = tuple(other for other, own in config.arms.items() if not own.policy and not own.like)
        if arm.like not in trained:
            raise UsageError(f"{where}: like = '{arm.like}': no arm that is trained{suggestion(arm.like, trained)}")
        if arm.method or arm.model or arm.train:
            raise UsageError(f"{where}: it shares the training of {arm.like}; only [retrieve] and rerank can differ")
    elif (arm.method or name) not in METHODS:
        raise UsageError(
            f"{where}: no method of this name{suggestion(name, tuple(METHODS))}; set method, or policy = 'followed' or"
            " 'popular'"
        )
    config.run_config(name, config.seeds[0])
    config.retrieve_config(name)
