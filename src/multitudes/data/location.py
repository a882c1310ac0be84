"""Where tables are: a local path, or a URL that one of Arrow's file systems reads.

URLs are written as Arrow writes them: ``s3://BUCKET/KEY?region=…``, ``gs://``, ``abfs://`` and ``hdfs://HOST:PORT/PATH``.
Credentials come from the environment, as for every tool of that store. ``file:///PATH`` is the local path.

A ``RemotePath`` has the few methods of a path that reading tables needs (``is_dir``, ``glob``, ``name`` …), so both are
read by the same code. It asks the store once and caches the answer: one listing for all questions about a folder.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from multitudes.errors import DataError, MissingError, MultitudesError, UnavailableError, UsageError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)")  # pathlib replaces the two slashes by one
_KNOWN_SCHEMES = "s3://, gs://, abfs://, hdfs:// and file:///"
# Wait half a minute for a store that accepts connections and does not answer; Arrow's default is 100 s.
_S3_TIMEOUTS = {"connect_timeout": 5.0, "request_timeout": 10.0}
_S3_ATTEMPTS = 3
_GCS_TIMEOUT_OPTION = "retry_limit_seconds"  # of the URL; Google's default is a quarter of an hour
_GCS_TIMEOUT_S = 15

# Arrow raises OSError for every problem; these patterns classify its messages.
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


@dataclass(eq=False)
class RemotePath:
    """A file or a folder in an object store or a remote file system; the store is asked when that is necessary."""

    display: str  # the URL for people, without its options and secrets
    store: Any  # Arrow's file system, which has no types
    path: str
    known: Any = None  # Arrow's ``FileInfo``; None: the store has not been asked yet
    without_options: bool = True  # the URL has no options, so ``display`` is the complete one

    def __str__(self) -> str:
        """Return the URL for people."""
        return self.display

    def __truediv__(self, name: str) -> "RemotePath":
        """Return the child called ``name``, which need not exist."""
        from pyarrow import fs  # noqa: PLC0415 (local paths do not need it)

        path = f"{self.path.rstrip('/')}/{name}"
        info = self._children.get(name) or fs.FileInfo(path, fs.FileType.NotFound)
        return RemotePath(f"{self.display}/{name}", self.store, path, info, self.without_options)

    @property
    def name(self) -> str:
        """The last component of the path."""
        return PurePosixPath(self.path).name

    @property
    def suffix(self) -> str:
        """The suffix of the name, such as ".parquet"."""
        return PurePosixPath(self.path).suffix

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return int(self._info.size or 0)

    def is_dir(self) -> bool:
        """Return whether it is a folder."""
        return bool(self._info.type.name == "Directory")

    def is_file(self) -> bool:
        """Return whether it is a file."""
        return bool(self._info.is_file)

    def glob(self, pattern: str) -> Iterator["RemotePath"]:
        """Yield the files in this folder whose names match ``pattern``."""
        for name, info in self._children.items():
            if info.is_file and fnmatch(name, pattern):
                yield self / name

    def open(self) -> Any:  # noqa: ANN401
        """Open the file for random access.

        Raises:
            FileNotFoundError: there is no such file.
        """
        if not self.is_file():
            raise FileNotFoundError(str(self))
        with translate_store_errors(str(self)):
            return self.store.open_input_file(self.path)

    def describe_missing(self) -> str:
        """Return the problem if this path does not exist: no such folder, or no such bucket."""
        bucket = PurePosixPath(self.path).parts[:1]
        with translate_store_errors(str(self)):
            has_bucket = bool(bucket) and self.store.get_file_info(bucket[0]).type.name != "NotFound"
        return "no such folder" if has_bucket else "no such bucket"

    @cached_property
    def _info(self) -> Any:  # noqa: ANN401
        with translate_store_errors(str(self)):
            return self.known or self.store.get_file_info(self.path)

    @cached_property
    def _children(self) -> dict[str, Any]:
        """Arrow's ``FileInfo`` of each file and folder in this folder, by name; empty if it is no folder."""
        from pyarrow import fs  # noqa: PLC0415 (local paths do not need it)

        with translate_store_errors(str(self)):
            return {info.base_name: info for info in self.store.get_file_info(fs.FileSelector(self.path, True))}


Location = Path | RemotePath


