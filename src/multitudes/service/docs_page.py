"""``/docs``: the description of ``/openapi.json`` as one HTML page, which has no script and asks for nothing else.

A type stands where an operation first takes or returns it, the types within them at the end of the page.
"""

import json
import re
import shlex
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any, Final

from multitudes.explorer.page import Page, source_digest

Node = Mapping[str, Any]
_JSON: Final = "application/json"
_EXAMPLES: Final = """
In the examples, `$URL` is the address of the service, such as `http://127.0.0.1:8000`, and `$KEY` the key. What is
written here is at `/openapi.json` for programs.
"""
_LINE: Final = 80  # characters
_LARGEST: Final = 2**62  # a bound beyond it is that of int64, and tells nothing


def docs_page(description: Node) -> Page:
    """Return the page.

    Args:
        description: OpenAPI 3.1, as the service publishes it.
    """
    style = files("multitudes.service").joinpath("docs_page.css").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; style-src '{source_digest(style)}'; img-src data:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )
    title = escape(f"{description['info']['title']} {description['info']['version']}")
    return Page(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<title>{title} · API</title>\n'
        f'<link rel="icon" href="data:,">\n<style>{style}</style>\n</head>\n<body>\n'
        f"{_Body(description).html()}</body>\n</html>\n",
        policy,
    )


class _Body:
    """The body of the page; it remembers which types it has shown."""

    def __init__(self, description: Node) -> None:
        self._description = description
        self._types: Node = description["components"]["schemas"]
        self._shown = set[str]()
        self._operations: list[tuple[str, str, Node]] = [
            (method.upper(), path, operation)
            for path, methods in description["paths"].items()
            for method, operation in methods.items()
        ]

    def html(self) -> str:
        info = self._description["info"]
        operations = "".join(self._operation(*one) for one in self._operations)  # first: they say what they show
        rest = "".join(self._type(name, "h3") for name in self._types if name not in self._shown)
        return (
            f"<header><h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
            f"<p>{escape(info['summary'])}</p></header>\n"
            f'<nav aria-label="Paths"><ul>{self._links()}</ul></nav>\n'
            f"<main>\n<section>{_paragraphs(info['description'] + _EXAMPLES)}</section>\n{operations}"
            f'<section id="errors"><h2>Errors</h2>{self._errors()}</section>\n'
            f'<section id="types"><h2>Types</h2>{rest}</section>\n</main>\n'
        )

    def _links(self) -> str:
        rows = (
            f'<li><a href="#{_anchor(method, path)}">{_method(method)} {escape(path)}</a></li>'
            for method, path, _ in self._operations
        )
        return "".join(rows) + '<li><a href="#errors">Errors</a></li><li><a href="#types">Types</a></li>'

    def _operation(self, method: str, path: str, operation: Node) -> str:
        body = operation.get("requestBody", {}).get("content", {}).get(_JSON)
        scopes = [scope for one in operation["security"] for scope in one["key"]]
        needed = " or ".join(f"<code>{escape(scope)}</code>" for scope in scopes)
        parameters = "".join(
            _field(one["name"], one["schema"], one.get("description", ""), "required" * one["required"], one["in"])
            for one in operation.get("parameters", ())
        )
        return (
            f'<section id="{_anchor(method, path)}"><h2>{_method(method)} <code>{escape(path)}</code></h2>'
            f'<p class="scope">{f"Scope of the key: {needed}" if needed else "Needs no key"}</p>'
            + _paragraphs(operation["description"])
            + (f"<h3>Parameters</h3><dl>{parameters}</dl>" if parameters else "")
            + (f"<h3>Body</h3>{self._reference(body['schema'])}" if body else "")
            + f"<h3>Example</h3><pre>{escape(self._curl(method, path, operation, body, bool(scopes)))}</pre>"
            + self._answers(operation["responses"])
            + "</section>\n"
        )

    def _answers(self, responses: Node) -> str:
        errors = ", ".join(
            f'<a href="#error-{escape(status)}">{escape(status)}</a>' for status in responses if status != "200"
        )
        (kind, answer), *_ = responses["200"]["content"].items()
        example = answer["example"]
        reference = self._reference(answer["schema"]) if kind == _JSON else f"<p>{escape(kind)}</p>"
        return f"<h3>Answer</h3>{reference}<pre>{escape(_example_text(example))}</pre><p>Errors: {errors}</p>"

    def _curl(self, method: str, path: str, operation: Node, body: Node | None, needs_key: bool) -> str:
        examples = {
            (one["in"], one["name"]): str(one["schema"]["examples"][0])
            for one in operation.get("parameters", ())
            if one["required"]
        }
        for (place, name), value in examples.items():
            path = path.replace(f"{{{name}}}", value) if place == "path" else f"{path}?{name}={value}"
        lines = [f'curl {f"-X {method} " if method in {"PUT", "DELETE"} else ""}"$URL{path}"']
        if needs_key:
            lines.append('-H "authorization: Bearer $KEY"')
        if body:
            example = self._types[_name(body["schema"]["$ref"])]["examples"][0]
            lines += [
                f"-H 'content-type: {_JSON}'",
                f"-d {shlex.quote(json.dumps(example, ensure_ascii=False))}",
            ]
        return " \\\n  ".join(lines)

    def _reference(self, schema: Node) -> str:
        """Return a type where it is first used, and a link to it afterwards."""
        name = _name(schema["$ref"])
        if name in self._shown:
            return f"<p>{_type_text(schema)}</p>"
        return self._type(name, "h4")

    def _type(self, name: str, heading: str) -> str:
        self._shown.add(name)
        schema = self._types[name]
        required = schema.get("required", ()) if "examples" in schema else ()  # of a request; an answer has all fields
        fields = "".join(
            _field(field, one, one.get("description", ""), "required" * (field in required))
            for field, one in schema["properties"].items()
        )
        return (
            f'<div class="type" id="type-{escape(name)}"><{heading}>{escape(name)}</{heading}>'
            f"{_paragraphs(schema.get('description', ''))}<dl>{fields}</dl></div>"
        )

    def _errors(self) -> str:
        answers = {
            status: answer["content"][_JSON]["example"]["error"]
            for _, _, operation in self._operations
            for status, answer in operation["responses"].items()
            if status != "200"
        }
        rows = (
            f'<div id="error-{escape(status)}"><dt>{escape(status)} <code>{escape(error["code"])}</code></dt>'
            f"<dd>for example: {escape(error['message'])}</dd></div>"
            for status, error in sorted(answers.items())
        )
        return f"<dl>{''.join(rows)}</dl>"


