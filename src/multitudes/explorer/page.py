"""The page of the explorer, as one HTML document: served, or written to a file with a sample of users in it.

The document asks nothing of other hosts: its style, its script and an exported sample are inside, and its policy allows
nothing else.
"""

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import NamedTuple

from multitudes import api
from multitudes.records import to_record


class Page(NamedTuple):
    """An HTML document and its content security policy."""

    html: str
    policy: str


def live_page() -> Page:
    """Return the page that asks the service which serves it."""
    return _document(connect="'self'")


def static_page(release: api.ExploreMapResponse, answers: Sequence[api.ExploreResponse]) -> str:
    """Return a page with the users of ``answers``, which needs no service; without JavaScript, their tables."""
    data = json.dumps(to_record({"map": release, "answers": tuple(answers)}), ensure_ascii=False, allow_nan=False)
    data = data.replace("<", "\\u003c")  # no title may end the script
    element = f'<script type="application/json" id="data">{data}</script>'
    tables = "".join(map(_tables, answers))
    return _document("'none'", data=element, tables=f'<div id="tables">{tables}</div>', in_document=True).html


def _document(connect: str, data: str = "", tables: str = "", *, in_document: bool = False) -> Page:
    package = files("multitudes.explorer")
    html, style, script = (
        package.joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    policy = (
        f"default-src 'none'; style-src '{source_digest(style)}'; script-src '{source_digest(script)}';"
        f" connect-src {connect}; img-src data:; base-uri 'none'; form-action 'none'"
    )
    meta = f'<meta http-equiv="content-security-policy" content="{escape(policy)}">' if in_document else ""
    sections = {"policy": meta, "style": style, "tables": tables, "data": data, "script": script}
    document = re.sub("<!--([a-z]+)-->", lambda place: sections[place[1]], html)
    return Page(document, policy if in_document else f"{policy}; frame-ancestors 'none'")


def source_digest(text: str) -> str:
    """Return how a content security policy names a style or script: by its hash."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _tables(answer: api.ExploreResponse) -> str:
    """Return what an answer says as plain tables."""
    interests = [
        (one.name, str(sum(event.interest == one.number for event in answer.history)), " · ".join(one.items))
        for one in answer.interests
    ]
    one_vector = answer.one_vector or ()
    candidates = [
        (
            str(one.rank),
            _title(one),
            one.explanation or one.source,
            _title(one_vector[row]) if row < len(one_vector) else "",
        )
        for row, one in enumerate(answer.candidates)
    ]
    history = [_title(event.item) for event in answer.history]
    return (
        f"<section><h2>User {escape(str(answer.user_id))}</h2>"
        + _table(("interest", "events", "newest items"), interests)
        + _table(("rank", "candidate", "because of", "from one vector"), candidates)
        + f"<p>History, newest first: {escape(' · '.join(history))}</p></section>"
    )


def _title(item: api.Candidate | api.MapItem) -> str:
    return item.title or str(item.item_id)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
