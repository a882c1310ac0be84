"""The SQL in docs/logs.md runs and agrees with prepare; every column and setting is documented."""

import re
from pathlib import Path

import duckdb

from multitudes.logs import schemas
from multitudes.logs.config import LogConfig
from multitudes.logs.schemas import IdTypes
from tests.logs.worlds import DRAMA, IMPLICIT, NOW, answer, event, logs

PAGE = (Path(__file__).parents[2] / "docs" / "logs.md").read_text(encoding="utf-8")


def test_the_five_lines_find_the_topic_of_an_engagement(tmp_path):
    (sql,) = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    assert len(sql.splitlines()) == 5
    written = logs(tmp_path / "logs")
    written.log_served(answer("ann", "r1", (1, 2), NOW)._replace(origins=(DRAMA, IMPLICIT)))
    written.log_served(answer("ann", "r2", (1, 3), NOW + 10)._replace(origins=(IMPLICIT, DRAMA)))
    written.log_events([event(1, "ann", 1, NOW + 5), event(2, "ann", 1, NOW + 15), event(3, "ann", 3, NOW + 5)])
    written.close()
    found = duckdb.execute(sql.replace("'logs/", f"'{tmp_path}/logs/")).fetchall()
    assert found == [
        ("e1", "ann", 1, "explicit", "Drama"),
        ("e3", "ann", 3, None, None),  # it was served later
        ("e2", "ann", 1, "implicit", None),
    ]


def test_every_column_and_setting_is_documented():
    kinds = IdTypes("int64", "int64")
    columns = {*schemas.segment_columns("served", kinds), *schemas.segment_columns("events", kinds)}
    names = columns | LogConfig.model_fields.keys()
    assert {name for name in names if f"`{name}`" not in PAGE} == set()
