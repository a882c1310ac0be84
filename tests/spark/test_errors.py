"""Spark 4's traces become one line."""

import pytest

pytest.importorskip("pyspark", reason="needs pyspark: make test-cluster")

from multitudes.errors import MissingError, UnavailableError
from multitudes_spark.errors import explain_error, start_error

STARTS = {
    "a master that is none": (
        "[JAVA_GATEWAY_EXITED] Java gateway process exited before sending its port number.",
        'WARNING: Using incubator modules\nException in thread "main" org.apache.spark.SparkException: Master must'
        " either be yarn or start with spark, k8s, or local\n\tat org.apache.spark.deploy.SparkSubmit.error(S.scala)",
        "SparkException: Master must either be yarn or start with spark, k8s, or local",
    ),
    "a host that is not known": (
        "An error occurred while calling None.org.apache.spark.sql.classic.SparkSession.\n"
        ": java.lang.IllegalStateException: Cannot call methods on a stopped SparkContext.\nIt was created at:",
        "WARN StandaloneAppClient: Failed to connect to master shop:7077\norg.apache.spark.SparkException: Exception\n"
        "Caused by: java.io.IOException: Failed to connect to shop:7077\n\t... 4 more\n"
        "Caused by: java.net.UnknownHostException: shop\n\t... 1 more\nWARN Drop UnregisterApplication(null)",
        "UnknownHostException: shop",
    ),
    "cores that are no number": (
        "An error occurred while calling None.org.apache.spark.api.java.JavaSparkContext.\n"
        ": org.apache.spark.SparkException: Could not parse Master URL: 'local[x]'\n\tat org.apache.spark.SparkContext",
        "WARN MetricsSystem: Stopping a MetricsSystem that is not running",
        "SparkException: Could not parse Master URL: 'local[x]'",
    ),
    "no trace at all": ("[Errno 2] No such file or directory: 'spark-submit'\nmore", "", "'spark-submit'"),
}


@pytest.mark.parametrize("start", STARTS)
def test_a_start_that_failed_names_its_cause_in_one_line(start):
    error, log, cause = STARTS[start]
    told = start_error(RuntimeError(error), log, "here")
    assert isinstance(told, UnavailableError)
    assert str(told).startswith("master = 'here': Spark does not start: ")
    assert str(told).endswith(cause)


@pytest.mark.parametrize("tell", [lambda e: start_error(e, "", "here"), lambda e: explain_error(e, "here", "2g")])
def test_a_full_disk_is_reported(tell):
    told = tell(RuntimeError("An error occurred\n: java.io.IOException: No space left on device\n\tat java.base"))
    assert isinstance(told, MissingError)
    assert "scratch under [engine.options]" in str(told)


def test_another_version_of_spark_is_reported_and_a_defect_of_multitudes_stays_one():
    error = RuntimeError(
        "java.io.InvalidClassException: org.apache.spark.rpc; local class incompatible: stream classdesc"
    )
    assert "of another version than this pyspark" in str(explain_error(error, "spark://host:7077", "2g"))
    assert explain_error(RuntimeError("java.lang.NullPointerException"), "here", "2g") is None
