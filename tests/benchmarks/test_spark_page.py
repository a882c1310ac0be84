"""The page of Spark is that of the kept figures, and a file that differs is named."""

import json

from benchmarks.machine import ROOT
from benchmarks.spark.page import BEGIN, EQUAL, RESULTS, equality_table, update_page

PAGE = ROOT / "docs" / "spark.md"


def test_the_page_is_that_of_the_kept_figures():
    page, results = PAGE.read_text(), json.loads(RESULTS.read_text())
    assert BEGIN in page
    assert EQUAL in page
    assert update_page(page, results) == page


def test_a_file_that_differs_is_named():
    figures = {"events": 5_000, "files": 23, "differing": ["users.parquet"]}
    assert "| shop, user | 5,000 | 23 | users.parquet |" in list(equality_table({"shop, user": {"figures": figures}}))
