"""What Spark says when something goes wrong, as a person can act on it."""

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
_OTHER_VERSION = "InvalidClassException"  # what one Spark says of what another one sent
_CAUSE = re.compile(r"^(?:: |Caused by: |Exception in thread \"\w+\" )(?:\w+\.)*([\w$]+: .+)$", re.MULTILINE)


def start_error(error: Exception, log: str, master: str) -> MultitudesError:
    """Return what it means that Spark did not start: of traces in its log, or in the error, the innermost cause."""
    if is_disk_full(error):
        return _no_space_error()
    found = _CAUSE.findall(log) or _CAUSE.findall(str(error)) or [first_line(error)]
    return UnavailableError(f"master = '{master}': Spark does not start: {found[-1].rstrip(' .')}")


def is_connection_lost(error: BaseException) -> bool:
    """Tell whether an error means that the cluster, or the driver's own JVM, is gone."""
    return any(words in str(error) for words in _LOST)


def explain_error(error: Exception, master: str, memory: str) -> MultitudesError | None:
    """Return what an error means to a person; None where it is a defect of ours."""
    if is_disk_full(error):
        return _no_space_error()
    if is_connection_lost(error):
        return UnavailableError(f"master = '{master}': the cluster does not answer any more: {first_line(error)}")
    if _OTHER_VERSION in str(error):
        return UnavailableError(
            f"master = '{master}': its Spark is of another version than this pyspark, {version}; install the same"
        )
    if "OutOfMemoryError" in str(error):
        return MissingError(f"memory = '{memory}' is too little for this data; raise it under [spark]")
    return None


def _no_space_error() -> MissingError:
    return MissingError("no space left on the disk; free some, choose another --out, or another scratch under [spark]")
