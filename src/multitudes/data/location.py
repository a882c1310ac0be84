"""What the file systems of Arrow say of a store that cannot be read, as a person can act on it.

Where tables lie: a path of this machine, or an address that one of Arrow's file systems reaches.

``s3://BUCKET/KEY?region=…``, ``gs://``, ``abfs://`` and ``hdfs://HOST:PORT/PATH`` are written as Arrow writes them; who
asks is known from the environment, as every tool of that store has it. ``file:///PATH`` is the path.

An address answers the few questions that are asked of a path (``is_dir``, ``glob``, ``name`` …), so that tables are
found alike. What its store says is seen once and kept: one listing of a folder for all that is asked of it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from multitudes.errors import DataError, MissingError, MultitudesError, UnavailableError, UsageError

_UNREACHABLE = re.compile(
    r"NETWORK_CONNECTION|TIMEOUT|timed out|UNAVAILABLE|curl|resolve host|Connection refused", re.IGNORECASE
)
_DENIED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|CREDENTIAL|EXPIRED_TOKEN|UNAUTHENTICATED"
    r"|PERMISSION_DENIED|status 40[13]",
    re.IGNORECASE,
)
_SIZE_CHANGED = re.compile(r"INVALID_RANGE|InvalidRange|status 416|requested range|out of bounds", re.IGNORECASE)
_NO_BUCKET = re.compile(r"NO_SUCH_BUCKET|bucket does not exist|ContainerNotFound", re.IGNORECASE)


@contextmanager
def translate_store_errors(name: str) -> Iterator[None]:
    """Turn what Arrow says of a store into one line about the address ``name``."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{name}: is gone; was it there a moment ago? Run the command again") from None
    except OSError as error:
        raise _explain(name, str(error)) from None


def _explain(name: str, said: str) -> MultitudesError:
    reason = re.sub(r"^.*operation: ", "", said.strip().splitlines()[0])
    reason = re.sub(r" *\(Request ID.*", "", reason).rstrip(" .")[:200]
    if "libhdfs" in said or "libjvm" in said:
        return MissingError(
            f"{name}: hdfs:// is read by Hadoop's own library ({reason}); install Hadoop and let JAVA_HOME, HADOOP_HOME"
            " and CLASSPATH (hadoop classpath --glob) name it"
        )
    told = re.sub(r"'[^']*'", "", said)  # without names, which may be any words
    if _SIZE_CHANGED.search(told):
        return DataError(
            f"{name}: was changed or cut while it was fetched; run the command again when nobody writes there"
        )
    if _NO_BUCKET.search(told):
        return UsageError(f"{name}: no such bucket")
    if _DENIED.search(told):
        return UnavailableError(
            f"{name}: the store refuses who asks ({reason}); give credentials that may list and read it, such as"
            " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
        )
    if _UNREACHABLE.search(told):
        return UnavailableError(
            f"{name}: the store does not answer ({reason}); check the network and its address (of S3"
            " ?endpoint_override=HOST:PORT&scheme=http, or AWS_ENDPOINT_URL), and run the command again"
        )
    return UnavailableError(f"{name}: the store cannot be read: {reason or said[:200]}")


_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)")  # pathlib has made one slash of two
_KNOWN_SCHEMES = "s3://, gs://, abfs://, hdfs:// and file:///"
# A store that takes a connection and says nothing is given up after half a minute; Arrow's own takes 100 s.
_S3_TIMEOUTS = {"connect_timeout": 5.0, "request_timeout": 10.0}
_S3_ATTEMPTS = 3
_GCS_TIMEOUT_OPTION = "retry_limit_seconds"  # of the address; Google's own is a quarter of an hour
_GCS_TIMEOUT_S = 15


class RemotePath:
    """A file or a folder of a store."""

    def __init__(  # pyarrow has no types
        self,
        shown: str,
        store: Any,  # noqa: ANN401
        path: str,
        info: Any = None,  # noqa: ANN401
        *,
        plain: bool = True,
    ) -> None:
        """Name it; nothing is asked yet.

        Args:
            shown: the address without its settings and without what is secret.
            store: an Arrow file system.
            path: the address within it.
            info: what the store has said of it, where that is known.
            plain: ``display_location`` says all of the address: no setting and no key was given with it.
        """
        self._display, self.store, self.path, self.without_options = shown, store, path, plain
        if info is not None:
            self._info = info

    def __str__(self) -> str:
        """Return it as a person may read it."""
        return self._display

    def __truediv__(self, name: str) -> "RemotePath":
        """Return what has ``name`` in this folder."""
        path = f"{self.path.rstrip('/')}/{name}"
        info = self._children.get(name) or _not_found(path)
        return RemotePath(f"{self._display}/{name}", self.store, path, info, plain=self.without_options)

    @property
    def name(self) -> str:
        """Return the last part."""
        return PurePosixPath(self.path).name

    @property
    def suffix(self) -> str:
        """Return the ending of the name."""
        return PurePosixPath(self.path).suffix

    @property
    def size(self) -> int:
        """Return the bytes of the file."""
        return int(self._info.size or 0)

    def is_dir(self) -> bool:
        """Return whether it is a folder."""
        return bool(self._info.type.name == "Directory")

    def is_file(self) -> bool:
        """Return whether it is a file."""
        return bool(self._info.is_file)

    def glob(self, pattern: str) -> Iterator["RemotePath"]:
        """Yield the files of this folder whose names fit."""
        for name, info in self._children.items():
            if info.is_file and fnmatch(name, pattern):
                yield self / name

    def open(self) -> Any:  # noqa: ANN401
        """Return the file, to be read from anywhere.

        Raises:
            FileNotFoundError: there is none.
        """
        if not self.is_file():
            raise FileNotFoundError(str(self))
        with translate_store_errors(str(self)):
            return self.store.open_input_file(self.path)

    def describe_missing(self) -> str:
        """Return what is missing where this is nothing: the folder, or all of the bucket."""
        bucket = PurePosixPath(self.path).parts[:1]
        with translate_store_errors(str(self)):
            found = bool(bucket) and self.store.get_file_info(bucket[0]).type.name != "NotFound"
        return "no such folder" if found else "no such bucket"

    @cached_property
    def _info(self) -> Any:  # noqa: ANN401
        with translate_store_errors(str(self)):
            return self.store.get_file_info(self.path)

    @cached_property
    def _children(self) -> dict[str, Any]:
        """Return what is in this folder, by name; nothing where it is none."""
        from pyarrow import fs  # noqa: PLC0415 (who names paths alone does not wait for it)

        with translate_store_errors(str(self)):
            return {info.base_name: info for info in self.store.get_file_info(fs.FileSelector(self.path, True))}


