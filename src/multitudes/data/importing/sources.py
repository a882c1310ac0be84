"""A file of any format becomes a relation of the engine; lines that cannot be read are set aside with the reason.

Relations: ``source_N`` has ``file_row`` (from 1, in the order of the file, without the header) and the columns of the
file, as text unless it is Parquet. ``shift`` says by how many lines the rows of source N lie behind their number: from
``from_row`` on, ``lines`` more. ``dropped`` has file, line, reason and content of every row that is left out.
"""

from os import SEEK_END
from os.path import lexists
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from multitudes.data.duck import DuckDBEngine
from multitudes.data.engine import path_literal, quote_identifier, string_literal
from multitudes.data.importing.config import ImportConfig
from multitudes.data.importing.text_files import Layout, find_layout, is_parquet, open_text
from multitudes.data.importing.value_formats import Column
from multitudes.data.location import Location, RemotePath, parse_location
from multitudes.errors import DataError, UsageError
from multitudes.progress import Progress, silent

_NULL_TEXTS = ("", "\\N", "NULL", "null", "NaN", "nan", "NA", "<NA>", "None")  # of SQL, R, pandas and Python
_MAX_DEPTH = 32  # of a Parquet column; a list has three levels
_VALUES_PER_BYTE, _ALWAYS_READ = 12, 2_000_000  # values of a Parquet file
CONTENT_CHARACTERS = 2000  # of a row that is left out
# Lists are sorted, since comparing each text of a long one with all others would take hours.
_FUNCTIONS = """
    CREATE MACRO first_of_runs(sorted) AS list_transform(list_sort(list_transform(list_filter(
        list_zip(sorted, list_prepend(NULL, sorted), true), lambda pair: pair[1][1] IS DISTINCT FROM pair[2][1]),
        lambda pair: (pair[1][2], pair[1][1]))), lambda pair: pair[2]);
    CREATE MACRO distinct_in_order(texts) AS first_of_runs(list_sort(list_zip(
        list_filter(texts, lambda text: text IS NOT NULL), range(1, len(texts) + 1), true)))"""
_REASONS = {
    "MISSING COLUMNS": "fewer columns than in the first line",
    "TOO MANY COLUMNS": "more columns than in the first line",
    "UNQUOTED VALUE": "a quotation mark that does not close, or text after one that does",
    "LINE SIZE OVER MAXIMUM": "longer than 2 MB",
    "INVALID ENCODING": "not UTF-8, unlike most of the file",
}


class Source(NamedTuple):
    """A file in the engine."""

    name: str  # how a person calls it
    number: int  # N in the names of its relations
    types: dict[str, str]  # of each column
    rows: int  # that could be read
    read_as: str  # the format, for people
    has_names: bool  # whether the columns have names of their own
    header_lines: int  # lines before the first row
    is_open: bool  # whether no line break ends the file

    @property
    def relation(self) -> str:
        """The name of its relation."""
        return f"source_{self.number}"

    def column(self, engine: DuckDBEngine, name: str) -> Column:
        """Return one of its columns in the engine that has them."""
        return Column(engine, self.relation, name, self.types[name])

    @property
    def line_sql(self) -> str:
        """SQL for the line of ``file_row``."""
        return f"CAST(file_row + {self.header_lines} + {self.lines_behind_sql('file_row')} AS BIGINT)"

    def lines_behind_sql(self, row: str) -> str:
        """Return SQL for the number of lines by which a row lies behind its number."""
        return f"(SELECT coalesce(sum(lines), 0) FROM shift WHERE number = {self.number} AND from_row <= {row})"


def create_relations(engine: DuckDBEngine) -> None:
    """Create ``dropped`` and ``shift``, and the functions of lists."""
    engine.execute(_FUNCTIONS)
    engine.execute("CREATE TABLE dropped (file VARCHAR, line BIGINT, reason VARCHAR, content VARCHAR)")
    engine.execute("CREATE TABLE shift (number BIGINT, from_row BIGINT, lines BIGINT)")


