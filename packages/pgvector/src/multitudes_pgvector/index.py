"""The index in PostgreSQL: a table for each release, in which the extension pgvector finds the largest inner products.

A small table is scored item by item. A larger one has a graph (HNSW), searched with as many candidates as reach the
recall on queries of users; what is deeper than was tuned, or of one topic, is scored item by item too.

Every stored vector has one more coordinate, which makes all items equally long, and every query a 0 there; see
``item_table.pad_to_length``. Without it no number of candidates reaches the recall of deep lists.

A table is for people too: beside the number of an item it has its id and title, which the view shows.

Legend: Q queries · N results · D dimensions · n items.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import repeat
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from multitudes.config import parse
from multitudes.errors import ArtefactError, UnavailableError, UsageError
from multitudes.index import files
from multitudes.index.hits import empty_hits
from multitudes.index.item_table import ItemTable, check_ids, common_length, find_rows, make_item_table, pad_to_length
from multitudes.index.protocol import ANY_TOPIC, Hits, Topics
from multitudes.index.segment import SearchRequest, check_request, unfiltered_request
from multitudes.index.tuning import Level, ParameterGrid, RecallTarget, Tuning, sample_queries, tune, tuning_from_record
from multitudes.progress import Progress, silent
from multitudes_pgvector.config import PgvectorConfig
from multitudes_pgvector.connection import Connection, Session

KIND = "pgvector"
_TIME = "%Y%m%d_%H%M%S_%f"
_EFFORTS = [10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640, 1_000]  # candidates; the extension takes 1,000
_DEEPEST = 1_000  # results that are tuned
_MADE_BY = "multitudes, release "  # begins the comment of a view
_CHUNK = 10_000  # rows that are padded at once
_NO_GRAPH = Tuning((), RecallTarget(1.0, 0, 0), "nothing", 0, 0)
_Row = tuple[int, float]  # id and negative inner product


class Identity(NamedTuple):
    """What a table was made of, to check that it belongs to a release."""

    items: int
    dimension: int
    digest: str  # of ids, vectors and topics
    length: float  # of the items, with the additional coordinate


class PgvectorIndex:
    """An ``Index`` in PostgreSQL. Threads may share it; every process sees a change once it is committed."""

    def __init__(self, config: PgvectorConfig, name: str, identity: Identity, tuning: Tuning) -> None:
        self.config, self.name, self.tuning = config, name, tuning
        self._identity = identity
        self.connection = Connection(config.timeout_s)

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        *,
        excluded: Sequence[NDArray[np.int64]] | None = None,
        topic_Q: NDArray[np.int64] | None = None,
    ) -> Hits:
        """Find the best ids of each query; see ``Index.search``."""
        items = int(np.max(limit, initial=0))
        request = check_request(query_QD, limit, excluded, topic_Q, dimension=self._identity.dimension, items=items)
        depth_Q = request.limit_Q + (0 if request.excluded is None else [len(ids) for ids in request.excluded])
        positions = self.tuning.level_positions(depth_Q).tolist()
        efforts = [*(level.effort for level in self.tuning.levels), 0]
        effort_Q = [0 if _topic(request, q) != ANY_TOPIC else efforts[p] for q, p in enumerate(positions)]
        return self._search(request, effort_Q)

    def _search(self, request: SearchRequest, effort_Q: list[int]) -> Hits:
        """Search with so many candidates of the graph for each query; 0: every item is scored."""
        hits, queries = empty_hits(len(effort_Q), request.max_limit), range(len(effort_Q))

        def search(session: Session) -> list[list[_Row]]:
            found = self._execute(session, request, dict(zip(queries, effort_Q, strict=True)))
            # A graph gives up after some thousand items that a filter removes.
            short = [q for q in queries if effort_Q[q] and len(found[q]) < request.limit_Q[q]]
            return list((found | self._execute(session, request, dict.fromkeys(short, 0))).values())

        found = self.connection.call(f"search with {len(queries)} vectors", search)
        for q, rows in enumerate(found):
            if rows:
                ids, distances = zip(*sorted(rows, key=itemgetter(1, 0)), strict=True)
                hits.id_QN[q, : len(rows)], hits.score_QN[q, : len(rows)] = ids, -np.array(distances)
                hits.count_Q[q] = len(rows)
        return hits

    def _execute(self, session: Session, request: SearchRequest, effort: dict[int, int]) -> dict[int, list[_Row]]:
        """Return the rows of some queries, by query, in one round trip."""
        with session.pipeline():
            if most := max(effort.values(), default=0):
                # Without a sort the planner takes the graph, as it was tuned, and not the scan of a small table.
                for setting in (f"hnsw.ef_search = {most}", "hnsw.iterative_scan = strict_order", "enable_sort = off"):
                    session.execute(f"SET LOCAL {setting}")
            cursors = {q: session.execute(*self._statement(request, q, effort[q] > 0), binary=True) for q in effort}
        return {q: cursor.fetchall() for q, cursor in cursors.items()}

    def _statement(self, request: SearchRequest, q: int, uses_graph: bool) -> tuple[str, dict[str, Any]]:
        topic, excluded = _topic(request, q), [] if request.excluded is None else request.excluded[q].tolist()
        filters = ["topics @> ARRAY[%(topic)s]::int8[]"] if topic != ANY_TOPIC else []
        filters += ["id <> ALL(%(excluded)s::int8[])"] if excluded else []
        where = f"WHERE {' AND '.join(filters)}" if filters else ""
        # The sum is no expression of the graph, so every item is scored; ties go to the smaller id.
        distance, order = ("vector <#> %(query)s", "2") if uses_graph else ("(vector <#> %(query)s) + 0", "2, 1")
        statement = f"SELECT id, {distance} FROM {self.name} {where} ORDER BY {order} LIMIT %(limit)s"
        values = {"query": np.append(request.query_QD[q], np.float32(0)), "limit": int(request.limit_Q[q])}
        return statement, values | {"topic": topic, "excluded": excluded}

    def add(
        self, ids: ArrayLike, vectors: ArrayLike, topics: Topics | None = None, names: pl.DataFrame | None = None
    ) -> None:
        """Add items, or replace those that are held already; see ``Index.add``."""
        if np.size(ids) == np.size(vectors) == 0:
            return
        table = make_item_table(ids, vectors, topics, width=self._identity.dimension)
        rows = list(_rows(table, self._identity.length, ids, names))
        statement = f"""INSERT INTO {self.name} VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id)
            DO UPDATE SET vector = excluded.vector, topics = excluded.topics, title = excluded.title"""

        def add(session: Session) -> None:
            session.cursor().executemany(statement, rows)

        self.connection.call(f"add {len(table)} items", add)

    def remove(self, ids: ArrayLike) -> None:
        """Remove items; see ``Index.remove``."""
        id_n = np.unique(check_ids(ids))

        def remove(session: Session) -> None:
            statement = f"DELETE FROM {self.name} WHERE id = ANY(%s) RETURNING id"
            removed = [row[0] for row in session.execute(statement, [id_n.tolist()])]
            if len(removed) < len(id_n):  # the error rolls back
                missing = np.setdiff1d(id_n, removed)[0]
                raise UsageError(f"id {missing} is not in the index. Nothing was removed")

        self.connection.call(f"remove {len(id_n)} items", remove)

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the float32 vectors of ``ids``, one row each; see ``Index.vectors``."""
        id_n = np.asarray(ids, dtype=np.int64)
        rows = self._fetch("read vectors", "id, vector", "WHERE id = ANY(%s)", np.unique(id_n).tolist())
        row, is_held = find_rows(np.array([row[0] for row in rows], dtype=np.int64), id_n)
        if not is_held.all():
            raise UsageError(f"id {id_n[~is_held][0]} is not in the index of {len(self)} items")
        width = self._identity.dimension
        return np.array([row[1] for row in rows], dtype=np.float32).reshape(len(rows), width + 1)[row, :width]

    def ids(self) -> NDArray[np.int64]:
        """Return every id, ascending."""
        return np.array([row[0] for row in self._fetch("list ids", "id")], dtype=np.int64)

    def items_of(self, topic: int) -> NDArray[np.int64]:
        """Return the ids of a topic, ascending; empty for an unknown topic."""
        rows = self._fetch("list items of a topic", "id", "WHERE topics @> ARRAY[%s]::int8[]", int(topic))
        return np.array([row[0] for row in rows], dtype=np.int64)

    def _fetch(self, what: str, columns: str, where: str = "", *values: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401
        """Return some columns of the rows that pass a filter, by ascending id."""
        statement = f"SELECT {columns} FROM {self.name} {where} ORDER BY id"
        return self.connection.call(what, lambda session: session.execute(statement, values, binary=True).fetchall())

    def __len__(self) -> int:
        """Return the number of items."""
        statement = f"SELECT count(*) FROM {self.name}"
        return int(self.connection.call("count items", lambda session: session.execute(statement).fetchall()[0][0]))

    def info(self) -> dict[str, Any]:
        """Describe the table, and how its graph was tuned."""
        described = {"kind": KIND, "items": len(self), "dimension": self._identity.dimension, "table": self.name}
        return described | ({"tuning": self.tuning.to_record()} if self.tuning.levels else {})

    def save(self, folder: Path) -> None:
        """Write the name and identity of the table into ``folder``; the items stay in the database."""
        opening = {"identity": self._identity._asdict(), "options": self.config.model_dump()}
        files.write_description(folder, self.info() | opening | {"tuning": self.tuning.to_record()})

    def activate(self, release: str) -> None:
        """Point the view to the table, and drop expired tables; see ``Index.activate``."""

        def move(session: Session) -> None:
            view = self.config.name
            _check_owner(session, view)
            # Replaced, so that grants stay, and what others built on it; without the width, which may be another.
            columns = "item_id, title, vector::vector AS vector"
            session.execute(f"CREATE OR REPLACE VIEW {view} AS SELECT {columns} FROM {self.name}")
            session.execute(f"COMMENT ON VIEW {view} IS '{_MADE_BY}{release}'")

        self.connection.call("move the view", move)
        for name in self.connection.call("list tables", lambda session: _old_tables(session, self.config, self.name)):
            _drop(self.connection, name)

    def discard(self) -> None:
        """Drop the table, unless the view shows it; if the server does not answer, a later publish drops it."""
        _drop(self.connection, self.name)


def open_table(folder: Path, record: dict[str, Any]) -> PgvectorIndex:
    """Open the table of a release; see ``IndexKind.open``."""
    files.verify_all(folder, record["files"], (), files.DESCRIPTION)
    try:
        identity, name, tuning = Identity(**record["identity"]), record["table"], tuning_from_record(record["tuning"])
        config = parse(PgvectorConfig, record["options"], f"{folder}/{files.DESCRIPTION}")
        if not re.match(_table_names(config), name):
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError, UsageError):
        raise ArtefactError(f"{folder}/{files.DESCRIPTION}: damaged; publish the run again") from None
    index = PgvectorIndex(config, name, identity, tuning)
    statement = f"SELECT obj_description(to_regclass('{name}'))"
    ((comment,),) = index.connection.call("find the table", lambda session: session.execute(statement).fetchall())
    if comment is None:
        raise ArtefactError(f"PostgreSQL: table {name} is gone; publish again, or roll back to a newer version")
    if comment != json.dumps(identity):
        raise ArtefactError(f"PostgreSQL: table {name} is not the one of {folder}; publish again")
    return index


