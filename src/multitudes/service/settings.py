"""What the service reads: ``serve.toml``, over it the environment, over both the options of ``multitudes serve``.

``[http] body_bytes`` of the file is ``MULTITUDES_SERVE_HTTP_BODY_BYTES`` of the environment.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from multitudes.config import Config, deep_merge, load_toml, parse, suggestion
from multitudes.errors import UsageError
from multitudes.logs.logs import LogConfig
from multitudes.service.admission import AdmissionConfig
from multitudes.service.engine import EngineConfig
from multitudes.service.state_guard import GuardConfig
from multitudes.state.protocol import StateConfig

ENVIRONMENT_PREFIX: Final = "MULTITUDES_SERVE_"


class ServerConfig(Config):
    """Where the service listens, and with how many processes."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port; 0: any that is free.")
    workers: int = Field(1, ge=1, le=64, description="Processes; each holds its own engine and reads the same files.")
    drain_s: int = Field(30, ge=1, le=600, description="After SIGTERM, how long accepted requests may take to end.")
    proxies: str = Field(
        "127.0.0.1", description="Addresses of proxies whose X-Forwarded-For is believed, separated by commas."
    )


class ReleasesConfig(Config):
    """What is served of the folder of releases."""

    shadow: str | None = Field(
        None, description="A version that answers the same requests behind the one that serves: compared, never shown."
    )
    vector_cache: int = Field(
        10_000, ge=0, description="Users whose last vectors are kept, to answer them when there is little time."
    )


class HttpConfig(Config):
    """What a client may send, and how slowly."""

    body_bytes: int = Field(1_048_576, ge=1_024, le=1 << 30, description="Largest body; a larger one is not read.")
    body_s: float = Field(10, gt=0, le=600, description="Seconds in which a body must have arrived.")
    head_s: float = Field(10, gt=0, le=600, description="Seconds in which the head of a request must have arrived.")
    idle_s: int = Field(75, ge=1, le=3_600, description="Seconds that a connection may lie idle between requests.")


class DeadlineConfig(Config):
    """How long an answer may take; the header ``x-deadline-ms`` says otherwise for a request."""

    default_ms: int = Field(500, ge=1, le=600_000, description="Of a request that says nothing.")
    batch_ms: int = Field(5_000, ge=1, le=600_000, description="Of a batch that says nothing.")
    max_ms: int = Field(30_000, ge=1, le=600_000, description="The longest that a request may say.")


class KeysConfig(Config):
    """Who may ask."""

    file: Path | None = Field(None, description="File of keys, made by `multitudes key`. None: no key is asked for.")
    open: bool = Field(
        False, description="Serve without keys on an address that others can reach; for a private network alone."
    )


class DataConfig(Config):
    """What the service writes: the user states, and the logs of what was served and what came of it."""

    folder: Path | None = Field(None, description="None: beside the folder of releases, with `.service` at its name.")


class StoreConfig(StateConfig):
    """Where user states are kept, and how much of them."""

    store: str | None = Field(
        None, description="A file (SQLite), or redis://… for several machines. None: state.sqlite in the data folder."
    )


class JournalConfig(Config):
    """What is written to stderr, a line each."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="What is written at least; debug adds the traces of errors, in which ids may stand."
    )
    format: Literal["json", "text"] = Field("json", description="JSON for programs, text for people.")
    requests: float = Field(
        1, ge=0, le=1, description="Share of the requests that get a line; those that went wrong all do."
    )
    users: bool = Field(
        False, description="Ids of users stand in the lines of requests; who forgets a user must then look there too."
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
    guard: GuardConfig = GuardConfig()
    logs: LogConfig = LogConfig()
    engine: EngineConfig = EngineConfig()
    admission: AdmissionConfig = AdmissionConfig()
    journal: JournalConfig = JournalConfig()


def load_settings(file: Path | None, environment: Mapping[str, str], options: Mapping[str, Any]) -> ServeConfig:
    """Read the settings.

    Args:
        file: a TOML file, or None.
        environment: of the process; names that do not begin with the prefix are not looked at.
        options: tables by section, laid over all else.

    Raises:
        UsageError: a section or key is unknown, or a value is wrong.
    """
    tables = load_toml(file, "see docs/service.md for its settings") if file else {}
    where = "settings of the service"
    if file:
        parse(ServeConfig, tables, str(file))  # so that an error names the file
    from_environment = _environment_tables(environment)
    if from_environment:
        parse(ServeConfig, from_environment, f"environment {ENVIRONMENT_PREFIX}…")
    return parse(ServeConfig, deep_merge(tables, from_environment, options), where)


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
        section, key = known[name]
        tables.setdefault(section, {})[key] = value
    return tables