def read_source(
    engine: DuckDBEngine,
    given: str | Path,
    number: int,
    scratch: Path,
    config: ImportConfig,
    progress: Progress = silent,
) -> Source:
    """Read a file, a path or a URL, into the engine as source ``number``.

    ``scratch`` is for copies of the file, and ``config`` is what is known of its format. ``progress`` is called with
    the MiB that were read.

    Raises:
        DataError: the file has no rows, or cannot be read.
        UsageError: there is no such file.
    """
    file = parse_location(given)
    _check_file(file)
    path, layout, notes = engine.fetch(file, progress), Layout("Parquet"), list[str]()
    with TemporaryDirectory(dir=scratch) as copies, engine.translate_read_errors(file):
        if not is_parquet(path):
            path, beginning, notes = open_text(path, str(file), Path(copies), config.encoding, progress)
            layout = find_layout(beginning, str(file), config.separator)
            mib = path.stat().st_size >> 20
            progress(mib, mib, f"reading {file}")
        read_as = ", ".join([layout.describe(), *notes])
        has_names, header_lines = layout.kind != "csv" or layout.has_header, int(layout.has_header)
        with path.open("rb") as stream:
            stream.seek(-1, SEEK_END)
            is_open = layout.kind != "Parquet" and stream.read() not in {b"\n", b"\r"}
        source = Source(str(file), number, {}, 0, read_as, has_names, header_lines, is_open)
        {"Parquet": _read_parquet, "csv": _read_csv}.get(layout.kind, _read_json)(engine, path, source, layout)
    rows = engine.value(f"SELECT count(*) FROM {source.relation}")
    if not rows:
        reasons = f"SELECT any_value(reason) FROM dropped WHERE file = {string_literal(source.name)}"
        reason = engine.value(reasons)
        given = f"; leave out --encoding {config.encoding}" if config.encoding else f": {', '.join(layout.columns)}"
        problem = f"no row can be read: {reason}{given}" if reason else "has a header and no rows; expected one"
        raise DataError(f"{source.name}: {problem}")
    return source._replace(rows=rows, types=engine.column_types(source.relation))


def note_cut(engine: DuckDBEngine, source: Source) -> None:
    """Say of a last row that is left out that its file may be cut, if no line break ends it."""
    if source.is_open:
        last = f"(SELECT {source.line_sql} FROM (SELECT max(file_row) AS file_row FROM {source.relation}))"
        engine.execute(f"""
            UPDATE dropped SET reason = concat(reason, ', where the file ends without a line break: is it cut?')
            WHERE (file, line) = (SELECT (file, greatest(max(line), {last})) FROM dropped
                                  WHERE file = {string_literal(source.name)} GROUP BY file)""")


def _check_file(file: Location) -> None:
    if file.is_dir():
        raise UsageError(f"{file}: is a folder; give its files: multitudes import {file}/*.csv --out FOLDER")
    if not file.is_file():
        missing = "a pipe, a device or a broken link, not a file" if lexists(str(file)) else "no such file"
        missing = f"{file.describe_missing()} or file" if isinstance(file, RemotePath) else missing
        raise UsageError(f"{file}: {missing}; give Parquet, CSV or JSON lines, also packed with gzip or zstd")


def _read_parquet(engine: DuckDBEngine, path: Path, source: Source, _: Layout) -> None:
    counts = "SELECT coalesce(sum(num_values), 0), coalesce(max(len(string_split(path_in_schema, ', '))), 0)"
    ((values, depth),) = engine.rows(f"{counts} FROM parquet_metadata({path_literal(path)})")
    if values > max(_ALWAYS_READ, _VALUES_PER_BYTE * path.stat().st_size) or depth > _MAX_DEPTH:
        problem = f"holds {values:,} values in {path.stat().st_size:,} bytes, nested {depth} levels deep"
        raise DataError(f"{source.name}: {problem}; expected a table. If it is one, give it as CSV")
    rows = f"SELECT file_row_number + 1 AS file_row, * FROM read_parquet({path_literal(path)})"
    engine.create_view(source.relation, rows)


