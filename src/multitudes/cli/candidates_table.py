"""Candidates and interests as tables on a terminal; a narrow terminal gets fewer columns."""

from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.text import Text

    from multitudes.api import Candidate, Interest
    from multitudes.retrieval.response import Recommendation

_WIDE = 110  # a terminal of this many columns or more shows everything
_GAP = 2  # between columns
_MIN_WIDTH = 8  # of a column that shrinks
_JOINER = "\u200d"  # zero-width joiner: several code points, one glyph
_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_red", "bright_cyan", "bright_green", "bright_magenta")


def print_recommendation(recommendation: "Recommendation", explain: bool, console: "Console | None" = None) -> None:
    """Print a recommendation to ``console``, by default the terminal."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    who = "anonymous user" if recommendation.user_id is None else f"user {recommendation.user_id}"
    line = Text.assemble(
        (who, "bold"), f"  ·  {len(recommendation.candidates)} candidates  ·  release {recommendation.release}"
    )
    console.print(line)
    for note in _notes(recommendation):
        console.print(Text(note, style="yellow"))
    if explain and recommendation.interests:
        console.print()
        _print_interests(console, recommendation)
    for row in recommendation.rows:
        console.print()
        console.print(Text(_one_line(row.title), style=f"bold {_colour(row.interest)}"))
        _print_candidates(console, row.candidates, explain=False)
    if not recommendation.rows:
        console.print()
        _print_candidates(console, recommendation.candidates, explain)


def _notes(recommendation: "Recommendation") -> list[str]:
    notes = [recommendation.reason] if recommendation.reason else []
    if recommendation.unknown_items:
        notes.append(f"unknown items in the history: {recommendation.unknown_items}")
    if recommendation.unknown_topics:
        notes.append(f"unknown followed topics: {recommendation.unknown_topics}")
    return notes


def _print_interests(console: "Console", recommendation: "Recommendation") -> None:
    from rich.text import Text

    wide = console.width >= _WIDE
    places = Counter(candidate.interest for candidate in recommendation.candidates)
    columns = [_Column("#", right=True), _Column("interest", shrinks=True)]
    columns += [_Column("kind")] if wide else []
    columns += [_Column("share"), _Column("places", right=True), _Column("from the history", shrinks=True)]
    columns += [_Column("newest", right=True)] if wide else []
    rows: list[list[Text]] = []
    for interest in recommendation.interests:
        colour = _colour(interest.number)
        row = [Text(str(interest.number), style=colour), Text(_one_line(interest.name), style=f"bold {colour}")]
        row += [Text(interest.kind, style="dim")] if wide else []
        bar = "█" * round(interest.share * 10) if wide else ""
        row += [Text.assemble(f"{interest.share:4.0%} ", (bar, colour))]
        row += [Text(str(places[interest.number])), _origin(interest)]
        row += [Text(_age_text(interest.age_days))] if wide else []
        rows.append(row)
    _print_table(console, columns, rows)


def _print_candidates(console: "Console", candidates: "Sequence[Candidate]", explain: bool) -> None:
    from rich.text import Text

    wide = console.width >= _WIDE
    numbers = wide or not explain
    columns = [_Column("rank", right=True), _Column("item", shrinks=True)]
    columns += [_Column("interest", shrinks=True)] if explain and wide else []
    columns += [_Column("because of", shrinks=True)] if explain else []
    columns += [_Column("id", right=True, shrinks=True), _Column("score", right=True)] if numbers else []
    columns += [_Column("found by")] if explain else []
    rows: list[list[Text]] = []
    for candidate in candidates:
        interest = Text(_one_line(candidate.interest_name or candidate.source), style=_colour(candidate.interest))
        because = candidate.because if wide else candidate.because[:1]
        reasons = Text(_one_line(" · ".join(one.title or str(one.item_id) for one in because)))
        row = [Text(str(candidate.rank)), Text(_one_line(candidate.title or str(candidate.item_id)))]
        row += [interest] if explain and wide else []
        row += [reasons if wide or because else Text("for ") + interest] if explain else []
        row += [Text(_one_line(str(candidate.item_id))), Text(f"{candidate.score:.2f}")] if numbers else []
        row += [Text(" ").join(Text(str(k), style=_colour(k)) for k in candidate.found_by)] if explain else []
        rows.append(row)
    _print_table(console, columns, rows)


class _Column(NamedTuple):
    """One column of a table."""

    heading: str
    right: bool = False
    shrinks: bool = False  # where the terminal is too narrow for all texts


def _print_table(console: "Console", columns: "list[_Column]", rows: "list[list[Text]]") -> None:
    """Print rows in columns as wide as their texts.

    In one that had to shrink, a long text ends in an ellipsis, or has it within if two texts would end alike.
    """
    from rich.table import Table

    widths = [max(len(c.heading), *(row[i].cell_len for row in rows)) for i, c in enumerate(columns)]
    shrinking = [i for i, column in enumerate(columns) if column.shrinks]
    while sum(widths) + _GAP * (len(widths) - 1) > console.width:
        widest = max(shrinking, key=widths.__getitem__)
        if widths[widest] <= _MIN_WIDTH:
            break
        widths[widest] -= 1
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    for column, width in zip(columns, widths, strict=True):
        justify: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(column.heading, width=width, justify=justify, no_wrap=True, overflow="ellipsis")
    cut = [_cut_apart([row[i] for row in rows], width) for i, width in enumerate(widths)]
    for row in zip(*cut, strict=True):
        table.add_row(*row)
    console.print(table)


def _cut_apart(cells: "list[Text]", width: int) -> "list[Text]":
    """Return the cells of a column; of those with one beginning, which would be cut to equal texts, the ends stay."""
    beginnings = Counter(text[: width - 1] for text in {cell.plain for cell in cells if cell.cell_len > width})
    return [
        _cut_within(cell, width) if cell.cell_len > width and beginnings[cell.plain[: width - 1]] > 1 else cell
        for cell in cells
    ]


def _cut_within(cell: "Text", width: int) -> "Text":
    """Return a text without its middle, so that it fits."""
    from rich.text import Text

    text = cell.plain
    for kept in range(min(width, len(text)) - 1, 0, -1):
        short = Text(f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}", style=cell.style)
        if short.cell_len <= width:
            return short
    return cell


def _origin(interest: "Interest") -> "Text":
    """Return the origin of an interest: example items, or its kind if it has none."""
    from rich.text import Text

    if interest.items:
        return Text(_one_line(_example_titles(interest.items, interest.n_items)))
    origin = {"explicit": "a topic that the user follows", "unconditioned": "the entire history"}
    return Text(origin.get(interest.kind, ""), style="dim")


def _example_titles(titles: tuple[str, ...], n_items: int) -> str:
    more = f" … {n_items} in all" if n_items > len(titles) else ""
    return " · ".join(titles) + more


def _one_line(text: str) -> str:
    """Return a text with spaces in place of line ends and terminal escapes."""
    return "".join(c if c.isprintable() or c == _JOINER else " " for c in text)


def _age_text(days: float | None) -> str:
    if days is None:
        return ""
    if days < 1:
        return "today"
    return f"{days:,.0f} days ago" if days < 730 else f"{days / 365.25:,.0f} years ago"


def _colour(number: int | None) -> str:
    return "dim" if number is None else _COLOURS[number % len(_COLOURS)]
