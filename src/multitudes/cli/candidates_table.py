"""Candidates and interests as tables on a terminal; a narrow terminal gets fewer columns."""

from collections import Counter
from typing import TYPE_CHECKING

from multitudes.cli.output import counted, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.text import Text

    from multitudes.api import Candidate, Interest
    from multitudes.retrieval.response import Recommendation

_WIDE = 110  # a terminal of this many columns or more shows everything
_JOINER = "\u200d"  # zero-width joiner: several code points, one glyph
_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_red", "bright_cyan", "bright_green", "bright_magenta")


def print_recommendation(recommendation: "Recommendation", explain: bool, console: "Console | None" = None) -> None:
    """Print a recommendation to ``console``, by default the terminal."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    who = "anonymous user" if recommendation.user_id is None else f"user {recommendation.user_id}"
    n = counted(len(recommendation.candidates), "candidate")
    console.print(Text.assemble((who, "bold"), f"  ·  {n}  ·  release {recommendation.release}"))
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
    rows: list[dict[str, Text]] = []
    for interest in recommendation.interests:
        colour = _colour(interest.number)
        row = {
            "#": Text(str(interest.number), style=colour),
            "interest": Text(_one_line(interest.name), style=f"bold {colour}"),
            "kind": Text(interest.kind, style="dim"),
            "share": Text.assemble(
                f"{interest.share:4.0%} ", ("█" * round(interest.share * 10) if wide else "", colour)
            ),
            "places": Text(str(places[interest.number])),
            "from the history": _origin(interest),
            "newest": Text(_age_text(interest.age_days)),
        }
        rows.append(row if wide else {name: row[name] for name in row if name not in ("kind", "newest")})
    _print_rows(console, rows)


def _print_candidates(console: "Console", candidates: "Sequence[Candidate]", explain: bool) -> None:
    from rich.text import Text

    wide = console.width >= _WIDE
    hidden = {"id", "score"} if explain and not wide else set() if explain else {"because of", "found by"}
    hidden |= set() if explain and wide else {"interest"}
    rows: list[dict[str, Text]] = []
    for candidate in candidates:
        interest = Text(_one_line(candidate.interest_name or candidate.source), style=_colour(candidate.interest))
        because = candidate.because if wide else candidate.because[:1]
        reasons = Text(_one_line(" · ".join(one.title or str(one.item_id) for one in because)))
        row = {
            "rank": Text(str(candidate.rank)),
            "item": Text(_one_line(candidate.title or str(candidate.item_id))),
            "interest": interest,
            "because of": reasons if wide or because else Text("for ") + interest,
            "id": Text(_one_line(str(candidate.item_id))),
            "score": Text(f"{candidate.score:.2f}"),
            "found by": Text(" ").join(Text(str(k), style=_colour(k)) for k in candidate.found_by),
        }
        rows.append({name: row[name] for name in row if name not in hidden})
    _print_rows(console, rows)


def _print_rows(console: "Console", rows: "Sequence[dict[str, Text]]") -> None:
    """Print a table with the keys as headings."""
    headings = list(rows[0]) if rows else []
    right = ("#", "places", "newest", "rank", "score")
    print_table(([*row.values()] for row in rows), headings, right, console)


def _origin(interest: "Interest") -> "Text":
    """Return the origin of an interest: example items, or its kind if it has none."""
    from rich.text import Text

    if interest.items:
        more = f" … {interest.n_items} in all" if interest.n_items > len(interest.items) else ""
        return Text(_one_line(" · ".join(interest.items) + more))
    origin = {"explicit": "a topic that the user follows", "unconditioned": "the entire history"}
    return Text(origin.get(interest.kind, ""), style="dim")


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
