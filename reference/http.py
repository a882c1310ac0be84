"""The pages of the HTTP API, from the description that the service publishes at ``/openapi.json``."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from multitudes.api import ID_CHARACTERS
from multitudes.service.app import create_app
from multitudes.service.metrics import Metrics
from multitudes.service.settings import ServeConfig
from multitudes.service.startup import Dependencies
from reference.markdown import from_docstring, page, table

Node = Mapping[str, Any]
_JSON: Final = "application/json"
_WITH_ADDRESSES: Final = frozenset({"VectorsResponse", "VectorQuery"})  # types that are on the page of the addresses
_LARGEST: Final = 2**62  # a bound beyond it is that of int64, and tells nothing


def pages() -> dict[str, str]:
    """Return the pages: the addresses, the types of their bodies, and both for the explorer."""
    api = description()
    explorer = {path for path in api["paths"] if path.startswith("/v1/explore")}
    main, map_ = _Paths(api, set(api["paths"]) - explorer, "http-types.md"), _Paths(api, explorer, "")
    more = "What programs read: `/openapi.json`. The addresses of the explorer:"
    return {
        "http.md": page(
            "HTTP",
            f"{api['info']['description'].strip()}",
            f"{more} [http-explorer.md](http-explorer.md).",
            *main.operations(),
            "## Types of vectors",
            *main.types("###", with_addresses=True),
            _errors(api),
        ),
        "http-types.md": page("HTTP: types", "Bodies and answers of [http.md](http.md).", *main.types("##")),
        "http-explorer.md": page(
            "HTTP: the explorer",
            "The addresses behind the [explorer](explorer.md). What all addresses share: [http.md](http.md).",
            *map_.operations(),
            "## Types",
            *map_.types("###"),
        ),
    }


def description() -> Node:
    """Return the OpenAPI document of the service; it does not depend on what the service serves."""
    unused: Any = None
    return create_app(Dependencies(ServeConfig(), unused, unused, unused, unused, Metrics(), unused)).openapi()


class _Paths:
    """The sections of some paths, and of the types that they name."""

    def __init__(self, api: Node, paths: set[str], types_page: str) -> None:
        self._types_page = types_page
        self._types: Node = api["components"]["schemas"]
        self._operations = [
            (method.upper(), path, operation)
            for path, methods in api["paths"].items()
            if path in paths
            for method, operation in methods.items()
        ]
        self._named: list[str] = []

    def operations(self) -> list[str]:
        """Return a section for each operation."""
        return [self._operation(*one) for one in self._operations]

    def types(self, heading: str, *, with_addresses: bool = False) -> Iterator[str]:
        """Yield a section for each type that was named, and for those that these name, of one of the two pages."""
        self._types_page = ""
        for name in self._named:  # grows
            if (name in _WITH_ADDRESSES) is with_addresses:
                yield self._type(heading, name)

    def _operation(self, method: str, path: str, operation: Node) -> str:
        scopes = " or ".join(f"`{scope}`" for one in operation["security"] for scope in one["key"])
        body = operation.get("requestBody", {}).get("content", {}).get(_JSON)
        parameters = [
            [f"`{one['name']}`", one["in"], self._text(one["schema"]), one.get("description", "")]
            for one in operation.get("parameters", ())
        ]
        (kind, answer), *_ = operation["responses"]["200"]["content"].items()
        request = f"Body: {self._text(body['schema'])}." if body else ""
        returned = self._text(answer["schema"]) if kind == _JSON else kind
        return "\n\n".join(
            part
            for part in (
                f"## {method} {path}",
                from_docstring(operation["description"]),
                table(["parameter", "in", "type", "meaning"], parameters) if parameters else "",
                " ".join(filter(None, [request, f"Answer: {returned}.", f"Key: {scopes or 'none'}."])),
                self._example(body),
            )
            if part
        )

    def _example(self, body: Node | None) -> str:
        if body is None:
            return ""
        example = self._types[_name(body["schema"])]["examples"][0]
        return f"```json\n{json.dumps(example, ensure_ascii=False)}\n```"

    def _type(self, heading: str, name: str) -> str:
        schema = self._types[name]
        required = schema.get("required", ()) if "examples" in schema else ()  # of a request; an answer has all fields
        rows = [
            [f"`{field}`", self._text(one) + _default(one) + ", required" * (field in required), _meaning(one)]
            for field, one in schema["properties"].items()
        ]
        return f"{heading} {name}\n\n{schema.get('description', '')}\n\n{table(['field', 'type', 'meaning'], rows)}"

    def _text(self, schema: Node) -> str:
        """Return the type of a value in words, and remember that a type of its own is to be shown."""
        if "$ref" in schema:
            name = _name(schema)
            if name not in self._named:
                self._named.append(name)
            return f"[{name}]({'' if name in _WITH_ADDRESSES else self._types_page}#{name.lower()})"
        if "enum" in schema:
            return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
        if _is_id(schema):
            return "id"
        if "anyOf" in schema:
            return " or ".join(dict.fromkeys(map(self._text, schema["anyOf"])))
        kind = schema.get("type", "any value")
        if kind == "array":
            return f"list{_bounds(schema, 'Items', '')} of {self._text(schema['items'])}"
        if kind == "object":
            inner = schema.get("additionalProperties")
            return f"object of {self._text(inner)}" if isinstance(inner, Mapping) else "object"
        if kind == "string":
            return f"text{_bounds(schema, 'Length', ' characters')}"
        return cast("str", kind) + _bounds(schema, "imum", "")


def _is_id(schema: Node) -> bool:
    return str(schema.get("description", "")).startswith("Exactly as in the data") or {
        one.get("maxLength", one.get("type")) for one in schema.get("anyOf", ())
    } == {"integer", ID_CHARACTERS}


def _default(schema: Node) -> str:
    value = schema.get("default")
    return "" if value in (None, [], {}) else f", default {json.dumps(value)}"


def _meaning(schema: Node) -> str:
    return "" if _is_id(schema) else str(schema.get("description", ""))


def _name(schema: Node) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _bounds(schema: Node, of: str, unit: str) -> str:
    """Return the bounds of a value (``imum``), a text (``Length``) or a list (``Items``); empty where it has none."""
    least, most = (schema.get(f"{end}{of}") for end in ("min", "max"))
    least, most = (None if bound is None or abs(bound) > _LARGEST else f"{bound:,.10g}" for bound in (least, most))
    if least is None and most is None:
        return ""
    bounds = f"up to {most}" if least is None else f"at least {least}" if most is None else f"{least} to {most}"
    return f" ({bounds}{unit})"


def _errors(api: Node) -> str:
    answers = {
        status: answer["content"][_JSON]["example"]["error"]
        for methods in api["paths"].values()
        for operation in methods.values()
        for status, answer in operation["responses"].items()
        if status != "200"
    }
    rows = [[status, f"`{error['code']}`", error["message"]] for status, error in sorted(answers.items())]
    return f"## Errors\n\n{table(['status', 'code', 'for example'], rows)}"
