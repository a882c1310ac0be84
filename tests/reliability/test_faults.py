"""The page of faults says what each cell saw, and why a cell is empty."""

from typing import Any

from reliability.faults.__main__ import page
from reliability.faults.dependencies import HOW, MOMENTS

CELL: dict[str, Any] = {
    "dependency": "Redis",
    "fault": "gone",
    "moment": "stop",
    "sees": "ends: exit 0 after 1 s",
    "said": "a | line",
}
CELL |= {"afterwards": "well after a start", "felt": 0, "traceback": True, "told": 4, "lost": 1, "unlogged": 2}
HEAD: dict[str, Any] = {"when": "today", "versions": {"commit": "abc"}, "machine": {"cpu": "Abacus", "os": "Some OS"}}


def test_what_was_seen_is_a_row_and_what_was_left_out_says_why():
    left_out = [
        {"dependency": "S3", "fault": "full", "moment": moment, "left_out": HOW["S3"]["full"]} for moment in MOMENTS
    ]
    shown = page({**HEAD, "cells": [CELL, *left_out]})
    assert "ends: exit 0 after 1 s; not felt; **traceback** | a / line | well after a start | 1 and 2 of 4 |" in shown
    assert shown.count("not possible: nothing is written there") == 1
