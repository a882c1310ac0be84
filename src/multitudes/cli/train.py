"""``multitudes train``: train a model on prepared data, or make a run from existing item vectors."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from multitudes.cli.options import SetOption, parse_overrides
from multitudes.cli.output import config_words, print_json, print_next
from multitudes.errors import ArtefactError, UsageError
from multitudes.extras import require_extra
from multitudes.nn.methods import (
    COMBINED,
    DEFAULT_METHOD,
    FOLLOWED,
    LINEAR,
    METHOD_NAMES,
    NEIGHBOURS,
    PINNERSAGE,
    WITHOUT_TORCH,
)
from multitudes.progress import ProgressBar, amount

if TYPE_CHECKING:
    from multitudes.data.prepared import PreparedData

METHOD_HELP = (
    f"How user vectors are made: {', '.join(METHOD_NAMES)}, or a plugin's. Default: {DEFAULT_METHOD}, or RUN's."
)


def train_command(
    prepared: Annotated[Path, typer.Argument(help="Folder written by `multitudes prepare`.")],
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    method: Annotated[str | None, typer.Option(metavar="<method>", help=METHOD_HELP)] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of all random draws.")] = 0,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with [model], [train] and [execution], or [pinnersage] or [linear].")
    ] = None,
    overrides: SetOption = None,
    refit: Annotated[
        Path | None, typer.Option(help="Take settings and epochs of this run, and train on validation events too.")
    ] = None,
    continues: Annotated[
        Path | None, typer.Option("--continue", help="Continue this finished run with newer data.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run.")] = False,
) -> None:
    """Train a model; after Ctrl-C, --resume goes on.

    A resumed run ends with the same weights to the byte. The method pinnersage clusters existing item vectors, and
    followed is an inverted index from topics to items: there is nothing to train. --refit RUN trains a final model with
    the settings and the number of epochs that RUN's validation chose, on the validation events too. --continue RUN
    starts from RUN's weights and optimiser state and trains on the events that came since, for one epoch, or as many as
    [train] of --config says. The methods linear and neighbours train no tower: --refit RUN and --continue RUN both fit
    them anew, with RUN's settings and what its validation chose, on validation events too. Under torchrun several
    processes train one model: docs/ranks.md.
    """
    _check_method(method or DEFAULT_METHOD)
    options = _Options(prepared, out, seed, config, overrides, {"resume": resume, "overwrite": overwrite})
    if method in (PINNERSAGE, FOLLOWED) and refit is None and continues is None:
        (_make_pinnersage if method == PINNERSAGE else _make_followed)(options)
        return
    for name, make in ((LINEAR, _make_linear), (NEIGHBOURS, _make_neighbours)):
        if name in (method, _method_of(refit), _method_of(continues)):
            _check_one_origin(method, refit, continues)
            make(options, refit or continues)
            return
    require_extra("train")
    from multitudes.config import load_section
    from multitudes.data.prepared import PreparedData
    from multitudes.training.config import load_run_config, refit_config
    from multitudes.training.distributed import is_restart, join_ranks, report_error_once
    from multitudes.training.execution import ExecutionConfig
    from multitudes.training.loop import fit
    from multitudes.training.warm_start import continue_config

    with report_error_once():
        _check_one_origin(method, refit, continues)
        if refit is not None:
            changes = parse_overrides(overrides, "execution")
            settings = refit_config(refit, seed)
        elif continues is not None:
            changes = parse_overrides(overrides, "train", "execution")
            settings = continue_config(continues, seed, config, changes)
        else:
            changes = parse_overrides(overrides, "model", "train", "execution")
            settings = load_run_config(method or DEFAULT_METHOD, seed, config, changes)
        changed = settings.changed_defaults()
        execution = load_section(config, "execution", ExecutionConfig, changes)
        data = PreparedData.open(prepared)
        if continues is not None:
            _print_known_items(continues, data)
        # Ranks that torchrun has started again resume from their checkpoint and replace nothing.
        how: dict[str, Any] = {"resume": resume or is_restart(), "overwrite": overwrite and not is_restart()}
        with join_ranks(execution.timeout_s) as ranks:
            if changed and ranks.is_first:
                typer.echo(f"{settings.method}: differs from its own defaults by {', '.join(changed)}")
            bar = ProgressBar(f"train {settings.method}")
            how |= {"progress": bar, "say": bar.say} if ranks.is_first else {}
            with bar if ranks.is_first else nullcontext():
                fit(data, settings, out, **how, execution=execution, ranks=ranks)
    if not ranks.is_first:
        return
    record = print_run(out)
    options.print_result(
        settings.method,
        final=settings.final,
        best_epoch=record["best_epoch"],
        validation={f"hr@{settings.train.eval_k}": record["validation_hit_rate"]},
        calibration=record.get("calibration"),
    )


def combine_command(
    first: Annotated[Path, typer.Argument(help="Run of `multitudes train`, such as one of clustering.")],
    second: Annotated[Path, typer.Argument(help="Another one on the same data, such as one of conditional.")],
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    blend: Annotated[
        str, typer.Option(help="Blend of the list: fusion, round_robin (the paper's), global_top, or one of a plugin.")
    ] = "fusion",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run.")] = False,
) -> None:
    """Combine two trained models into one run: one index, one list.

    An item has the vectors of both models side by side, and the interests of each model search in its own. Nothing is
    trained; the list is chosen on validation. The run has its own copies of both.
    """
    require_extra("train")
    from multitudes.run_record import read_record
    from multitudes.training.combined import combine

    run = combine(first, second, out, blend=blend, overwrite=overwrite)
    kinds = run.kinds(1)
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    typer.echo(f"{out}: {first} and {second}, one item vector {run.item_vectors().shape[1]} wide; {counts}")
    record = read_record(out)
    _print_list(out, record)
    print_json({"run": str(out), "method": COMBINED, "seed": run.config.seed, "calibration": record["calibration"]})
    _print_next(out, None, final=False)


def require_extra_for(run: Path) -> None:
    """Check that the extra [train] is installed, unless ``run`` was made without training.

    Raises:
        MissingError: a package is missing; the message holds the pip command.
    """
    if _method_of(run) not in WITHOUT_TORCH:
        require_extra("train")


def _method_of(run: Path | None) -> str | None:
    """Return the method of a run; None without a run, or if it is damaged: opening it reports what is wrong."""
    from multitudes.run_record import read_record

    try:
        return None if run is None else read_record(run)["config"].get("method")
    except ArtefactError:
        return None


class _Options(NamedTuple):
    """Options of ``train`` that every method has."""

    prepared: Path
    out: Path
    seed: int
    config: Path | None
    overrides: list[str] | None
    how: dict[str, bool]  # resume, overwrite

    def print_result(self, method: str, *, final: bool = False, **result: Any) -> None:  # noqa: ANN401
        """Print the result as JSON, or the command that follows."""
        print_json({"run": str(self.out), "method": method, "seed": self.seed, **result})
        _print_next(self.out, self.config, final=final)


def _make_followed(options: _Options) -> None:
    """Make a run of the inverted index from topics to items; needs no torch."""
    from multitudes.data.prepared import PreparedData
    from multitudes.linear.followed import make_followed_run

    if options.overrides:
        raise UsageError(f"--set {options.overrides[0]}: the method {FOLLOWED} has no settings; leave it out")
    run = make_followed_run(PreparedData.open(options.prepared), options.out, seed=options.seed, **options.how)
    items, topics = int(run.item_vectors().any(axis=1).sum()), run.prepared.n_topics
    typer.echo(f"{options.out}: {FOLLOWED}, {items:,} of {run.prepared.n_items:,} items in {topics:,} topics")
    options.print_result(FOLLOWED, items_with_vectors=items)


def _make_pinnersage(options: _Options) -> None:
    """Make a run from existing item vectors; needs no torch."""
    from multitudes.config import load_section
    from multitudes.data.prepared import PreparedData
    from multitudes.pinnersage.clustering import PinnerSageConfig
    from multitudes.run_record import read_record
    from multitudes.training.runs import make_pinnersage_run

    out, overrides = options.out, parse_overrides(options.overrides, PINNERSAGE)
    settings = load_section(options.config, PINNERSAGE, PinnerSageConfig, overrides)
    data = PreparedData.open(options.prepared)
    make_pinnersage_run(data, out, settings, seed=options.seed, **options.how)
    items, width = (read_record(out)[name] for name in ("items_with_vectors", "width"))
    source = f"the run {settings.vectors}" if settings.vectors else "the column 'embedding'"
    typer.echo(
        f"{out}: {PINNERSAGE} over the vectors of {items:,} of {data.n_items:,} items, {width} wide, from {source}"
    )
    options.print_result(PINNERSAGE, items_with_vectors=items, width=width)


def _make_linear(options: _Options, origin: Path | None) -> None:
    """Fit EASE or ELSA; with ``origin`` by the settings of that run, on validation events too. Needs no torch."""
    from multitudes.config import load_section
    from multitudes.data.prepared import PreparedData
    from multitudes.linear.run import LinearConfig, make_linear_run
    from multitudes.run_record import read_record

    out, overrides = options.out, options.overrides
    _check_origin_alone(options, origin)
    settings = load_section(options.config, LINEAR, LinearConfig, parse_overrides(overrides, LINEAR))
    data, final = PreparedData.open(options.prepared), origin is not None
    with ProgressBar(f"train {LINEAR}") as progress:
        make_linear_run(data, out, settings, seed=options.seed, refit=origin, **options.how, progress=progress)
    record = read_record(out)
    rate, judged = record["validation_hit_rate"], _judged(record, final=final)
    model = "ELSA" if record["model"] == "elsa" else f"EASE, regularisation {record['regularisation']:g}"
    typer.echo(f"{out}: {LINEAR}, {record['width']} wide, {model}, {judged}")
    options.print_result(LINEAR, final=final, validation={} if rate is None else {"hr@100": rate})


def _make_neighbours(options: _Options, origin: Path | None) -> None:
    """Fit neighbours; with ``origin`` by the settings of that run, on validation events too. Needs no torch."""
    from multitudes.data.prepared import PreparedData
    from multitudes.linear.neighbours_run import make_neighbours_run
    from multitudes.run_record import read_record

    _check_origin_alone(options, origin)
    if options.overrides:
        raise UsageError(f"--set {options.overrides[0]}: the method {NEIGHBOURS} has no settings; leave it out")
    data, final = PreparedData.open(options.prepared), origin is not None
    with ProgressBar(f"train {NEIGHBOURS}") as progress:
        make_neighbours_run(data, options.out, seed=options.seed, refit=origin, **options.how, progress=progress)
    record = read_record(options.out)
    rate, entries = record["validation_hit_rate"], record["entries"] / max(data.n_items, 1)
    settings = ", ".join(f"{name} {record[name]:g}" for name in ("ridge", "root", "user_exponent", "recency"))
    judged = _judged(record, final=final)
    typer.echo(f"{options.out}: {NEIGHBOURS}, {entries:.0f} of each item, {settings}, {judged}")
    options.print_result(NEIGHBOURS, final=final, validation={} if rate is None else {"hr@100": rate})


def _check_origin_alone(options: _Options, origin: Path | None) -> None:
    if origin is not None and options.overrides:
        given = f"--set {options.overrides[0]}"
        raise UsageError(f"{given}: --refit and --continue take all settings of {origin}; leave it out")


def _judged(record: dict[str, Any], *, final: bool) -> str:
    """Return what validation said of a fit, in a few words."""
    if record["validation_hit_rate"] is not None:
        return f"validation HR@100 {record['validation_hit_rate']:.4f}"
    return "trained on validation too" if final else "no user has a first-time target in validation"


def _print_next(run: Path, config: Path | None, *, final: bool) -> None:
    """Print the command that follows: a final run is published, since it has seen what it could be judged by."""
    words = ["publish", str(run), "--to", str(run.parent / "releases")] if final else ["evaluate", str(run)]
    print_next(*words, *config_words(config))


def _check_method(method: str) -> None:
    from multitudes.config import suggestion
    from multitudes.nn.methods import METHODS

    if method not in METHOD_NAMES and method not in METHODS:
        known = suggestion(method, (*METHODS, *WITHOUT_TORCH))
        raise UsageError(f"--method {method}: not built in, and no installed plugin adds it{known}")


def _check_one_origin(method: str | None, refit: Path | None, continues: Path | None) -> None:
    """Reject a combination of --method, --refit and --continue: each says what training starts from."""
    if refit is not None and continues is not None:
        raise UsageError("--refit and --continue exclude each other; give one of them")
    for option, run in (("--refit", refit), ("--continue", continues)):
        if method is not None and run is not None:
            raise UsageError(f"--method {method}: {option} takes the method of {run}; leave --method out")


def _print_known_items(run: Path, data: "PreparedData") -> None:
    """Print how many items of ``data`` the run knows, at least one, and whether its optimiser state is missing."""
    from multitudes.run_record import open_prepared, read_record
    from multitudes.training.distributed import is_first_rank
    from multitudes.training.optimizer_state import STATE_FILE
    from multitudes.training.warm_start import count_known_items

    items = count_known_items(data, open_prepared(read_record(run), run))
    if not is_first_rank():
        return
    typer.echo(f"{run}: knows {items:,} of {data.n_items:,} items", err=True)
    if not (run / STATE_FILE).exists():
        typer.echo(f"{run}: kept no state ({STATE_FILE}); the optimiser starts again", err=True)


def print_run(run: Path) -> dict[str, Any]:
    """Print the outcome of a training, and return the run's record."""
    from multitudes.run_record import read_record

    record = read_record(run)
    method = record["config"]["method"]
    if record["config"].get("final"):
        typer.echo(f"{run}: {method}, trained on validation too, {amount(record['best_epoch'], 'epoch')}")
        return record
    if not record["judged_users"]:
        typer.echo(f"{run}: no user has a first-time target in validation; the last epoch was kept", err=True)
    cutoff, neighbours = record["config"]["train"]["eval_k"], record.get("neighbours")
    alone = f" (tower alone {neighbours['tower_hit_rate']:.4f})" if neighbours else ""
    typer.echo(
        f"{run}: {method}, best epoch {record['best_epoch']},"
        f" validation HR@{cutoff} {record['validation_hit_rate']:.4f}{alone}"
    )
    _print_list(run, record)
    return record


def _print_list(run: Path, record: dict[str, Any]) -> None:
    """Print which list was chosen, and what it brings beyond one vector to users who did not choose it.

    Where nobody follows a topic, nobody has a vector of one, and the others propose the whole list.
    """
    from multitudes.data.prepared import PreparedData
    from multitudes.report.formatting import KIND_LABELS

    chosen = record.get("list")
    if chosen is None:
        return
    shares, gain = dict(record["shares"]), chosen["beyond_one_vector"]
    if not len(PreparedData.open(record["prepared"]).follow_topic):
        shares.pop("explicit", None)
    total = sum(shares.values())
    kinds = ", ".join(f"{label} {shares[kind] / total:.0%}" for kind, label in KIND_LABELS.items() if shares.get(kind))
    typer.echo(
        f"{run}: the list is proposed by {kinds}; {record['calibration']:.0%} of it is divided among the user's tastes"
    )
    typer.echo(
        f"{run}: beyond one vector: interests served {gain['served']:+.3f} (standard error {gain['served_error']:.3f}),"
        f" HR@{chosen['n']} {gain['hit_rate']:+.4f} ({gain['hit_rate_error']:.4f})"
    )
