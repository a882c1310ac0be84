"""``multitudes train``: a prepared data set becomes a run."""

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multitudes.cli.output import print_json, progress_bar
from multitudes.progress import Progress, silent

if TYPE_CHECKING:
    from multitudes.data.prepared import PreparedData
    from multitudes.training.config import RunConfig


class MethodName(StrEnum):
    """The methods; the last one, over item vectors that exist already, needs no training."""

    SINGLE = "single"
    TRANSFORMER = "transformer"
    CLUSTERING = "clustering"
    CONDITIONAL = "conditional"
    JOINT = "joint"
    ROUTING = "routing"
    DYNAMIC_ROUTING = "dynamic_routing"
    SELF_ATTENTION = "self_attention"
    TOKENS = "tokens"
    SUBSEQUENCE = "subsequence"
    RANDOM_PARTITION = "random_partition"
    PINNERSAGE = "pinnersage"


METHOD_HELP = f"Which vectors a user gets: {', '.join(MethodName)}. Left out: {MethodName.JOINT}, or as in RUN."


def train_command(
    prepared: Annotated[Path, typer.Argument(help="Folder written by `multitudes prepare`.")],
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    method: Annotated[MethodName | None, typer.Option(metavar="<method>", help=METHOD_HELP)] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of every draw.")] = 0,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with [model], [train] and [execution], or [pinnersage].")
    ] = None,
    refit: Annotated[
        Path | None, typer.Option(help="A run whose settings and epochs are taken, to train on validation too.")
    ] = None,
    continues: Annotated[
        Path | None, typer.Option("--continue", help="A finished run to go on from, with newer data.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Train a model; Ctrl-C saves and --resume goes on.

    A resumed run ends with the identical weights. The method pinnersage clusters item vectors that exist already: there
    is nothing to train, and the run is made at once. --refit RUN trains once more what RUN's validation has chosen, on
    the validation events too: a last fit before publishing. --continue RUN goes on with RUN's weights and its
    optimiser's state on the events that came since, for one epoch or as many as [train] of --config says. Several
    processes train one model under torchrun: docs/training.md.
    """
    if method is MethodName.PINNERSAGE and refit is None and continues is None:
        make_pinnersage(prepared, out, seed, config, resume, overwrite, json)
        return
    from multitudes.cli.extras import require_torch

    require_torch()
    from multitudes.config import load_section
    from multitudes.data.prepared import PreparedData
    from multitudes.training.distributed import is_restart, join_ranks, report_error_once
    from multitudes.training.execution import ExecutionConfig
    from multitudes.training.loop import fit

    with report_error_once():
        check_one_origin(method, refit, continues)
        settings = run_config(method, seed, config) if refit is None else refit_config(refit, seed)
        if continues is not None:
            settings = continue_config(continues, seed, config)
        execution = load_section(config, "execution", ExecutionConfig)
        data = PreparedData.open(prepared)
        if continues is not None:
            print_known_items(continues, data)
        # Ranks that were started anew go on where they were, and replace nothing.
        how = {"resume": resume or is_restart(), "overwrite": overwrite and not is_restart()}
        with (
            join_ranks(execution.timeout_s) as ranks,
            _progress_if(f"train {settings.method}", ranks.is_first) as progress,
        ):
            fit(data, settings, out, **how, execution=execution, ranks=ranks, progress=progress)
    if not ranks.is_first:
        return
    record = print_run(out)
    if json:
        print_json(
            {
                "run": str(out),
                "method": settings.method,
                "seed": seed,
                "best_epoch": record["best_epoch"],
                "validation": {_validation_metric(record): record["validation_hit_rate"]},
            }
        )


def _progress_if(title: str, shown: bool) -> AbstractContextManager[Progress]:
    return progress_bar(title) if shown else nullcontext(silent)


def make_pinnersage(
    prepared: Path, out: Path, seed: int, config: Path | None, resume: bool, overwrite: bool, json: bool
) -> None:
    """Make a run of item vectors that exist already; needs no torch."""
    from multitudes.config import load_section
    from multitudes.data.prepared import PreparedData
    from multitudes.pinnersage.clustering import PinnerSageConfig
    from multitudes.pinnersage.run import METHOD
    from multitudes.run_record import read_record
    from multitudes.training.runs import make_pinnersage_run

    settings = load_section(config, METHOD, PinnerSageConfig)
    data = PreparedData.open(prepared)
    make_pinnersage_run(data, out, settings, seed=seed, resume=resume, overwrite=overwrite)
    items, width = (read_record(out)[name] for name in ("items_with_vectors", "width"))
    source = f"the run {settings.vectors}" if settings.vectors else "the column 'embedding'"
    typer.echo(f"{out}: {METHOD} over the vectors of {items:,} of {data.n_items:,} items, {width} wide, from {source}")
    if json:
        print_json({"run": str(out), "method": METHOD, "seed": seed, "items_with_vectors": items, "width": width})


def check_one_origin(method: MethodName | None, refit: Path | None, continues: Path | None) -> None:
    """Refuse options of which each says what to begin with.

    Raises:
        UsageError: more than one of them was given.
    """
    from multitudes.errors import UsageError

    if refit is not None and continues is not None:
        raise UsageError("--refit and --continue: each says what to begin with; give one of them")
    for option, run in (("--refit", refit), ("--continue", continues)):
        if method is not None and run is not None:
            raise UsageError(f"--method {method.value}: {option} takes the method of {run}; leave --method out")


def print_known_items(run: Path, data: "PreparedData") -> None:
    """Say of how much of ``data`` the run knows, and where the optimiser begins anew.

    Raises:
        UsageError: it knows nothing of it.
    """
    from multitudes.run_record import open_prepared, read_record
    from multitudes.training.distributed import is_first_rank
    from multitudes.training.optimizer_state import STATE_FILE
    from multitudes.training.warm_start import count_known_items

    items = count_known_items(data, open_prepared(read_record(run), run))
    if not is_first_rank():
        return
    typer.echo(f"{run}: knows {items:,} of {data.n_items:,} items", err=True)
    if not (run / STATE_FILE).exists():
        typer.echo(f"{run}: kept no state ({STATE_FILE}); the optimiser begins anew", err=True)


def run_config(method: MethodName | None, seed: int, config: Path | None) -> "RunConfig":
    """Return the settings of a run, with [model] and [train] of the file ``config``."""
    from multitudes.config import load_section
    from multitudes.nn.user_tower_config import UserTowerConfig
    from multitudes.training.config import RunConfig, TrainConfig

    return RunConfig(
        method=(method or MethodName.JOINT).value,
        seed=seed,
        model=load_section(config, "model", UserTowerConfig),
        train=load_section(config, "train", TrainConfig),
    )


def refit_config(run: Path, seed: int) -> "RunConfig":
    """Return the settings of a last fit: those of ``run``, for as many epochs as were best there."""
    from multitudes.config import parse
    from multitudes.errors import UsageError
    from multitudes.run_record import read_record
    from multitudes.training.config import RunConfig

    record = read_record(run)
    if not record["finished"] or record["config"]["method"] == MethodName.PINNERSAGE:
        raise UsageError(f"--refit {run}: expected a run whose training is finished")
    settings = record["config"]
    train = settings["train"] | {"final": True, "epochs": record["best_epoch"]}
    return parse(RunConfig, settings | {"seed": seed, "train": train, "shares": record["shares"]}, f"{run}/run.json")


def continue_config(run: Path, seed: int, config: Path | None) -> "RunConfig":
    """Return the settings of a run that goes on from ``run``: its own, for one epoch, under [train] of ``config``."""
    from multitudes.config import deep_merge, parse, read_sections
    from multitudes.nn.user_tower_config import UserTowerConfig
    from multitudes.training.config import RunConfig, TrainConfig
    from multitudes.training.trained_run import TrainedRun
    from multitudes.training.warm_start import warm_start_config

    before = TrainedRun.open(run)
    given = {} if config is None else read_sections(config)
    train = deep_merge(before.config.train.model_dump(), {"epochs": 1}, given.get("train", {}))
    model = deep_merge(before.config.model.model_dump(), given.get("model", {}))
    settings = RunConfig(
        method=before.config.method,
        seed=seed,
        model=parse(UserTowerConfig, model, f"{config}: [model]"),
        train=parse(TrainConfig, train, f"{config}: [train]"),
    )
    return warm_start_config(settings, before)


def print_run(run: Path) -> dict[str, Any]:
    """Print how training ended, and return the run's record."""
    from multitudes.run_record import read_record

    record = read_record(run)
    if record["config"].get("train", {}).get("final"):
        typer.echo(f"{run}: {record['config']['method']}, trained on validation too, {record['best_epoch']} epochs")
        return record
    if not record["judged_users"]:
        typer.echo(f"{run}: no user has a first-time target in validation; the last epoch was kept", err=True)
    typer.echo(
        f"{run}: {record['config']['method']}, best epoch {record['best_epoch']},"
        f" validation {_validation_metric(record).upper()} {record['validation_hit_rate']:.4f}"
    )
    return record


def _validation_metric(record: dict[str, Any]) -> str:
    """Return the name of the figure by which the best epoch was chosen."""
    train = record["config"]["train"]
    return f"hr@{train.get('eval_k', train.get('validate_at'))}"  # validate_at: runs of version 0.1