def _read_csv(engine: DuckDBEngine, path: Path, source: Source, layout: Layout) -> None:
    columns = ", ".join(f"{string_literal(column)}: 'VARCHAR'" for column in layout.columns)
    quote = "'\"'" if len(layout.separator) == 1 else "''"  # files with the separator ``::`` know none
    nulls = ", ".join(map(string_literal, _NULL_TEXTS))
    sql = f"""
        SELECT * FROM (
            SELECT row_number() OVER () - {source.header_lines} AS file_row, * FROM read_csv(
                {path_literal(path)}, auto_detect = false, header = false, columns = {{{columns}}},
                delim = {string_literal(layout.separator)}, quote = {quote}, escape = {quote}, nullstr = [{nulls}],
                store_rejects = true, rejects_table = 'csv_error', rejects_scan = 'csv_scan', rejects_limit = 0))
        WHERE file_row > 0"""
    engine.create_table(source.relation, sql)
    _set_rejected_aside(engine, source, layout)
    _check_quotes_close(engine, path, source)
    engine.execute("DROP TABLE csv_error; DROP TABLE csv_scan")


def _check_quotes_close(engine: DuckDBEngine, path: Path, source: Source) -> None:
    """Reject a file of which a quotation mark that does not close takes the lines behind it."""
    line = engine.value("SELECT max(line) FROM csv_error WHERE contains(error_message, 'unterminated quote')")
    if line is None:
        return
    known = f"SELECT count(*) + {source.header_lines} + {source.lines_behind_sql(str(2**62))} FROM {source.relation}"
    with path.open("rb") as stream:
        lost = sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(2**20), b"")) - engine.value(known)
    if lost > 1:
        problem = f"line {line:,}: a quotation mark that does not close takes the {lost:,} lines behind it"
        raise DataError(f"{source.name}: {problem}; close it, or remove it, and import the file again")


def _set_rejected_aside(engine: DuckDBEngine, source: Source, layout: Layout) -> None:
    """Move the lines that the reader rejected to ``dropped``, and note what makes rows lie behind their numbers."""
    text = f"concat({', '.join(map(quote_identifier, layout.columns))}, '')"
    engine.execute(f"""
        INSERT INTO shift
        SELECT {source.number}, file_row + 1, length({text}) - length(replace({text}, chr(10), ''))
        FROM {source.relation} WHERE contains({text}, chr(10))""")
    engine.execute("""
        CREATE OR REPLACE TEMP TABLE rejected AS
        SELECT line, row_number() OVER (ORDER BY line) - 1 AS before, reason, content FROM (
            SELECT line, arg_min(CAST(error_type AS VARCHAR), column_idx) AS reason,
                   trim(any_value(csv_line), chr(10) || chr(13)) AS content
            FROM csv_error GROUP BY line)""")
    from_row = f"line - before - {source.header_lines}"
    reasons = " ".join(f"WHEN {string_literal(kind)} THEN {string_literal(text)}" for kind, text in _REASONS.items())
    engine.execute(f"""
        INSERT INTO dropped
        SELECT {string_literal(source.name)},
               line + {source.lines_behind_sql(from_row)},
               CASE reason {reasons} ELSE 'cannot be read' END, content[:{CONTENT_CHARACTERS}] FROM rejected""")
    engine.execute(f"INSERT INTO shift SELECT {source.number}, {from_row}, 1 FROM rejected")


def _read_json(engine: DuckDBEngine, path: Path, source: Source, layout: Layout) -> None:
    kind = "'array'" if layout.kind == "json array" else "'newline_delimited', ignore_errors = true"
    objects = f"read_json_objects({path_literal(path)}, format = {kind})"
    engine.create_table("json_row", f"SELECT row_number() OVER () AS file_row, json FROM {objects}")
    is_object = "coalesce(json_type(json) = 'OBJECT', false)"
    engine.execute(f"""
        INSERT INTO dropped
        SELECT {string_literal(source.name)}, file_row,
               CASE WHEN json IS NULL THEN 'not JSON: expected one object on each line' ELSE 'not a JSON object' END,
               CAST(json AS VARCHAR)[:{CONTENT_CHARACTERS}]
        FROM json_row WHERE NOT {is_object}""")
    keys = engine.rows(f"""
        SELECT key FROM (SELECT file_row, unnest(json_keys(json)) AS key FROM json_row WHERE {is_object})
        WHERE NOT contains(key, '"') GROUP BY key ORDER BY min(file_row), key""")
    paths = [(string_literal('$."' + key + '"'), quote_identifier(key)) for (key,) in keys]
    selected = ", ".join(f"json_extract_string(json, {path}) AS {name}" for path, name in paths)
    engine.create_table(
        source.relation, f"SELECT file_row{', ' if selected else ''}{selected} FROM json_row WHERE {is_object}"
    )
    engine.drop("json_row")
