"""Import a person's own files: find their columns, show the guess, read the rows, and write the canonical tables."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from multitudes.atomic import create_folder, replace_file, write_json
from multitudes.data.column_names import ColumnMap
from multitudes.data.duck import Advice, DuckDBEngine, open_engine
from multitudes.data.engine import string_literal
from multitudes.data.importing import tables
from multitudes.data.importing.columns import ColumnGuess, choose_table, guess_columns, guess_described_items
from multitudes.data.importing.config import ImportConfig
from multitudes.data.importing.sources import Source, create_relations, note_cut, read_source
from multitudes.data.location import reject_url
from multitudes.data.manifest import FEW_USERS
from multitudes.data.tables import TABLES
from multitudes.errors import DataError, UsageError
from multitudes.progress import Progress, silent, step_progress

MARKER = "import.json"
_ADVICE = Advice("import fewer files at once", "free some, or choose another --out")
_MEMORY = "4GB"
_LIKED_SHARE = 0.7  # of the highest rating: 3.5 of 5, 7 of 10, 70 of 100
_SCALES = (5, 10, 100)
_DAYS = "SELECT CAST(unnest([to_timestamp(min(timestamp)), to_timestamp(max(timestamp))]) AS DATE) FROM events"
FEW_ITEMS = 5  # with fewer, a topic hardly makes a list
_TOPICS = f"""
    SELECT count(*), count(*) FILTER (items < {FEW_ITEMS})
    FROM (SELECT count(*) AS items FROM (SELECT unnest(topics) AS topic FROM items) GROUP BY topic)"""
_ACTIONS = "SELECT coalesce(action, 'unknown') AS name, count(*) AS n FROM events GROUP BY name ORDER BY n DESC, name"


class DroppedRows(NamedTuple):
    """Rows of one file that were left out for one reason."""

    file: str
    reason: str  # in words, with the value of the first line
    rows: int  # their number
    lines: tuple[int, ...]  # the first three


@dataclass(frozen=True)
class ImportReport:
    """What an import wrote."""

    out: Path  # the folder of the tables
    rows: Mapping[str, int]  # of each table
    guesses: Sequence[ColumnGuess]  # how each file was read
    id_types: Mapping[str, str]  # "int64" or "string", of user_id and item_id
    dropped: Sequence[DroppedRows]  # the rows that were left out, by file and reason
    dropped_file: Path | None  # has each of them; None: there is none
    merged: int  # rows that were joined with another row of the same item or user
    known_share: float  # of the events, whose item the items table has; 1 without items table
    split: str  # a rule of ``prepare`` that leaves enough users in the test split
    ratings: Mapping[str, float] | None  # lowest, highest and mean rating, and the share of at least ``min_rating``
    min_rating: float | None  # from which an event says that the item was liked; None: no such scale is known
    days: Sequence[str] | None  # of the first and the last event; None: times are positions
    actions: Mapping[str, int]  # events of each action, the most frequent first; empty without such a column
    topics: tuple[int, int]  # number of topics, and of those with fewer than ``FEW_ITEMS`` items

    def record(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        files = [
            {
                "file": guess.source.name,
                "table": guess.table,
                "rows": guess.source.rows,
                "read_as": guess.source.read_as,
                "columns": {
                    canonical: {"column": column, "format": guess.formats[canonical].name}
                    for canonical, column in guess.columns.items()
                },
                "features": dict(guess.features),
                "unused": list(guess.unused),
            }
            for guess in self.guesses
        ]
        dropped, dropped_file = [one._asdict() for one in self.dropped], self.dropped_file and str(self.dropped_file)
        values = vars(self) | {"out": str(self.out), "files": files, "dropped": dropped, "dropped_file": dropped_file}
        return {name: value for name, value in values.items() if name != "guesses"}


def import_files(
    files: str | Path | Sequence[str | Path],
    out: str | Path,
    config: ImportConfig | None = None,
    progress: Progress = silent,
    *,
    items: Sequence[str | Path] = (),
    users: Sequence[str | Path] = (),
    columns: Mapping[str, str] | None = None,
    overwrite: bool = False,
    show: Callable[[Sequence[ColumnGuess]], None] | None = None,
) -> ImportReport:
    """Turn files of any layout into the canonical tables, in the new folder ``out`` that ``prepare`` reads.

    Args:
        files: events in Parquet, CSV, other separated text or JSON lines, also packed with gzip or zstd. Of several, a
            file without users is taken as items, and one without items as users. Paths or URLs.
        out: the folder to create.
        config: what is known of the files; None: all is found out.
        progress: called with the steps done.
        items: files of items.
        users: files of users: one row for each, or one for each topic that a user follows.
        columns: column of a file → canonical column, or "" for a column that is not used; the others are guessed.
        overwrite: replace ``out`` if an import wrote it.
        show: called with the guess before it is used.

    Returns:
        What was written. Rows that were left out are in the file beside ``out`` that the report names.

    Raises:
        DataError: a file cannot be read, lacks a column, or too many of its rows cannot be used; the error has all
            problems.
        UsageError: there is no such file or column, or ``out`` exists.
        MissingError: memory or disk space ran out.
    """
    out, config, column_map = Path(out), config or ImportConfig(), ColumnMap(columns)
    reject_url(out)
    given = [files] if isinstance(files, str | Path) else list(files)
    inputs: list[tuple[str | Path, str | None]] = [(file, "events" if len(given) == 1 else None) for file in given]
    inputs += [(file, "items") for file in items] + [(file, "users") for file in users]
    _check_replaceable(out, overwrite)
    with (
        create_folder(out, MARKER, overwrite) as folder,
        tempfile.TemporaryDirectory(prefix="multitudes-import-", dir=folder) as scratch,
        open_engine(Path(scratch), _MEMORY, 0, _ADVICE) as engine,
    ):
        engine.execute("SET TimeZone = 'UTC'")
        create_relations(engine)
        steps = len(inputs) + 3
        sources = _read_all(engine, inputs, Path(scratch), config, progress, steps)
        guesses = _guess_all(engine, sources, column_map, config)
        if show is not None:
            show(guesses)
        progress(steps - 3, steps, "reading values")
        for guess in guesses:
            with engine.translate_read_errors(Path(guess.source.name)):
                tables.convert(engine, guess)
                note_cut(engine, guess.source)
        dropped, dropped_file = _write_dropped(engine, out)
        _check_dropped(engine, guesses, dropped, dropped_file, config.max_dropped)
        progress(steps - 2, steps, "writing tables")
        merged = tables.create_tables(engine, guesses, file_order=config.file_order)
        present = [table for table in TABLES if any(guess.table == table for guess in guesses)]
        (ratings, min_rating), split = _describe_ratings(engine), _choose_split(engine)
        report = ImportReport(
            out=out,
            rows={table: int(engine.value(f"SELECT count(*) FROM {table}")) for table in present},
            guesses=guesses,
            id_types=tables.type_ids(engine, present),
            dropped=dropped,
            dropped_file=dropped_file,
            merged=merged,
            known_share=_known_share(engine) if "items" in present else 1.0,
            split=split,
            ratings=ratings,
            min_rating=min_rating,
            days=None if split == "leave_one_out" else [str(day) for (day,) in engine.rows(_DAYS)],
            actions=dict(engine.rows(_ACTIONS)) if "action" in engine.column_types("events") else {},
            topics=engine.rows(_TOPICS)[0] if any("topics" in guess.columns for guess in guesses) else (0, 0),
        )
        for table in report.rows:
            sql = tables.output_sql(engine, table, report.id_types)
            target = string_literal(str(folder / f"{table}.parquet"))
            engine.execute(f"COPY ({sql}) TO {target} (FORMAT parquet, COMPRESSION zstd)")
        write_json(folder / MARKER, report.record())
        progress(steps - 1, steps, "done")
    return report


def _check_replaceable(out: Path, overwrite: bool) -> None:
    """Check that nothing but an import is replaced: a prepared folder or a run may lie in the same folder."""
    own = {MARKER, *(f"{table}.parquet" for table in TABLES)}
    others = sorted(path.name for path in out.iterdir() if path.name not in own) if overwrite and out.is_dir() else []
    if others:
        raise UsageError(f"{out}: has {others[0]} beside what an import wrote; move it away, or choose another folder")


def _read_all(
    engine: DuckDBEngine,
    inputs: Sequence[tuple[str | Path, str | None]],
    scratch: Path,
    config: ImportConfig,
    progress: Progress,
    steps: int,
) -> list[tuple[Source, str | None]]:
    """Read every file; all that cannot be read are in one error."""
    sources, problems = [], []
    for number, (file, table) in enumerate(inputs):
        progress(number, steps, f"reading {file}")
        within = step_progress(progress, number, steps)
        try:
            sources.append((read_source(engine, file, number, scratch, config, within), table))
        except (DataError, UsageError) as error:
            problems.append(error)
    if problems:
        raise type(problems[0])(_join([str(error) for error in problems]))
    return sources


def _guess_all(
    engine: DuckDBEngine, sources: Sequence[tuple[Source, str | None]], column_map: ColumnMap, config: ImportConfig
) -> list[ColumnGuess]:
    """Return how each file is read; all that is wrong with them is in one error."""
    guesses = []
    for source, given in sources:
        with engine.translate_read_errors(Path(source.name)):  # pages of Parquet are read first here
            table = given or choose_table(engine, source, column_map)
            guesses.append(guess_columns(engine, source, table, column_map, config))
    problems = [problem for guess in guesses for problem in guess.problems]
    if not any(guess.table == "events" for guess in guesses):
        problems.append("no file has events; expected one with users and items")
    if not any(guess.table == "items" for guess in guesses) and not problems:
        guesses = _add_described_items(engine, guesses, column_map, config)
    problems += column_map.unused_columns()
    if problems:
        raise DataError(_join(problems))
    return guesses


def _add_described_items(
    engine: DuckDBEngine, guesses: Sequence[ColumnGuess], column_map: ColumnMap, config: ImportConfig
) -> list[ColumnGuess]:
    """Add a guess for each events file that also describes items."""
    found = []
    for guess in guesses:
        items = guess_described_items(engine, guess, column_map, config)
        used = () if items is None else items.columns.values()
        found.append(replace(guess, unused=tuple(column for column in guess.unused if column not in used)))
        found += [] if items is None else [items]
    return found


def _write_dropped(engine: DuckDBEngine, out: Path) -> tuple[list[DroppedRows], Path | None]:
    """Write the rows that are left out beside ``out``, and return them by file and reason."""
    file = out.parent / f"{out.name}.dropped.csv"
    rows = engine.rows("""
        SELECT file, kind, arg_min(reason, line), count(*), list(line ORDER BY line)[:3] FROM (
            SELECT *, regexp_replace(reason, ' ''.*'' ', ' ') AS kind FROM dropped)
        GROUP BY file, kind ORDER BY count(*) DESC, file, kind""")
    if not rows:
        file.unlink(missing_ok=True)  # of an earlier import
        return [], None
    with replace_file(file) as partial:
        engine.execute(
            f"COPY (SELECT * FROM dropped ORDER BY file, line) TO {string_literal(str(partial))} (FORMAT csv, HEADER)"
        )
    return [DroppedRows(name, reason, n, tuple(lines)) for name, _, reason, n, lines in rows], file


def _check_dropped(
    engine: DuckDBEngine,
    guesses: Sequence[ColumnGuess],
    dropped: Sequence[DroppedRows],
    file: Path | None,
    max_share: float,
) -> None:
    """Check that enough rows of each file are left."""
    problems = []
    for guess in (guess for guess in guesses if not guess.describes_items):
        name, of_file = guess.source.name, [one for one in dropped if one.file == guess.source.name]
        lost, left = sum(one.rows for one in of_file), engine.value(f"SELECT count(*) FROM {guess.relation}")
        if lost > max_share * (left + lost) or not left:
            reasons = ", ".join(map(reason_text, of_file))
            share = min(1.0, lost / (left + lost) + 0.005)
            advice = f"leave them out with --max-dropped {share:.2f}" if left else "name other columns with --map"
            problems.append(
                f"{name}: {lost:,} of {left + lost:,} rows cannot be used: {reasons}. They are in {file}; correct them,"
                f" or {advice}"
            )
    if problems:
        raise DataError(_join(problems))


def reason_text(dropped: DroppedRows) -> str:
    """Return why rows were left out, with the first lines."""
    lines = ", ".join(f"{line:,}" for line in dropped.lines)
    return f"{dropped.rows:,} × {dropped.reason} (line {lines}{', …' if dropped.rows > len(dropped.lines) else ''})"


def _known_share(engine: DuckDBEngine) -> float:
    """Return the share of the events whose item is in the items table; it is an error if none is."""
    is_known = "CAST(item_id IN (SELECT item_id FROM items) AS INTEGER)"
    share = float(engine.value(f"SELECT avg({is_known}) FROM events"))
    if not share:
        event, item = (engine.value(f"SELECT min(item_id) FROM {table}") for table in ("events", "items"))
        raise DataError(
            f"no item_id of the events, such as {event!r}, is among those of the items, such as {item!r}; name the"
            " columns that hold the same ids with --map COLUMN=item_id"
        )
    return share


def _choose_split(engine: DuckDBEngine) -> str:
    """Return "time" if enough users have events before and after a common cut; else "user".

    "leave_one_out" if the times are the positions 0 to n - 1 of each user's events.
    """
    found = engine.record("""
        WITH cut AS (SELECT quantile_disc(timestamp, 0.9) AS time FROM events)
        SELECT count(*) FILTER (first <= time AND last > time) AS users,
               bool_and(first = 0 AND last = n - 1) AND max(n) > 1 AS is_order
        FROM cut, (
            SELECT min(timestamp) AS first, max(timestamp) AS last, count(*) AS n FROM events GROUP BY user_id)""")
    if found["is_order"]:
        return "leave_one_out"
    return "time" if found["users"] >= FEW_USERS else "user"


def _describe_ratings(engine: DuckDBEngine) -> tuple[Mapping[str, float] | None, float | None]:
    if "rating" not in engine.column_types("events"):
        return None, None
    liked = f"avg(CAST(rating >= {_LIKED_SHARE} * (SELECT max(rating) FROM events) AS INTEGER)) AS liked"
    sql = f"SELECT min(rating) AS lowest, max(rating) AS highest, avg(rating) AS mean, {liked} FROM events"
    found = engine.record(sql)
    if found["mean"] is None:
        return None, None
    is_scale = found["highest"] in _SCALES and found["lowest"] >= 0
    return found, _LIKED_SHARE * found["highest"] if is_scale else None


def _join(problems: Sequence[str]) -> str:
    """Return one line of all problems."""
    if len(problems) == 1:
        return problems[0]
    return f"{len(problems)} problems: " + "; ".join(f"({n}) {problem}" for n, problem in enumerate(problems, 1))
