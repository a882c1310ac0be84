"""Sample users of an evaluation as HTML: interests on a map of the items and a timeline, candidates with reasons.

Drawn as in the explorer, without a script.
"""

from collections import Counter
from datetime import UTC, datetime
from html import escape
from typing import Any

from multitudes.interest_colours import COUNT

_WIDTH, _HEIGHT, _MARGIN = 400, 300, 12  # of the map, in the units of its drawing
_LEAST_SHARE = 0.005  # of the list; a smaller one is not worth a row, unless the interest has events or candidates


def sample_users_section(result: dict[str, Any]) -> str:
    """Return a card for each sample user of a result; empty without sample users."""
    cards = "\n".join(_user_card(user, result["item_map"]) for user in result["samples"])
    if not cards:
        return ""
    about = (
        "Drawn at random. An interest has one colour everywhere: dots are the history, rings the candidates by their"
        " interest, grey specks other popular items; near items are alike. ✓ marks a hit."
    )
    return f"<h2>Three random users</h2>\n<p class=soft>{about}</p>\n{cards}"


def _user_card(user: dict[str, Any], points: list[list[float]]) -> str:
    follows = f"; follows {', '.join(user['follows'])}" if user["follows"] else ""
    about = f"{user['events']:,} events{follows}; {user['hits']} of {user['targets']} targets found"
    colours = interest_colours(user["interests"])
    picture = _map(user, points, colours) if user["history"] else ""
    return (
        f'<section class="user"><h3>User {escape(str(user["user_id"]))}</h3>\n'
        f'<p class="soft">{escape(about)}</p>\n'
        f'<div class="row"><div>{picture}</div><div>{_interests(user, colours)}</div></div>\n'
        f"<h4>First candidates</h4>\n{_candidates(user, colours)}</section>"
    )


def interest_colours(interests: list[dict[str, Any]]) -> dict[int | None, str]:
    """Return the CSS colour of each interest by its column, and by None that of events without one."""
    columns = [one["column"] for one in interests if one["kind"] != "unconditioned"]
    colours: dict[int | None, str] = {one["column"]: "var(--whole)" for one in interests}
    colours |= {column: f"var(--c{place % COUNT})" for place, column in enumerate(columns)}
    return colours | {None: "var(--speck)"}


def _map(user: dict[str, Any], points: list[list[float]], colours: dict[int | None, str]) -> str:
    """Return the map of the items with the user's own as SVG; titles appear under the mouse."""
    past = [one for one in reversed(user["history"]) if one["x"] is not None]
    next_ones = [one for one in user["candidates"] if one["x"] is not None]
    specks = "".join(f"M{x:.0f} {y:.0f}h0" for x, y in (_point(*point) for point in points))
    halos = "".join(_circle(one, "halo", 14, colours.get(one["interest"], "")) for one in past)
    dots = "".join(_circle(one, "dot", 4, colours.get(one["interest"], "")) for one in past)
    rings = "".join(_circle(one, "ring", 5.5, colours.get(one["brought_by"], colours[None])) for one in next_ones)
    badges = "".join(_badge(column, past, colours[column]) for column in colours if column is not None)
    label = (
        f"Map of the items with {len(past)} events and {len(next_ones)} candidates; what it shows is listed beside it"
    )
    return (
        f'<svg class="map" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f'<path class="specks" d="{specks}"/>{halos}{dots}{rings}{badges}</svg>'
    )


def _point(x: float, y: float) -> tuple[float, float]:
    return _MARGIN + x * (_WIDTH - 2 * _MARGIN), _MARGIN + y * (_HEIGHT - 2 * _MARGIN)


def _circle(item: dict[str, Any], style: str, radius: float, colour: str) -> str:
    x, y = _point(item["x"], item["y"])
    title = f"<title>{escape(item['title'])}</title>"
    return f'<circle class="{style}" style="color:{colour}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">{title}</circle>'


