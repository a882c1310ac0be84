"""Settings: the file, the environment over it, the options over both, and a wrong one named with where it stands."""

from pathlib import Path

import pytest

from multitudes.errors import UsageError
from multitudes.service.settings import ServeConfig, environment_names, load_settings

TOML = "[server]\nport = 9000\nworkers = 2\n[http]\nbody_bytes = 2048\n[logs]\nkeep_days = 7\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "serve.toml"
    path.write_text(TOML)
    return path


def test_each_lies_over_the_one_before(file):
    environment = {"MULTITUDES_SERVE_SERVER_PORT": "9001", "MULTITUDES_SERVE_KEYS_OPEN": "true", "HOME": "/root"}
    assert load_settings(None, {}, {}) == ServeConfig()
    found = load_settings(file, environment, {"server": {"workers": 3}})
    assert (found.server.port, found.server.workers, found.server.host) == (9001, 3, "127.0.0.1")
    assert (found.http.body_bytes, found.logs.keep_days, found.keys.open) == (2048, 7, True)


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (64, 2)])
def test_two_processes_serve_unless_there_is_one_core(cores, expected, monkeypatch):
    monkeypatch.setattr("multitudes.service.settings.available_cores", lambda: cores)
    assert load_settings(None, {}, {}).server.processes == expected
    assert load_settings(None, {}, {"server": {"workers": 5}}).server.processes == 5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[http]\nbody_byte = 1\n", "unknown key 'http.body_byte'; did you mean 'body_bytes'?"),
        ("[htp]\n", "unknown key 'htp'; did you mean 'http'?"),
        ("[server]\nport = 70000\n", "'server.port' = 70000"),
        ("[server]\nport = \n", "not a TOML file"),
    ],
)
def test_a_wrong_file_is_named(text, told, file):
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_settings(file, {}, {})
    assert str(caught.value).startswith(f"{file}: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MULTITUDES_SERVE_HTTP_BODY_BYTE", "1", "did you mean 'MULTITUDES_SERVE_HTTP_BODY_BYTES'?"),
        ("MULTITUDES_SERVE_SERVER_PORT", "many", "'server.port' = 'many'"),
        ("MULTITUDES_SERVE_SERVER_WORKERS", "0", "'server.workers' = '0'"),
        ("MULTITUDES_SERVE_STATE_WRITE_S", "inf", "less than or equal to 600"),
        ("MULTITUDES_SERVE_STATE_KEEP", "9" * 30, "less than or equal to"),
        ("MULTITUDES_SERVE_DATA_FOLDER", "\udcff", "cannot be printed"),
        ("MULTITUDES_SERVE_SERVER_HOST", "127.0.0.1\n\x1b[31m", "cannot be printed"),
    ],
)
def test_a_wrong_environment_is_named(name, value, told):
    with pytest.raises(UsageError, match="environment") as caught:
        load_settings(None, {name: value}, {})
    assert told in str(caught.value)


def test_every_setting_has_a_name_of_its_own_and_says_what_it_is():
    assert len(environment_names()) == sum(
        len(type(field.default).model_fields) for field in ServeConfig.model_fields.values()
    )
    for section, field in ServeConfig.model_fields.items():
        for key, setting in type(field.default).model_fields.items():
            assert setting.description, f"[{section}] {key}"
