"""The configuration of a run: from a file, from a finished run that is fitted again, or to continue a finished run."""

from pathlib import Path
from typing import Any

from multitudes.config import Config, current_names, deep_merge, load_section, parse
from multitudes.errors import UsageError
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.run_record import read_record
from multitudes.training.config import RunConfig, TrainConfig, with_linear_of
from multitudes.training.trained_run import TrainedRun
from multitudes.training.warm_start import warm_start_config


def load_run_config(method: str, seed: int, file: Path | None) -> RunConfig:
    """Return the configuration of a new run.

    Args:
        method: name of the method.
        seed: of every random stream.
        file: TOML file with [model] and [train]; None: the defaults.

    Raises:
        UsageError: the file is missing or holds a wrong setting.
    """
    model, train = load_section(file, "model", UserTowerConfig), load_section(file, "train", TrainConfig)
    return parse(RunConfig, {"method": method, "seed": seed, "model": model, "train": train}, "options")


def refit_config(run: Path, seed: int) -> RunConfig:
    """Return the configuration of a final fit on training and validation events: that of ``run``, for its best epochs.

    Raises:
        ArtefactError: ``run`` is no run.
        UsageError: its training is not finished, or its method is not trained.
    """
    record = read_record(run)
    settings = current_names(RunConfig, record["config"], warn=False)
    if not record["finished"] or "train" not in settings:
        raise UsageError(f"--refit {run}: expected a run whose training is finished")
    train = settings["train"] | {"final": True, "epochs": record["best_epoch"]}
    shares = {"shares": record["shares"], "shares_by_history": record.get("shares_by_history", {})}
    config = parse(RunConfig, settings | {"seed": seed, "train": train} | shares, f"{run}/run.json")
    return with_linear_of(config, record)


def continue_config(run: Path, seed: int, file: Path | None) -> RunConfig:
    """Return the configuration of a run that continues ``run``: its own, for one epoch, changed by [train] of ``file``.

    Raises:
        ArtefactError: ``run`` is no run, or is damaged.
        UsageError: a setting of the file is wrong, or does not fit the weights of ``run``.
    """
    previous = TrainedRun.open(run)
    model = deep_merge(previous.config.model.model_dump(), _given_settings(file, "model", UserTowerConfig))
    train = deep_merge(previous.config.train.model_dump(), {"epochs": 1}, _given_settings(file, "train", TrainConfig))
    config = RunConfig(
        method=previous.config.method,
        seed=seed,
        model=parse(UserTowerConfig, model, f"{file}: [model]"),
        train=parse(TrainConfig, train, f"{file}: [train]"),
    )
    return with_linear_of(warm_start_config(config, previous), read_record(run))


def _given_settings(file: Path | None, section: str, model: type[Config]) -> dict[str, Any]:
    """Return the settings that a section of the file sets, with their current names."""
    return load_section(file, section, model).model_dump(exclude_unset=True)
