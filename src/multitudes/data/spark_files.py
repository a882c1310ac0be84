"""What executors read where it lies in a store: what Hadoop's file systems reach, as Arrow's reach it for the driver.

Arrow lists and digests, Hadoop reads, so both must mean the same objects: names and sizes are compared before anything
is read. An address with settings of its own (an endpoint, a key) is left to Arrow, since Hadoop does not take them.
"""

from typing import Any

from pyspark.sql import SparkSession

from multitudes.data.address import Address, Place
from multitudes.data.canonical import PARTS, parts
from multitudes.data.engine import first_line
from multitudes.data.spark_errors import JOB_ERRORS
from multitudes.errors import UnavailableError

_SCHEMES = {"s3": "s3a", "gcs": "gs"}  # of Arrow, and as Hadoop calls them


def hadoop_uri(file: Address) -> str:
    """Return an address as Hadoop writes it."""
    scheme, _, rest = str(file).partition(":")
    return f"{_SCHEMES.get(scheme, scheme)}:{rest}"


def is_read_in_place(session: SparkSession, file: Place) -> bool:
    """Return whether executors read a table themselves: Parquet, of a kind of store that their Hadoop knows.

    Raises:
        UnavailableError: Hadoop knows the kind, and does not see there what Arrow sees.
    """
    if not isinstance(file, Address) or not file.plain or not (file.is_dir() or file.suffix == ".parquet"):
        return False
    seen = _seen_by_hadoop(session, file)
    if seen is None:
        return False
    expected = {
        part.name: part.size for part in (parts(file) if file.is_dir() else [file]) if isinstance(part, Address)
    }
    if seen != expected:
        raise UnavailableError(
            f"{file}: Hadoop sees {len(seen)} files at {hadoop_uri(file)} that are not the {len(expected)} here; set"
            " its store under [spark] conf, such as spark.hadoop.fs.s3a.endpoint"
        )
    return True


def _seen_by_hadoop(session: SparkSession, file: Address) -> dict[str, int] | None:
    """Return the sizes of the files of a table by name; None where Hadoop does not know this kind of store."""
    gateway: Any = session.sparkContext
    jvm, conf = gateway._jvm.org.apache.hadoop.fs, gateway._jsc.hadoopConfiguration()
    uri = hadoop_uri(file)
    try:
        jvm.FileSystem.getFileSystemClass(uri.partition(":")[0], conf)
    except JOB_ERRORS:  # not installed, on the driver at least
        return None
    path = jvm.Path(uri)
    try:
        found = path.getFileSystem(conf).listStatus(path)
    except JOB_ERRORS as error:
        raise UnavailableError(
            f"{file}: Hadoop cannot list {uri} ({first_line(error)}); set its store and credentials under [spark] conf,"
            " such as spark.hadoop.fs.s3a.endpoint"
        ) from None
    ending = PARTS.removeprefix("*")
    return {one.getPath().getName(): one.getLen() for one in found if one.getPath().getName().endswith(ending)}
