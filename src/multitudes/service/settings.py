"""The settings of the service: ``serve.toml``, overridden by the environment, and both by options of the command line.

``[http] body_bytes`` of the file is ``MULTITUDES_SERVE_HTTP_BODY_BYTES`` of the environment.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from multitudes.config import Config, deep_merge, load_toml, parse, suggestion
from multitudes.errors import UsageError
from multitudes.logs.config import LogConfig
from multitudes.threads import available_cores

ENVIRONMENT_PREFIX: Final = "MULTITUDES_SERVE_"
LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_DEFAULT_WORKERS: Final = 2  # measured on two cores (records/service-speed.md)


class ServerConfig(Config):
    """Where the service listens, and with how many processes."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port; 0: any that is free.")
    workers: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Processes; each holds its own engine and reads the same files. None: 2, or 1 on a single core.",
    )
    drain_s: int = Field(30, ge=1, le=600, description="After SIGTERM, seconds that accepted requests may take to end.")
    proxies: str = Field(
        "127.0.0.1", description="Addresses of proxies whose X-Forwarded-For is trusted, separated by commas."
    )

    @property
    def processes(self) -> int:
        """The number of processes: with two on two cores, the slowest answers come sooner."""
        return self.workers or min(_DEFAULT_WORKERS, available_cores())


class ReleasesConfig(Config):
    """Which releases are served."""

    trust: Path | None = Field(
        None,
        description="Public key, or a folder of such (*.pub): only releases that one of them signed are served.",
    )
    trial_s: float = Field(
        120,
        gt=0,
        le=86_400,
        description="CPU seconds that a new release may take to answer in a process of its own, by the clock ten times"
        " as many; more for a huge release.",
    )
    trial_gb: float | None = Field(
        None,
        gt=0,
        description="Most memory of that process, in GB; less where others need it. None: 80 % of what is available.",
    )


class HttpConfig(Config):
    """Limits on what a client sends, and how slowly it sends and reads."""

    body_bytes: int = Field(
        1_048_576,
        ge=1_024,
        le=1 << 30,
        description="Largest body; a larger one is rejected unread. More for batches with long histories.",
    )
    client_s: float = Field(
        10,
        gt=0,
        le=600,
        description="Seconds in which a client must send a head, a body, and read something of its answers; more for"
        " slow networks.",
    )
    idle_s: int = Field(
        75,
        ge=1,
        le=3_600,
        description="Seconds that a connection may be idle between requests; more than the proxy keeps it.",
    )


class DeadlineConfig(Config):
    """How long an answer may take, unless the header ``x-deadline-ms`` of a request says otherwise."""

    default_ms: int = Field(500, ge=1, le=600_000, description="Of a request without the header.")
    batch_ms: int = Field(5_000, ge=1, le=600_000, description="Of a batch without the header.")
    max_ms: int = Field(
        1_000, ge=1, le=600_000, description="The most that a header may ask for, unless the default is longer."
    )


class KeysConfig(Config):
    """Who may call the service."""

    file: Path | None = Field(
        None,
        description="File of keys, made by `multitudes keys`, or a folder of such files. None: no key is required.",
    )
    open: bool = Field(
        False, description="Serve without keys on an address that others can reach; for private networks only."
    )


class DataConfig(Config):
    """Where the service writes its user states and its logs of answers and events."""

    folder: Path | None = Field(
        None, description="None: beside the folder of releases, with `.service` added to its name."
    )


class StoreConfig(Config):
    """Where user states are stored, how much of them, and how long a request waits for them."""

    store: str | None = Field(
        None, description="A file (SQLite), or redis://… for several machines. None: state.sqlite in the data folder."
    )
    keep: int = Field(
        200,
        ge=1,
        le=1_000_000,
        description="Newest events kept of each user; at least as many as the history of a release.",
    )
    read_s: float = Field(
        0.05,
        gt=0,
        le=600,
        description="Deadline of a read; after it, a request is answered without the user state. More for a far store.",
    )
    write_s: float = Field(
        1.0,
        gt=0,
        le=600,
        description="Deadline of a write, whose sender may repeat it. More for a slow disk or a far store.",
    )


class JournalConfig(Config):
    """The lines that the service writes to stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="Least severe lines that are written; debug adds users, tracebacks and the texts of all errors, so"
        " that erased users stay in the journal.",
    )
    format: Literal["json", "text"] = Field("json", description="JSON for programs, text for people.")
    requests: float = Field(
        1,
        ge=0,
        le=1,
        description="Share of the requests that get a line; failed ones always do. Less at high load.",
    )


class ExplorerConfig(Config):
    """The explorer, a page at ``/`` that shows users' interests to a person."""

    enabled: bool = Field(
        True, description="Serve the explorer; what it shows needs a key of scope read, as every other address."
    )
    compare: bool = Field(
        True,
        description="Other versions of the folder can be shown beside the one that serves; two at most are open, and"
        " take their memory until nobody asked for one for ten minutes.",
    )
    images: Path | None = Field(
        None,
        description="Items table (Parquet) whose column `image_url` has images of items; browsers load them from the"
        " hosts of these URLs. Null: no images.",
    )


class ServeConfig(Config):
    """All settings of the service, by section."""

    server: ServerConfig = ServerConfig()
    releases: ReleasesConfig = ReleasesConfig()
    http: HttpConfig = HttpConfig()
    deadlines: DeadlineConfig = DeadlineConfig()
    keys: KeysConfig = KeysConfig()
    data: DataConfig = DataConfig()
    state: StoreConfig = StoreConfig()
    logs: LogConfig = LogConfig()
    journal: JournalConfig = JournalConfig()
    explorer: ExplorerConfig = ExplorerConfig()


def load_settings(file: Path | None, environment: Mapping[str, str], options: Mapping[str, Any]) -> ServeConfig:
    """Read the settings of a TOML file, overridden by the environment, and both by ``options``, tables by section.

    Raises:
        UsageError: a section or key is unknown, or a value is wrong.
    """
    # Each source is checked alone, so that an error names it.
    from_file = load_toml(file, "see docs/service-settings.md") if file else {}
    parse(ServeConfig, from_file, str(file))
    from_environment = _environment_tables(environment)
    parse(ServeConfig, from_environment, f"environment {ENVIRONMENT_PREFIX}…")
    return parse(ServeConfig, deep_merge(from_file, from_environment, options), "settings of the service")


def environment_names() -> dict[str, tuple[str, str]]:
    """Return section and key of every setting by its name in the environment."""
    return {
        f"{ENVIRONMENT_PREFIX}{section}_{key}".upper(): (section, key)
        for section, field in ServeConfig.model_fields.items()
        for key in type(field.default).model_fields
    }


def _environment_tables(environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
    known, tables = environment_names(), dict[str, dict[str, str]]()
    for name, value in environment.items():
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        if name not in known:
            raise UsageError(f"environment: unknown setting {name}{suggestion(name, list(known))}")
        if not value.isprintable():
            raise UsageError(
                f"environment: {name} = {value[:80]!r} has characters that cannot be printed; leave them out"
            )
        section, key = known[name]
        tables.setdefault(section, {})[key] = value
    return tables
