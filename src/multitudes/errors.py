"""What can go wrong, and the exit code of each kind.

::

    MultitudesError      1  (unexpected)
    ├── UsageError       2  wrong call or configuration
    ├── DataError        3  bad data
    ├── ArtefactError    4  damaged or incompatible artefact (prepared folder, run, release, index)
    ├── MissingError     5  something missing: an extra, disk space, a port, the right to read or write a file
    ├── UnavailableError 6  a remote engine that does not answer, or refuses who asks
    │   └── StateError   6  the store of user states does not answer
    └── StoppedError   130  a person has interrupted, and another process says so

A message is one line: what was given, what was expected, what to do.
"""

INTERRUPTED_EXIT_CODE = 130  # exit code after Ctrl-C, as shells have it: 128 + SIGINT


class MultitudesError(Exception):
    """Base of every error that is raised on purpose; carries the exit code of the command."""

    exit_code = 1


class UsageError(MultitudesError):
    """The call or the configuration is wrong."""

    exit_code = 2


class DataError(MultitudesError):
    """The data that was given cannot be used."""

    exit_code = 3


class ArtefactError(MultitudesError):
    """A folder that multitudes once wrote is damaged, incomplete or of another version."""

    exit_code = 4


class MissingError(MultitudesError):
    """Something outside the data is missing: an extra, disk space, a port, the right to read or write a file."""

    exit_code = 5


class UnavailableError(MultitudesError):
    """A remote engine does not answer in time, or refuses who asks. Nothing is wrong with the data or the call."""

    exit_code = 6


class StateError(UnavailableError):
    """The store of user states does not answer in time. What was asked of it may be tried again."""


class StoppedError(MultitudesError):
    """A person has interrupted several processes, of which another one says so."""

    exit_code = INTERRUPTED_EXIT_CODE


def missing_extra(module: str, extra: str) -> MissingError:
    """Return the error for an optional package that is not installed, with the command that installs it."""
    return MissingError(f"this needs the package '{module}'; install it with: pip install 'multitudes[{extra}]'")