def _field(name: str, schema: Node, description: str, required: str, place: str = "") -> str:
    default = schema.get("default")
    notes = [
        place,
        _type_text(schema),
        required,
        "" if default in (None, [], {}) else f"default {escape(json.dumps(default))}",
    ]
    return (
        f"<div><dt><code>{escape(name)}</code> <span>{' · '.join(filter(None, notes))}</span></dt>"
        f"<dd>{_inline(description)}</dd></div>"
    )


def _type_text(schema: Node) -> str:
    """Return the type of a value in words, as HTML."""
    if "$ref" in schema:
        name = escape(_name(schema["$ref"]))
        return f'<a href="#type-{name}">{name}</a>'
    if "enum" in schema:
        return " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    if "anyOf" in schema:
        texts = dict.fromkeys(map(_type_text, schema["anyOf"]))
        return " or ".join(text for text in texts if text != "null") + (", or null" if "null" in texts else "")
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {_bounds(schema, 'Items', '{}: ')}{_type_text(schema['items'])}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"object of {_type_text(inner)}" if isinstance(inner, Mapping) else "object"
    if kind == "string":
        return f"text{_bounds(schema, 'Length', ' of {} characters')}"
    return escape(kind) + _bounds(schema, "imum", " {}")


def _bounds(schema: Node, of: str, text: str) -> str:
    """Return the bounds of a value, a text or a list within ``text``; nothing where it has none."""
    bounds = bounds_in_words(schema, of)
    return text.format(bounds) if bounds else ""


def bounds_in_words(schema: Node, of: str) -> str:
    """Return the bounds of a value (``imum``), a text (``Length``) or a list (``Items``); empty where it has none."""
    least, most = (schema.get(f"{end}{of}") for end in ("min", "max"))
    least, most = (None if bound is None or abs(bound) > _LARGEST else f"{bound:,.10g}" for bound in (least, most))
    if least is None and most is None:
        return ""
    return f"up to {most}" if least is None else f"at least {least}" if most is None else f"{least} to {most}"


def _example_text(example: object) -> str:
    """Return an example as JSON, the innermost lists and objects on a line of their own."""
    if isinstance(example, str):
        return example
    text = json.dumps(example, indent=2, ensure_ascii=False)
    return re.sub(r"[\[{]\n[^\[\]{}]*\n *[\]}]", _one_line, text)


def _one_line(found: re.Match[str]) -> str:
    text = re.sub(r"(?<=[\[{])\n *|\n *(?=[\]}])", "", found[0])
    text = re.sub(r"\n *", " ", text)
    return text if len(text) <= _LINE else found[0]


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_inline(' '.join(part.split()))}</p>" for part in text.split("\n\n") if part.strip())


def _inline(text: str) -> str:
    """Return a text as HTML, code within backticks."""
    return re.sub(r"(`+)(.+?)\1", r"<code>\2</code>", escape(text, quote=False))


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _anchor(method: str, path: str) -> str:
    return "-".join([method.lower(), *re.findall(r"\w+", path)])


def _method(method: str) -> str:
    return f'<b class="{method.lower()}">{method}</b>'
