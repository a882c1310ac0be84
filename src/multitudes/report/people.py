"""The part of a report that shows people: the interests of a few users, drawn at random, and what they got."""

from html import escape
from typing import Any


def people_section(result: dict[str, Any]) -> str:
    """Return one card for each sample user of a result."""
    cards = "\n".join(_card(person) for person in result["samples"])
    if not cards:
        return ""
    return (
        "<h2>Three users, drawn at random</h2>\n<p class=soft>Interests with their share of the list and the newest"
        f" items of the history behind them; then the first candidates. ✓ marks a target that was found.</p>\n{cards}"
    )


def _card(person: dict[str, Any]) -> str:
    follows = ", ".join(person["follows"]) or "nothing"
    return (
        f'<section class="person"><h3>User {escape(str(person["user_id"]))}</h3>\n'
        f'<p class="soft">{person["events"]:,} events; follows {escape(follows)}; {person["hits"]} of'
        f" {person['targets']} targets found</p>\n"
        f'<div class="scroll"><table><tr><th>interest</th><th class=number>share</th><th></th><th>from the history</th>'
        f"</tr>{''.join(_interest(interest) for interest in person['interests'])}</table></div>\n"
        f"<p>{' · '.join(_candidate(candidate) for candidate in person['candidates'])}</p></section>"
    )


def _interest(interest: dict[str, Any]) -> str:
    kind = "" if interest["kind"] == "unconditioned" else f' <span class="soft">{interest["kind"]}</span>'
    width = f"{6 * interest['share']:.2f}rem"
    items = ", ".join(interest["items"])
    more = interest["n_items"] - len(interest["items"])
    return (
        f"<tr><td>{escape(interest['name'])}{kind}</td><td class=number>{interest['share']:.0%}</td>"
        f'<td><span class="bar" style="width:{width}"></span></td>'
        f"<td>{escape(items)}{f' <span class=soft>+ {more} more</span>' if more > 0 else ''}</td></tr>"
    )


def _candidate(candidate: dict[str, Any]) -> str:
    hit = " class=hit" if candidate["hit"] else ""
    return f"<span{hit}>{escape(candidate['title'])}</span> <span class=soft>({escape(candidate['interest'])})</span>"
