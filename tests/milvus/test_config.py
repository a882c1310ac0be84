"""What a release keeps of the settings of its server; without a server."""

import pytest

from multitudes.errors import UsageError
from multitudes_milvus.config import MilvusConfig, published_settings, settings_to_open


def test_a_release_names_neither_server_nor_token():
    """The environment of the process alone names the server, and ``MILVUS_TOKEN`` alone is sent to it."""
    published = published_settings(MilvusConfig(uri="http://elsewhere:1", token_variable="SECRET", timeout_s=7))
    assert not {"uri", "token_variable"} & published.keys()
    opened = settings_to_open(published, {"MILVUS_URI": "http://ours:2"})
    assert (opened.uri, opened.token_variable, opened.timeout_s) == ("http://ours:2", "MILVUS_TOKEN", 7)
    assert settings_to_open(published, {}).uri == MilvusConfig().uri
    with pytest.raises(UsageError, match="environment MILVUS_URI: "):
        settings_to_open(published, {"MILVUS_URI": "ours"})
