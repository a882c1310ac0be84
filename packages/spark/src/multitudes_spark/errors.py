"""Turn Spark's errors into errors of one line that say what to do."""

import re

from py4j.protocol import Py4JError
from pyspark import __version__ as version
from pyspark.errors import PySparkException

from multitudes.data.engine import first_line
from multitudes.errors import MissingError, MultitudesError, UnavailableError, is_disk_full

JOB_ERRORS = (PySparkException, Py4JError)
_LOST = (
    "All masters are unresponsive",
    "SparkContext was shut down",
    "SparkContext was stopped",
    "stopped SparkContext",
    "Master removed our application",
    "Answer from Java side is empty",
)
_OTHER_VERSION = "InvalidClassException"  # Java's error if driver and cluster have different versions of Spark
_CAUSE = re.compile(r"^(?:: |Caused by: |Exception in thread \"\w+\" )(?:\w+\.)*([\w$]+: .+)$", re.MULTILINE)


def start_error(error: Exception, log: str, master: str) -> MultitudesError:
    """Return the error for a Spark that did not start, with the innermost cause in its log or in ``error``."""
    if is_disk_full(error):
        return _no_space_error()
    causes = _CAUSE.findall(log) or _CAUSE.findall(str(error)) or [first_line(error)]
    return UnavailableError(f"master = '{master}': Spark does not start: {causes[-1].rstrip(' .')}")


def is_connection_lost(error: BaseException) -> bool:
    """Return whether an error means that the cluster, or the driver's own JVM, is gone."""
    return any(words in str(error) for words in _LOST)


def explain_error(error: Exception, master: str, memory: str) -> MultitudesError | None:
    """Return the error that says what to do; None if Spark's error is a defect of multitudes."""
    if is_disk_full(error):
        return _no_space_error()
    if is_connection_lost(error):
        return UnavailableError(f"master = '{master}': the cluster does not answer any longer: {first_line(error)}")
    if _OTHER_VERSION in str(error):
        return UnavailableError(
            f"master = '{master}': its Spark is of another version than this pyspark, {version}; install the same"
        )
    if "OutOfMemoryError" in str(error):
        return MissingError(f"memory = '{memory}' is too little for this data; raise it under [engine.options]")
    return None


def _no_space_error() -> MissingError:
    return MissingError(
        "no space left on the disk; free some, choose another --out, or another scratch under [engine.options]"
    )
