"""What ``/openapi.json`` promises: an example of every request and answer, each of which is as its schema says."""

import re
from typing import Any

import jsonschema
import pytest

from multitudes.service.errors import ERROR_CODES
from tests.service.conftest import ask

Description = dict[str, Any]


@pytest.fixture(scope="module")
def description(plain_app) -> Description:
    description: Description = ask(plain_app, "GET", "/openapi.json").json()
    return description


def operations(description: Description) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]


def holds(description: Description, schema: dict[str, Any], example: object) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(example, {**schema, "components": description["components"]})


def test_every_answer_has_an_example_that_holds(description):
    seen = 0
    for method, path, operation in operations(description):
        for status, answer in operation["responses"].items():
            for kind, content in answer["content"].items():
                assert "example" in content, (method, path, status)
                if kind == "application/json":
                    holds(description, content["schema"], content["example"])
                    seen += 1
    assert seen > 100


def test_a_schema_refuses_what_it_should(description):
    """Control: else every example would hold."""
    for _, path, operation in operations(description):
        if path == "/metrics":
            continue
        content = operation["responses"]["200"]["content"]["application/json"]
        with pytest.raises(jsonschema.ValidationError):
            holds(description, content["schema"], {**content["example"], "more": 1})
        with pytest.raises(jsonschema.ValidationError):
            holds(description, content["schema"], {})


def test_every_request_with_a_body_has_examples_that_are_answered(description, plain_app):
    tried = 0
    for method, path, operation in operations(description):
        if "requestBody" not in operation:
            continue
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        name = schema["$ref"].rpartition("/")[2]
        for example in description["components"]["schemas"][name]["examples"]:
            holds(description, schema, example)
            assert ask(plain_app, method, re.sub(r"\{id\}", "ann", path), json=example).status_code == 200, (
                path,
                example,
            )
            tried += 1
    assert tried >= 5


def test_every_refusal_and_every_bound_is_published(description):
    for method, path, operation in operations(description):
        missing = {str(status) for status in ERROR_CODES if status != 405} - set(operation["responses"])
        assert not missing, (method, path)
        assert operation["summary"]
        assert operation["description"]
    ask_schema = description["components"]["schemas"]["RecommendRequest"]["properties"]
    assert ask_schema["n"]["maximum"] == 1_000
    assert ask_schema["exclude"]["maxItems"] == 10_000
    assert description["components"]["schemas"]["RecommendRequest"]["additionalProperties"] is False
    assert description["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert description["security"] == [{"key": []}]