Location = Path | RemotePath


def parse_location(path: str | Path) -> Location:
    """Return ``path`` as it is, or as an address where it is one.

    Raises:
        UsageError: it is an address that is written wrongly, or of a kind that Arrow does not know.
        MissingError: a library of its store is not installed.
        UnavailableError: its store does not answer.
    """
    text = _as_url(path)
    if text is None:
        return Path(path)
    if text.startswith("file:"):
        return Path(unquote(urlsplit(text).path))
    return _remote_path(text)


def display_location(path: str | Path) -> str:
    """Return ``path`` as a person may read it: an address with both slashes and without what is secret."""
    text = _as_url(path)
    return str(path) if text is None else _strip_secrets(text)


def is_url(path: str | Path) -> bool:
    """Return whether ``path`` is an address; nobody is asked."""
    return _as_url(path) is not None


def reject_url(path: str | Path) -> None:
    """Refuse an address where something is written: as a path it would be a folder here that is called ``s3:``.

    Raises:
        UsageError: it is one.
    """
    if is_url(path):
        raise UsageError(
            f"{display_location(path)}: expected a local path, got a URL: files written here are mapped into memory or"
            " renamed. Write to this machine, and copy the result there"
        )


def file_size(file: Location) -> int:
    """Return the bytes of a file."""
    return file.size if isinstance(file, RemotePath) else file.stat().st_size


def open_for_arrow(file: Location) -> Any:  # noqa: ANN401
    """Return what Arrow reads of a file: a path, which it opens itself, or the object, opened."""
    return file.open() if isinstance(file, RemotePath) else file


def _as_url(path: str | Path) -> str | None:
    """Return an address as it was given, or None."""
    found = _URL.fullmatch(str(path))
    if found is None:
        return None
    scheme, rest = found[1].lower(), found[2]
    return f"file:///{rest}" if scheme == "file" else f"{scheme}://{rest}"


def _strip_secrets(text: str) -> str:
    """Return an address without its settings, and without a key or a password before the ``@``."""
    parts = urlsplit(text)
    user, at, host = parts.netloc.rpartition("@")
    named = "" if parts.scheme in {"s3", "gs", "gcs"} else user.partition(":")[0]  # abfs names its container there
    host = f"{named}{at}{host}" if named else host
    return f"{parts.scheme}://{host}{unquote(parts.path).rstrip('/')}"


def _remote_path(text: str) -> RemotePath:
    from pyarrow import ArrowInvalid, fs  # noqa: PLC0415 (as above)

    name, plain = _strip_secrets(text), text.rstrip("/") == _strip_secrets(text)
    _check_url(text, name)
    if text.startswith(("gs:", "gcs:")) and _GCS_TIMEOUT_OPTION not in text:
        text += f"{'&' if '?' in text else '?'}{_GCS_TIMEOUT_OPTION}={_GCS_TIMEOUT_S}"
    try:
        with translate_store_errors(name):
            store, path = fs.FileSystem.from_uri(text)
    except ArrowInvalid as error:
        said = str(error).replace(text, name).splitlines()[0]
        raise UsageError(f"{name}: no address that can be read ({said}); expected one of {_KNOWN_SCHEMES}") from None
    return RemotePath(name, _with_timeouts(store), path.rstrip("/"), plain=plain)


def _check_url(text: str, name: str) -> None:
    """Refuse what Arrow would say in other words, or not at all: it leaves out what follows ``#`` and reads the rest.

    Raises:
        UsageError: the address names nothing, or has a sign that is to be written as in any URL.
    """
    parts = urlsplit(text)
    if not parts.netloc.rpartition("@")[2] and parts.scheme != "hdfs":  # whose host may be that of its configuration
        raise UsageError(f"{parts.scheme}://: names no bucket; expected {parts.scheme}://BUCKET/FOLDER")
    signs = [(sign, code) for sign, code in ((" ", "%20"), ("#", "%23")) if sign in text]
    if signs:
        sign, code = signs[0]
        raise UsageError(f"{name}: no address that can be read: '{sign}' in a name is written {code}, as in any URL")


def _with_timeouts(store: Any) -> Any:  # noqa: ANN401
    """Return ``store`` with bounds on how long it is waited for, which an address of S3 cannot say."""
    from pyarrow import fs  # noqa: PLC0415 (as above)

    if store.type_name != "s3":
        return store
    _, (settings,) = store.__reduce__()  # what it was made with, as for a copy in another process
    return fs.S3FileSystem(
        **(settings | _S3_TIMEOUTS), retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_S3_ATTEMPTS)
    )


def _not_found(path: str) -> Any:  # noqa: ANN401
    from pyarrow import fs  # noqa: PLC0415 (as above)

    return fs.FileInfo(path, fs.FileType.NotFound)