def _badge(column: int, past: list[dict[str, Any]], colour: str) -> str:
    """Return the number of an interest at the event that is nearest to the middle of its events; empty without any."""
    own = [_point(one["x"], one["y"]) for one in past if one["interest"] == column]
    if not own:
        return ""
    middle_x, middle_y = (sum(one[axis] for one in own) / len(own) for axis in (0, 1))
    x, y = min(own, key=lambda one: (one[0] - middle_x) ** 2 + (one[1] - middle_y) ** 2)
    return (
        f'<circle class="badge" style="color:{colour}" cx="{x:.1f}" cy="{y:.1f}" r="8"/>'
        f'<text class="number" x="{x:.1f}" y="{y + 3.5:.1f}">{column}</text>'
    )


def _interests(user: dict[str, Any], colours: dict[int | None, str]) -> str:
    """Return each interest with its share of the list, its events on the timeline, and its newest items."""
    brought = Counter(candidate["brought_by"] for candidate in user["candidates"])
    shown = [
        one for one in user["interests"] if one["share"] >= _LEAST_SHARE or one["n_items"] or brought[one["column"]]
    ]
    rows = "".join(_interest(one, user["history"], colours[one["column"]]) for one in shown)
    return f"{rows}{_axis(user.get('history', []))}"


def _interest(interest: dict[str, Any], history: list[dict[str, Any]], colour: str) -> str:
    column, name = interest["column"], escape(interest["name"])
    kind = ' <span class="soft">(topic)</span>' if interest["kind"] == "explicit" else ""
    more = interest["n_items"] - len(interest["items"])
    items = escape(" · ".join(interest["items"])) + (f" + {more} more" if more > 0 else "")
    return (
        f'<div class="interest"><span>{_swatch(colour, str(column))}{name}{kind}</span>'
        f"<span>{interest['share']:.0%} of the list</span>{_track(column, history, colour)}"
        f'<span class="soft">{items}</span></div>'
    )


def _swatch(colour: str, text: str = "") -> str:
    return f'<span class="swatch" style="color:{colour}" aria-hidden="true"><b>{text}</b></span>'


def _track(column: int, history: list[dict[str, Any]], colour: str) -> str:
    """Return the events of an interest from oldest to newest; empty without any."""
    width = 100 / max(len(history), 1)
    bars = [
        f'<i style="left:{place * width:.2f}%;width:max({width:.2f}%,4px);color:{colour}" title="{_moment(event)}"></i>'
        for place, event in enumerate(reversed(history))
        if event["interest"] == column
    ]
    label = f"{len(bars)} of {len(history)} events"
    return f'<span class="track" role="img" aria-label="{label}">{"".join(bars)}</span>' if bars else ""


def _moment(event: dict[str, Any]) -> str:
    return escape(", ".join(filter(None, [event["title"], _date(event)])))


def _date(event: dict[str, Any]) -> str:
    return "" if event["time_s"] is None else datetime.fromtimestamp(event["time_s"], UTC).date().isoformat()


def _axis(history: list[dict[str, Any]]) -> str:
    if not history:
        return ""
    first, last = _date(history[-1]) or "oldest", _date(history[0]) or "newest"
    return f'<div class="axis"><span>{first}</span><span>{last}</span></div>'


def _candidates(user: dict[str, Any], colours: dict[int | None, str]) -> str:
    rows = []
    for one in user["candidates"]:
        hit, own = " class=hit" if one["hit"] else "", " and ".join(one["because"])
        because, column = f"because of {own}" if own else one["interest"], one["brought_by"]
        swatch = "" if column is None else _swatch(colours.get(column, colours[None]), str(column))
        rows.append(
            f"<li><span{hit}>{escape(one['title'])}</span><br><span class=soft>{swatch}{escape(because)}</span></li>"
        )
    return f'<ol class="candidates">{"".join(rows)}</ol>'
