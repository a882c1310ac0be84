"""The exceptions, the exit code of each kind, and predicates for exceptions of the system and of libraries.

::

    MultitudesError      1  (unexpected)
    ├── UsageError       2  wrong call or configuration
    ├── DataError        3  bad data
    ├── ArtefactError    4  damaged or incompatible artefact (prepared folder, run, release, index)
    ├── MissingError     5  something is missing: an extra, disk space, a port, the right to read or write a file
    ├── UnavailableError 6  a remote system does not answer, or rejects the credentials
    │   └── StateError   6  the state store does not answer
    └── StoppedError   130  a person interrupted a group of processes, and another process reports it

A message is one line: what was given, what was expected, what to do.
"""

import errno
import os
import re

INTERRUPTED_EXIT_CODE = 130  # after Ctrl-C, as shells have it: 128 + SIGINT

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NUMPY_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")  # NumPy's error for a full disk has no errno


class MultitudesError(Exception):
    """Base of every error that is raised on purpose; has the exit code of the command."""

    exit_code = 1


class UsageError(MultitudesError):
    """The call or the configuration is wrong."""

    exit_code = 2


class DataError(MultitudesError):
    """The given data cannot be used."""

    exit_code = 3


class ArtefactError(MultitudesError):
    """A folder written by multitudes is damaged, incomplete or of another version."""

    exit_code = 4


class MissingError(MultitudesError):
    """Something outside the data is missing: an extra, disk space, a port, the right to read or write a file."""

    exit_code = 5


class UnavailableError(MultitudesError):
    """A remote system does not answer in time, or rejects the credentials. The data and the call are right."""

    exit_code = 6


class StateError(UnavailableError):
    """The state store does not answer in time. The operation may be tried again."""


class StoppedError(MultitudesError):
    """A person interrupted a group of processes, and another process of the group reports it."""

    exit_code = INTERRUPTED_EXIT_CODE


class MachineWarning(UserWarning):
    """A run is not what it would be on another machine, as with other threads or more memory."""


_OF_A_PATH = (
    (MissingError, (errno.EACCES, errno.EPERM, errno.EROFS), "let this user read and write it, or choose another path"),
    (MissingError, (errno.EIO, errno.ENXIO, errno.ESTALE), "look after the disk, and try again"),
    (MissingError, (errno.EMFILE, errno.ENFILE), "let processes open more files (ulimit -n), and try again"),
    (UsageError, (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP), "choose another path"),
)


def explain(error: Exception) -> MultitudesError | None:
    """Return an error of this module for one that a user can fix: memory, disk, rights, paths; None: a defect."""
    if isinstance(error, MultitudesError):
        return error
    if isinstance(error, MemoryError):
        return MissingError(f"not enough memory ({error}); reduce what is requested, or use a larger machine")
    where = [getattr(error, "filename", None) or "output", *getattr(error, "__notes__", ())][-1]
    if is_disk_full(error):
        return MissingError(f"no space left on the disk ({where}); free some space there and try again")
    for kind, numbers, advice in _OF_A_PATH:
        if (number := getattr(error, "errno", None)) in numbers:
            return kind(f"{where}: {os.strerror(number or 0).lower()}; {advice}")
    return None


def one_line(error: BaseException) -> str:
    """Return the type and the message of another library's error, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def missing_extra(module: str, extra: str) -> MissingError:
    """Return the error for an optional package that is not installed, with the command that installs it."""
    return MissingError(f"this needs the package '{module}'; install it with: pip install 'multitudes[{extra}]'")


def missing_add_on(what: str, add_on: str) -> MissingError:
    """Return the error for something of an add-on that is not installed, with the commands that install it."""
    name = f"multitudes-{add_on}"
    return MissingError(
        f"{what} is in the add-on {name}, which is not installed; install it with: pip install {name}"
        f" (from a clone: pip install ./packages/{add_on})"
    )


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error means that no space is left; libraries raise their own, with the system's text."""
    if isinstance(error, OSError) and (error.errno in _DISK_FULL or _NUMPY_SHORT_WRITE.fullmatch(str(error))):
        return True
    return any(os.strerror(number).lower() in str(error).lower() for number in _DISK_FULL)
