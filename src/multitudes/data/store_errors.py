"""What the file systems of Arrow say of a store that cannot be read, as a person can act on it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from multitudes.errors import DataError, MissingError, MultitudesError, UnavailableError, UsageError

_DEAF = re.compile(
    r"NETWORK_CONNECTION|TIMEOUT|timed out|UNAVAILABLE|curl|resolve host|Connection refused", re.IGNORECASE
)
_REFUSED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|CREDENTIAL|EXPIRED_TOKEN|UNAUTHENTICATED"
    r"|PERMISSION_DENIED|status 40[13]",
    re.IGNORECASE,
)
_SHORTER = re.compile(r"INVALID_RANGE|InvalidRange|status 416|requested range|out of bounds", re.IGNORECASE)
_NO_BUCKET = re.compile(r"NO_SUCH_BUCKET|bucket does not exist|ContainerNotFound", re.IGNORECASE)


@contextmanager
def asking(name: str) -> Iterator[None]:
    """Turn what Arrow says of a store into one line about the address ``name``."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{name}: is gone; was it there a moment ago? Run the command again") from None
    except OSError as error:
        raise _explained(name, str(error)) from None


def _explained(name: str, said: str) -> MultitudesError:
    reason = re.sub(r"^.*operation: ", "", said.strip().splitlines()[0])
    reason = re.sub(r" *\(Request ID.*", "", reason).rstrip(" .")[:200]
    if "libhdfs" in said or "libjvm" in said:
        return MissingError(
            f"{name}: hdfs:// is read by Hadoop's own library ({reason}); install Hadoop and let JAVA_HOME, HADOOP_HOME"
            " and CLASSPATH (hadoop classpath --glob) name it"
        )
    told = re.sub(r"'[^']*'", "", said)  # without names, which may be any words
    if _SHORTER.search(told):
        return DataError(
            f"{name}: was changed or cut while it was fetched; run the command again when nobody writes there"
        )
    if _NO_BUCKET.search(told):
        return UsageError(f"{name}: no such bucket")
    if _REFUSED.search(told):
        return UnavailableError(
            f"{name}: the store refuses who asks ({reason}); give credentials that may list and read it, such as"
            " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
        )
    if _DEAF.search(told):
        return UnavailableError(
            f"{name}: the store does not answer ({reason}); check the network and its address (of S3"
            " ?endpoint_override=HOST:PORT&scheme=http, or AWS_ENDPOINT_URL), and run the command again"
        )
    return UnavailableError(f"{name}: the store cannot be read: {reason or said[:200]}")
