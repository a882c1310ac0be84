"""The configuration of a run: from a file, from a finished run that is fitted again, or to continue a finished run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multitudes.config import NO_OVERRIDES, Config, deep_merge, load_section, parse
from multitudes.errors import UsageError
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.run_record import read_record
from multitudes.training.config import RunConfig, TrainConfig, with_linear_of
from multitudes.training.trained_run import TrainedRun
from multitudes.training.warm_start import warm_start_config


def load_run_config(
    method: str, seed: int, file: Path | None, overrides: Mapping[str, Any] = NO_OVERRIDES
) -> RunConfig:
    """Return the configuration of a new run: that of the file, if there is one, changed by the overrides.

    Raises:
        UsageError: the file is missing or holds a wrong setting.
    """
    model = load_section(file, "model", UserTowerConfig, overrides)
    train = load_section(file, "train", TrainConfig, overrides)
    return parse(RunConfig, {"method": method, "seed": seed, "model": model, "train": train}, "options")


def refit_config(run: Path, seed: int) -> RunConfig:
    """Return the configuration of a final fit on training and validation events: that of ``run``, for its best epochs.

    Raises:
        ArtefactError: ``run`` is no run.
        UsageError: its training is not finished, or its method is not trained.
    """
    record = read_record(run)
    settings = record["config"]
    if not record["finished"] or "train" not in settings:
        raise UsageError(f"--refit {run}: expected a run whose training is finished")
    train = settings["train"] | {"epochs": record["best_epoch"]}
    chosen = {"shares": record["shares"], "calibration": record["calibration"]}
    config = parse(RunConfig, settings | {"seed": seed, "train": train, "final": True} | chosen, f"{run}/run.json")
    return with_linear_of(config, record)


def continue_config(run: Path, seed: int, file: Path | None, overrides: Mapping[str, Any] = NO_OVERRIDES) -> RunConfig:
    """Return the configuration of a run that continues ``run``: its own, for one epoch, changed by [train].

    Raises:
        ArtefactError: ``run`` is no run, or is damaged.
        UsageError: a setting is wrong, or does not fit the weights of ``run``.
    """
    previous = TrainedRun.open(run)
    given_model = _given_settings(file, "model", UserTowerConfig, overrides)
    given_train = _given_settings(file, "train", TrainConfig, overrides)
    model = deep_merge(previous.config.model.model_dump(), given_model)
    train = deep_merge(previous.config.train.model_dump(), {"epochs": 1}, given_train)
    config = RunConfig(
        method=previous.config.method,
        seed=seed,
        model=parse(UserTowerConfig, model, f"{file}: [model]"),
        train=parse(TrainConfig, train, f"{file}: [train]"),
    )
    return with_linear_of(warm_start_config(config, previous), read_record(run))


def _given_settings(
    file: Path | None, section: str, model: type[Config], overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings of a section that the file or the overrides set, with their current names."""
    return load_section(file, section, model, overrides).model_dump(exclude_unset=True)
