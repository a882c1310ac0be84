"""The page of the explorer, as one HTML document: served, or written to a file with a sample of users in it.

The document asks nothing of other hosts but images, if they are switched on: its style, its script and an exported
sample are inside, and its policy allows nothing else.
"""

import json
import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Final, NamedTuple

from multitudes import api
from multitudes.records import to_record
from multitudes.safe_html import printable, source_digest

_NOTICE: Final = (
    "This page asks the service by JavaScript, which this browser does not run. <code>multitudes explore RELEASES"
    " --export page.html</code> writes a page that shows users as plain tables without it."
)
_NOTICE_IN_DOCUMENT: Final = "Without JavaScript, this page shows its users as plain tables: no map and no timeline."


class Page(NamedTuple):
    """An HTML document and its content security policy."""

    html: str
    policy: str


class Beside(NamedTuple):
    """What another release answers for the same users."""

    release: str
    answers: Sequence[api.ExploreResponse | None]  # None: the release does not have the user


def live_page(image_origins: Sequence[str] = ()) -> Page:
    """Return the page that asks the service which serves it, and these origins for images."""
    return _document("'self'", image_origins)


def static_page(
    release: api.ExploreMapResponse,
    answers: Sequence[api.ExploreResponse],
    beside: Beside | None = None,
    image_origins: Sequence[str] = (),
) -> str:
    """Return a page with the users of ``answers``, which needs no service; without JavaScript, their tables."""
    other = None if beside is None else {"release": beside.release, "answers": tuple(beside.answers)}
    record = to_record({"map": release, "answers": tuple(answers), "beside": other})
    data = json.dumps(record, ensure_ascii=False, allow_nan=False)
    data = data.replace("<", "\\u003c")  # no title may end the script
    element = f'<script type="application/json" id="data">{data}</script>'
    tables = "".join(
        _tables(answer, None if beside is None else (beside.release, beside.answers[row]))
        for row, answer in enumerate(answers)
    )
    tables = f'<div id="tables">{printable(tables)}</div>'
    return _document("'none'", image_origins, data=element, tables=tables, in_document=True).html


def _document(
    connect: str, image_origins: Sequence[str], data: str = "", tables: str = "", *, in_document: bool = False
) -> Page:
    package = files("multitudes.explorer")
    html, style, script = (
        package.joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    policy = (
        f"default-src 'none'; style-src '{source_digest(style)}'; script-src '{source_digest(script)}';"
        f" connect-src {connect}; img-src {' '.join(('data:', *image_origins))}; base-uri 'none'; form-action 'none'"
    )
    meta = f'<meta http-equiv="content-security-policy" content="{escape(policy)}">' if in_document else ""
    notice = _NOTICE_IN_DOCUMENT if in_document else _NOTICE
    sections = {"noscript": notice, "policy": meta, "style": style, "tables": tables, "data": data, "script": script}
    document = re.sub("<!--([a-z]+)-->", lambda place: sections[place[1]], html)
    return Page(document, policy if in_document else f"{policy}; frame-ancestors 'none'")


def _tables(answer: api.ExploreResponse, beside: tuple[str, api.ExploreResponse | None] | None) -> str:
    """Return what an answer says as plain tables, with the candidates of the release beside it."""
    lists = {"from one vector": answer.one_vector or ()}
    if beside is not None:
        lists[f"release {beside[0]}"] = () if beside[1] is None else beside[1].candidates
    candidates = [
        (
            str(one.rank),
            _title(one),
            " · ".join(item.title or str(item.item_id) for item in one.because)
            or f"for {one.interest_name or one.source}",
            *(_title(other[row]) if row < len(other) else "" for other in lists.values()),
        )
        for row, one in enumerate(answer.candidates)
    ]
    history = [_title(event.item) for event in answer.history]
    return (
        f"<section><h2>User {escape(str(answer.user_id))}</h2>"
        + _interests(answer.release, answer)
        + ("" if beside is None else _interests(*beside))
        + _table("Candidates", ("rank", "candidate", "because of", *lists), candidates)
        + f"<p>History, newest first: {escape(' · '.join(history))}</p></section>"
    )


def _interests(release: str, answer: api.ExploreResponse | None) -> str:
    if answer is None:
        return f"<p>Release {escape(release)} does not have this user.</p>"
    rows = [
        (one.name, str(sum(event.interest == one.number for event in answer.history)), " · ".join(one.items))
        for one in answer.interests
    ]
    return _table(f"Interests in release {release}", ("interest", "events", "newest items"), rows)


def _title(item: api.Candidate | api.MapItem) -> str:
    return item.title or str(item.item_id)


def _table(caption: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    table = f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(caption)}">{table}</div>'