def parse_location(path: str | Path) -> Location:
    """Return a local path as it is, and a URL as a ``RemotePath``.

    Raises:
        UsageError: the URL is malformed, or its scheme is unknown to Arrow.
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
    """Return a path or URL for people: a URL with both slashes and without secrets."""
    text = _as_url(path)
    return str(path) if text is None else _strip_secrets(text)


def is_url(path: str | Path) -> bool:
    """Return whether ``path`` is a URL; no store is asked."""
    return _as_url(path) is not None


def reject_url(path: str | Path) -> None:
    """Check that an output is a local path; as a path, a URL would be a local folder called ``s3:``.

    Raises:
        UsageError: it is a URL.
    """
    if is_url(path):
        raise UsageError(
            f"{display_location(path)}: expected a local path, got a URL: files written here are mapped into memory or"
            " renamed. Write to this machine, and copy the result there"
        )


def open_for_arrow(file: Location) -> Any:  # noqa: ANN401
    """Return a file in the form that Arrow reads: a local path, which Arrow opens itself, or an open remote file."""
    return file.open() if isinstance(file, RemotePath) else file


@contextmanager
def translate_store_errors(name: str) -> Iterator[None]:
    """Turn Arrow's errors about a store into an error of one line about the URL ``name``.

    Raises:
        DataError: the file was deleted or changed while it was read.
        MissingError: a library of the store is not installed.
        UnavailableError: the store does not answer, or rejects the credentials.
        UsageError: there is no such bucket.
    """
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{name}: was deleted while it was read; run the command again") from None
    except OSError as error:
        raise _explain(name, str(error)) from None


def _explain(name: str, message: str) -> MultitudesError:
    reason = re.sub(r"^.*operation: ", "", message.strip().splitlines()[0])
    reason = re.sub(r" *\(Request ID.*", "", reason).rstrip(" .")[:200]
    if "libhdfs" in message or "libjvm" in message:
        return MissingError(
            f"{name}: hdfs:// is read by Hadoop's own library ({reason}); install Hadoop and set JAVA_HOME, HADOOP_HOME"
            " and CLASSPATH (hadoop classpath --glob)"
        )
    without_names = re.sub(r"'[^']*'", "", message)  # a quoted name may contain words that the patterns look for
    if _SIZE_CHANGED.search(without_names):
        return DataError(
            f"{name}: was changed or cut while it was fetched; run the command again when nobody writes there"
        )
    if _NO_BUCKET.search(without_names):
        return UsageError(f"{name}: no such bucket")
    if _DENIED.search(without_names):
        return UnavailableError(
            f"{name}: the store rejects the credentials ({reason}); give credentials that may list and read it, such as"
            " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
        )
    if _UNREACHABLE.search(without_names):
        return UnavailableError(
            f"{name}: the store does not answer ({reason}); check the network and its address (of S3"
            " ?endpoint_override=HOST:PORT&scheme=http, or AWS_ENDPOINT_URL), and run the command again"
        )
    return UnavailableError(f"{name}: the store cannot be read: {reason or message[:200]}")


def _as_url(path: str | Path) -> str | None:
    """Return a URL as it was given, before pathlib changed its slashes; None if it is a local path."""
    match = _URL.fullmatch(str(path))
    if match is None:
        return None
    scheme, rest = match[1].lower(), match[2]
    return f"file:///{rest}" if scheme == "file" else f"{scheme}://{rest}"


def _strip_secrets(text: str) -> str:
    """Return a URL without its options, and without a key or a password before the ``@``."""
    parts = urlsplit(text)
    user, at, host = parts.netloc.rpartition("@")
    container = "" if parts.scheme in {"s3", "gs", "gcs"} else user.partition(":")[0]  # abfs://CONTAINER@ACCOUNT
    host = f"{container}{at}{host}" if container else host
    return f"{parts.scheme}://{host}{unquote(parts.path).rstrip('/')}"


def _remote_path(text: str) -> RemotePath:
    from pyarrow import ArrowInvalid, fs  # noqa: PLC0415 (local paths do not need it)

    display = _strip_secrets(text)
    without_options = text.rstrip("/") == display
    # Arrow reports these mistakes unclearly, or not at all: it ignores everything after ``#``.
    parts = urlsplit(text)
    if not parts.netloc.rpartition("@")[2] and parts.scheme != "hdfs":  # its host may come from the configuration
        raise UsageError(f"{parts.scheme}://: has no bucket; expected {parts.scheme}://BUCKET/FOLDER")
    for character, code in ((" ", "%20"), ("#", "%23")):
        if character in text:
            raise UsageError(
                f"{display}: a URL that cannot be read: '{character}' in a name is written {code}, as in any URL"
            )
    if text.startswith(("gs:", "gcs:")) and _GCS_TIMEOUT_OPTION not in text:
        text += f"{'&' if '?' in text else '?'}{_GCS_TIMEOUT_OPTION}={_GCS_TIMEOUT_S}"
    try:
        with translate_store_errors(display):
            store, path = fs.FileSystem.from_uri(text)
    except ArrowInvalid as error:
        reason = str(error).replace(text, display).splitlines()[0]
        raise UsageError(f"{display}: a URL that cannot be read ({reason}); expected one of {_KNOWN_SCHEMES}") from None
    if store.type_name == "s3":  # its URL cannot set timeouts; the options are those of a copy in another process
        _, (options,) = store.__reduce__()
        retries = fs.AwsStandardS3RetryStrategy(max_attempts=_S3_ATTEMPTS)
        store = fs.S3FileSystem(**(options | _S3_TIMEOUTS), retry_strategy=retries)
    return RemotePath(display, store, path.rstrip("/"), without_options=without_options)
