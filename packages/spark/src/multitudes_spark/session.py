"""A Spark session for one command: its settings, the checks before it, its start and its stop."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from multitudes.config import Config
from multitudes.data.duck import open_engine
from multitudes.data.engine import Engine
from multitudes.errors import MissingError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_JAVA_MODULE = "jdk.incubator.vector"
_MIN_JAVA = 17  # what Spark 4 needs
_INSTALL = "install one, such as Debian's openjdk-17-jre-headless, and set JAVA_HOME"
# The driver only converts files that are not Parquet and holds no table, so little memory is enough.
_READER_MEMORY = "1GB"
_RESULT_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "false",
    "spark.sql.legacy.parquet.nanosAsLong": "true",  # without it, a table with such a column cannot be read
}


class SparkConfig(Config):
    """``[engine.options]`` with ``kind = "spark"``: the cluster, and its limits."""

    master: str = Field(
        "local[*]", description="local[2]: two cores of this machine; spark://host:7077, yarn, k8s://…: a cluster"
    )
    memory: str = Field("2g", description="memory of the driver, and of each executor")
    scratch: Path | None = Field(
        None, description="folder that driver and executors share, for shards; unset: beside the output"
    )
    conf: dict[str, str] = Field(default_factory=dict, description="any Spark settings, by their full names")


@contextmanager
def open_spark(scratch: Path, config: SparkConfig) -> Iterator[Engine]:
    """Yield Spark as an engine, with its shards in the existing folder ``scratch``, which driver and executors share.

    A session that already runs in this process is used, and not stopped.

    Raises:
        MissingError: a suitable Java is not installed; memory or disk space ran out.
        UnavailableError: the cluster does not answer.
    """
    check_java(_java_modules())
    from multitudes_spark.engine import SparkEngine  # noqa: PLC0415 (Spark)
    from multitudes_spark.errors import JOB_ERRORS, explain_error  # noqa: PLC0415 (Spark)

    with _open_session(scratch, config) as session, open_engine(scratch, _READER_MEMORY, 1) as reader:
        try:
            yield SparkEngine(session, scratch, reader)
        except (*JOB_ERRORS, OSError) as error:  # pyspark also writes the driver's tables to the scratch folder
            explained = explain_error(error, config.master, config.memory)
            if explained is None:
                raise
            raise explained from error


def check_java(modules: str | None) -> None:
    """Check the output of ``java --list-modules``; None: there is no Java.

    Raises:
        MissingError: there is no Java, or Spark 4 does not run on it.
    """
    if modules is None:
        raise MissingError(f"Spark needs Java {_MIN_JAVA}, and java was not found; {_INSTALL}")
    versions = dict(line.split("@") for line in modules.splitlines() if "@" in line)
    version = versions.get("java.base", "0").split(".")[0]
    if int(version) < _MIN_JAVA:
        raise MissingError(f"Spark needs Java {_MIN_JAVA} or newer, and this is Java {version}; {_INSTALL}")
    if _JAVA_MODULE not in versions:
        raise MissingError(f"Spark needs a Java with the module {_JAVA_MODULE}, which this one lacks; {_INSTALL}")


def _java_modules() -> str | None:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    if java is None:
        return None
    return subprocess.run([java, "--list-modules"], capture_output=True, text=True, check=False).stdout


@contextmanager
def _open_session(scratch: Path, config: SparkConfig) -> Iterator["SparkSession"]:
    from pyspark.sql import SparkSession  # noqa: PLC0415 (Spark)

    from multitudes_spark.errors import start_error  # noqa: PLC0415 (Spark)

    running = SparkSession.getActiveSession()
    if running is not None:
        session = running.newSession()
        _configure(session, config)
        yield session
        return
    log = scratch / "spark.log"
    builder: Any = SparkSession.builder.appName("multitudes").master(config.master)
    for name, setting in (_settings(scratch, config) | config.conf).items():
        builder = builder.config(name, setting)
    try:
        with _redirect_stderr(log):
            session = builder.getOrCreate()
    except Exception as error:  # raised by the JVM, a socket or Spark
        output = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        raise start_error(error, output, config.master) from error
    try:
        _configure(session, config)
        yield session
    finally:
        session.stop()


def _configure(session: "SparkSession", config: SparkConfig) -> None:
    """Set the options that the result depends on, and those that depend on the size of the cluster."""
    # Spark merges small partitions, and spills a large one that does not fit.
    partitions = max(64, 4 * session.sparkContext.defaultParallelism)
    for name, setting in ({"spark.sql.shuffle.partitions": str(partitions)} | config.conf | _RESULT_SETTINGS).items():
        if session.conf.isModifiable(name):
            session.conf.set(name, setting)


def _settings(scratch: Path, config: SparkConfig) -> dict[str, str]:
    local = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": "-XX:+UseParallelGC",  # pauses do not matter; G1 takes three times as long
    }
    return {
        **(local if config.master.startswith("local") else {}),
        "spark.driver.memory": config.memory,
        "spark.executor.memory": config.memory,
        "spark.sql.autoBroadcastJoinThreshold": "64m",  # a million items: events need not be shuffled to join them
        "spark.sql.adaptive.advisoryPartitionSizeInBytes": "16m",  # groups take several times that in memory
        "spark.driver.maxResultSize": "0",  # unlimited: the ids of users and items are many, and fit
        "spark.local.dir": str(scratch / "spark"),
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }


@contextmanager
def _redirect_stderr(log: Path) -> Iterator[None]:
    """Send the errors of started processes to a file; a JVM prints before it is configured."""
    saved = os.dup(2)
    with log.open("w") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
