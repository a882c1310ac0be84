"""One session of Spark for the tests of a file that need no cluster: starting one takes longer than they do."""

import pytest

from multitudes_spark.session import SparkConfig

# Tiny tables: compiling for them takes longer than reading them.
QUICK = {
    "spark.sql.shuffle.partitions": "3",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}


@pytest.fixture(scope="module")
def spark():
    """Return what runs on a session of two local cores, which is there already."""
    from pyspark.sql import SparkSession  # noqa: PLC0415 (where it is not installed, the tests skip themselves)

    builder = SparkSession.builder.master("local[2]").appName("tests")
    for name, value in (QUICK | {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1"}).items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield SparkConfig(master="local[2]", conf=QUICK)
    session.stop()
