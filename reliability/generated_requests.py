"""Requests that Schemathesis generates from a description, and what comes of them."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi import checks

from multitudes.progress import Progress

_DESCRIBED = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
_AT_ONCE = 50  # cases of one operation, right or wrong ones, before the next has its turn
_FIRST = 3  # wrong answers that are kept, to be looked at


def send_requests(description: dict[str, Any], url: str, cases: int, progress: Progress) -> Counter[str]:
    """Send so many requests; return how many failed, how many answers were not as described, and all by status."""
    outcomes = Counter[str]()
    with requests.Session() as session:
        for number, (operation, mode) in enumerate(_turns(description)):
            _try(operation, mode, number, min(_AT_ONCE, cases - outcomes["cases"]), (url, session, outcomes))
            progress(
                outcomes["cases"], cases, f"{outcomes['failed']} failed, {outcomes['undescribed']} not as described"
            )
            if outcomes["cases"] >= cases:
                return outcomes
    raise AssertionError("turns never end")


def _turns(description: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield operations with right and with wrong requests; those that take nothing come once."""
    operations = [found.ok() for found in schemathesis.openapi.from_dict(description).get_all_operations()]
    modes = list(schemathesis.GenerationMode)
    yield from ((operation, modes[0]) for operation in operations if not _takes(operation))
    while True:
        yield from ((operation, mode) for operation in operations if _takes(operation) for mode in modes)


def _takes(operation: Any) -> bool:  # noqa: ANN401
    return bool(operation.body or operation.path_parameters or operation.query)


def _try(operation: Any, mode: Any, number: int, cases: int, to: tuple[str, requests.Session, Counter[str]]) -> None:  # noqa: ANN401
    url, session, outcomes = to

    @seed(number)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(operation.as_strategy(mode))
    def once(case: Any) -> None:  # noqa: ANN401
        if outcomes["cases"] - before >= cases:
            return
        response = case.call(base_url=url, session=session)
        outcomes["cases"] += 1
        outcomes[str(response.status_code)] += 1
        outcomes["failed"] += response.status_code >= 500
        try:
            case.validate_response(response, checks=_DESCRIBED)
        except (Failure, FailureGroup) as failure:
            outcomes["undescribed"] += 1
            if outcomes["undescribed"] <= _FIRST:
                print(f"{operation.label}: {failure}")

    before = outcomes["cases"]
    once()
