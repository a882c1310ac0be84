"""The option ``--map COLUMN=OURS``: which column of a file is which of ours."""

from typing import Annotated

import typer

MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="COLUMN=OURS",
        help="Which column is which: userId=user_id; price= leaves one out; repeatable.",
    ),
]
