"""What a run is trained on and by whom it is judged: parts of the prepared data, as the run's settings say."""

from multitudes.batches.examples import Examples
from multitudes.batches.held_out import HeldOut, held_out, part
from multitudes.data.prepared import Prepared
from multitudes.train.config import RunConfig
from multitudes.train.validation import sample_rows


def training_examples(prepared: Prepared, config: RunConfig) -> Examples:
    """Return the examples of every epoch.

    Raises:
        DataError: there is none.
    """
    settings = config.train
    return Examples(
        prepared,
        history=config.model.history,
        window=settings.window,
        first_time_only=settings.first_time_only,
        condition=settings.condition,
        forget_share=settings.forget_share,
        dense=settings.dense,
        ahead=settings.ahead,
        validation_too=settings.final,
        since=settings.since,
    )


def judged_users(prepared: Prepared, config: RunConfig) -> HeldOut:
    """Return the users by whom an epoch is judged; what was trained on judges nothing."""
    held = held_out(prepared, "validation")
    rows = sample_rows(held, config.train.validate_users, config.seed)
    return part(held, rows[:0] if config.train.final else rows)
