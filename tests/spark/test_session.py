"""What Spark needs, and the errors if it is missing. No test here needs Spark."""

import pytest

from multitudes.errors import MissingError
from multitudes_spark import session

GOOD = "java.base@17.0.21\njdk.incubator.vector@17.0.21\n"


def test_a_suitable_java_is_accepted():
    session.check_java(GOOD)
    session.check_java(GOOD.replace("17.0.21", "21"))


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (None, "java was not found"),
        (GOOD.replace("17.0.21", "11.0.2"), "this is Java 11"),
        ("java.base@17.0.21\n", "lacks"),
        ("", "this is Java 0"),
    ],
)
def test_any_other_java_is_rejected_with_what_to_install(modules, message):
    with pytest.raises(MissingError, match=message) as refused:
        session.check_java(modules)
    assert "openjdk-17-jre-headless" in str(refused.value)
    assert "\n" not in str(refused.value)
