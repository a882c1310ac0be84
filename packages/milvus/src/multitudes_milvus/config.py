"""The settings of a Milvus server and its collections.

A release names neither its server nor the token: whoever wrote it could have any variable of the environment sent to
any address. Where a release is opened, both come from the environment of the process: ``MILVUS_URI`` and
``MILVUS_TOKEN``.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from multitudes.config import Config, parse

URI_VARIABLE = "MILVUS_URI"
_OPERATOR_SETTINGS = frozenset({"uri", "token_variable"})


class MilvusConfig(Config):
    """``[index.options]`` with ``kind = "milvus"``: a server, and how collections are made and kept there."""

    uri: str = Field(
        "http://localhost:19530",
        pattern=r"^https?://[^/@\s]+$",
        description="The server's address for publishing, http or https. Never with a password: see token_variable."
        " Where a release is opened, MILVUS_URI has the address.",
    )
    token_variable: str = Field(
        "MILVUS_TOKEN",
        description="Environment variable that holds 'user:password' or a key for publishing; where it is not set, none"
        " is sent. Where a release is opened, MILVUS_TOKEN has it.",
    )
    alias: str = Field(
        "multitudes",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$",
        description="Name under which other programs find the current collection, and with which all names begin."
        " Each folder of releases needs one of its own.",
    )
    timeout_s: float = Field(2.0, gt=0, description="Longest a search or a change may take, with its retry.")
    publish_timeout_s: float = Field(3600.0, gt=0, description="Longest that building a collection may take.")
    links: int = Field(16, ge=2, le=64, description="HNSW: links of each vector (M); more memory, better recall.")
    construction: int = Field(200, ge=8, description="HNSW: candidates while building (efConstruction).")
    shards: int = Field(1, ge=1, le=16, description="Channels that share the writing; one for each 100 M items or so.")
    replicas: int = Field(1, ge=1, description="Copies in memory, on different query nodes.")
    depth: int = Field(
        1_000, ge=10, le=16_000, description="Results per vector, excluded ones included, up to which it is tuned."
    )
    kept: int = Field(2, ge=0, description="Older collections that stay, so that their releases can serve again.")
    grace_s: float = Field(60.0, ge=0, description="A collection younger than this is never dropped.")


def published_settings(config: MilvusConfig) -> dict[str, Any]:
    """Return the settings that a release keeps: all but the server and the token."""
    return config.model_dump(exclude=set(_OPERATOR_SETTINGS))


def settings_to_open(published: Mapping[str, Any], environment: Mapping[str, str]) -> MilvusConfig:
    """Return ``published_settings`` with the server's address from the ``environment``, or the default of ``uri``."""
    server = {"uri": environment[URI_VARIABLE]} if URI_VARIABLE in environment else {}
    return parse(MilvusConfig, {**published, **server}, f"environment {URI_VARIABLE}")
