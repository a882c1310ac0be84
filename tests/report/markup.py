"""Checks of every report: one self-contained, well-formed file."""

import re
from html.parser import HTMLParser


def text_of(html):
    """Return the visible text, without styles and charts."""
    return re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]+>", " ", html, flags=re.DOTALL)


def assert_it_asks_for_nothing_from_outside_and_runs_no_script(page):
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(|\sstyle=|\son\w+=", page)
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', page)


def assert_well_formed(page):
    open_tags = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, _attributes):
            if tag not in ("meta", "br"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Checker().feed(page)
    assert open_tags == []