def publish_table(
    ids: ArrayLike,
    vectors: ArrayLike,
    config: PgvectorConfig,
    *,
    topics: Topics | None = None,
    names: pl.DataFrame | None = None,
    queries: NDArray[np.float32] | None = None,
    recall: float = 0.97,
    progress: Progress = silent,
) -> PgvectorIndex:
    """Build a table in one transaction, so a publish that is killed leaves none; see ``IndexKind.build``."""
    table = make_item_table(ids, vectors, topics)
    identity = Identity(len(table), table.dimension, table.digest(), common_length(table.vectors_nD))
    name = f"{config.name}_{datetime.now(UTC):{_TIME}}_{identity.digest:.8}"
    index = PgvectorIndex(config, name, identity, _NO_GRAPH)
    index.connection.timeout_s = config.publish_timeout_s
    has_graph = len(table) > config.graph_above

    def build(session: Session) -> None:
        _check_owner(session, config.name)
        id_type = "int8" if names is None or names["item_id"].dtype.is_integer() else "text"
        columns = f"vector vector({table.dimension + 1}), topics int8[], item_id {id_type}, title text"
        session.execute(f"CREATE TABLE {name} (id int8 PRIMARY KEY, {columns})")
        with session.cursor().copy(f"COPY {name} FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "vector", "int8[]", id_type, "text"])
            for row in _rows(table, identity.length, ids, names):
                copy.write_row(row)
        progress(len(table), len(table), "indexing")
        session.execute(f"CREATE INDEX ON {name} USING gin (topics)")
        if has_graph:
            options = f"m = {config.links}, ef_construction = {config.construction}"
            session.execute(f"CREATE INDEX ON {name} USING hnsw (vector vector_ip_ops) WITH ({options})")
        session.execute(f"COMMENT ON TABLE {name} IS '{json.dumps(identity)}'")

    index.connection.call("make a table", build, retry=False)
    try:
        index.connection.call("analyze the table", lambda session: session.execute(f"ANALYZE {name}"))
        if has_graph:
            index.tuning = _tune(index, table, queries, recall, progress)
    except BaseException:
        index.discard()
        raise
    index.connection.timeout_s = config.timeout_s
    return index


def _tune(
    index: PgvectorIndex, table: ItemTable, queries: NDArray[np.float32] | None, recall: float, progress: Progress
) -> Tuning:
    """Return the least candidates for each depth with which the graph finds enough."""

    def search(query_QD: NDArray[np.float32], level: Level) -> Hits:
        return index._search(unfiltered_request(query_QD, level.depth), [level.effort] * len(query_QD))

    sample, target = sample_queries(queries, table, 0), RecallTarget(recall, _DEEPEST, scanned=0)
    return tune(ParameterGrid(_EFFORTS, lambda depth: [depth]), search, table, sample, target, progress)


def _rows(table: ItemTable, length: float, ids: ArrayLike, names: pl.DataFrame | None) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a table, their vectors padded to ``length``; ``names`` are in the order of ``ids``."""
    offset, topic_M = table.postings.topics(len(table))
    texts = None if names is None else names.with_columns(pl.col(pl.String).str.replace_all("\0", "", literal=True))
    named = repeat((None, None)) if texts is None else texts[np.argsort(ids)].iter_rows()  # no text there has a NUL
    for start in range(0, len(table), _CHUNK):
        for n, vector_D in enumerate(pad_to_length(table.vectors_nD[start : start + _CHUNK], length), start):
            yield int(table.ids[n]), vector_D, topic_M[offset[n] : offset[n + 1]].tolist(), *next(named)


def _drop(connection: Connection, name: str) -> None:
    """Drop a table, unless a view shows it; if the server does not answer, a later publish drops it."""
    with suppress(UnavailableError):
        connection.call("drop a table", lambda session: session.execute(f"DROP TABLE IF EXISTS {name}"))


def _check_owner(session: Session, view: str) -> None:
    """Reject a name that others use.

    Raises:
        UsageError: it is that of a table or view that no publish made.
    """
    statement = "SELECT to_regclass(%s), obj_description(to_regclass(%s), 'pg_class')"
    ((relation, comment),) = session.execute(statement, [view, view]).fetchall()
    if relation is not None and not str(comment).startswith(_MADE_BY):
        raise UsageError(f"PostgreSQL: {view} is there, and no publish made it; give another name in [index.options]")


def _topic(request: SearchRequest, q: int) -> int:
    return ANY_TOPIC if request.topic_Q is None else int(request.topic_Q[q])


def _table_names(config: PgvectorConfig) -> str:
    """Return a pattern of the names of the tables of a view; they begin with the time."""
    return rf"^{config.name}_\d{{8}}_\d{{6}}_\d{{6}}_[0-9a-f]{{8}}$"


def _old_tables(session: Session, config: PgvectorConfig, serving: str) -> list[str]:
    """Return the tables that no release needs: all but that of the view, the newest ``kept`` others, and young ones."""
    statement = "SELECT relname FROM pg_class WHERE relkind = 'r' AND pg_table_is_visible(oid) AND relname ~ %s"
    names = {str(row[0]) for row in session.execute(statement, [_table_names(config)])} - {serving}
    young = f"{config.name}_{datetime.now(UTC) - timedelta(seconds=config.grace_s):{_TIME}}"
    return [name for name in sorted(names, reverse=True)[config.kept :] if name < young]


class Pgvector:
    """An ``IndexKind``: ``[index] kind = "pgvector"``."""

    settings = PgvectorConfig
    build = staticmethod(publish_table)
    open = staticmethod(open_table)

    @staticmethod
    def check(config: PgvectorConfig) -> None:
        """Reject a server that does not answer, and a name that others use; see ``IndexKind.check``."""
        Connection(config.timeout_s).call("look for the view", lambda session: _check_owner(session, config.name))
