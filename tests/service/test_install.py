"""What the service needs: few packages, no torch, and what is missing is named."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from multitudes.cli.main import run
from multitudes.extras import EXTRAS
from multitudes.service.api_keys import ApiKeys, make_key
from tests.test_imports import loaded_after

ROOT = Path(__file__).parents[2]
MOST_PACKAGES = 45


def closure(*extras: str) -> set[str]:
    """Return the packages that an installation with ``extras`` brings, by what those installed here ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *(text for extra in extras for text in project["optional-dependencies"][extra])]
    waiting, found = [Requirement(text) for text in texts], set[tuple[str, str]]()
    while waiting:
        needed = waiting.pop()
        for extra in {"", *needed.extras}:
            one = canonicalize_name(needed.name), extra
            if one not in found and applies(needed, ""):
                found.add(one)
                asked = map(Requirement, distribution(needed.name).requires or ())
                waiting += [more for more in asked if applies(more, extra)]
    return {package for package, _ in found} | {"multitudes"}


def applies(needed: Requirement, extra: str) -> bool:
    if needed.marker is None:
        return True
    if not needed.marker.evaluate({"extra": extra}):
        return False
    needed.marker = None  # it has been looked at
    return True


def test_the_service_installs_with_few_packages_and_loads_no_torch():
    packages = closure("serve")
    assert {"fastapi", "uvicorn", "orjson", "polars", "onnxruntime"} <= packages
    assert packages.isdisjoint({"torch", *EXTRAS["data"]} - {*EXTRAS["serve"]})
    assert len(packages) <= MOST_PACKAGES, sorted(packages)
    served = loaded_after("import multitudes.service.server, multitudes.service.startup")
    assert served.isdisjoint({"torch", *EXTRAS["data"]} - {*EXTRAS["serve"]})
    assert {"fastapi", "faiss"} <= served, "else the check sees nothing"
    heavy = {"numpy", "polars", "fastapi", "onnxruntime", "faiss", "duckdb"}
    assert loaded_after("from multitudes import Client").isdisjoint(heavy)


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "orjson", "structlog", "prometheus_client"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(module, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    assert run(["serve", str(tmp_path)]) == 5
    assert f"'{module}'; install it with: pip install 'multitudes[serve]'" in capsys.readouterr().err


def test_a_release_answers_without_what_serving_does_not_need(shared_releases):
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({EXTRAS['data']}))\n"
        "from multitudes.cli.main import run\n"
        "assert run(['recommend', sys.argv[1], '--user', 'ann', '--json']) == 0\n"
        "sys.exit(run(['prepare', sys.argv[1], '--out', 'x']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(shared_releases)], capture_output=True, text=True, check=False
    )
    assert json.loads(done.stdout)["user_id"] == "ann"
    assert done.returncode == 5, "and a command that needs one of them names it"
    assert "this needs the package 'pyarrow'; install it with: pip install 'multitudes[data]'" in done.stderr


def test_what_keeps_the_service_from_beginning_is_one_line(releases, tmp_path, capsys):
    empty, config = tmp_path / "empty", tmp_path / "serve.toml"
    empty.mkdir()
    config.write_text("[server]\nprot = 1\n")
    make_key(keys := tmp_path / "keys", "shop", ("read",))
    with_config = ["serve", str(releases), "--config", str(config)]
    for arguments, code, told in (
        (["serve", str(empty)], 4, "no releases here; write one with: multitudes publish"),
        (["serve", str(releases), "--host", "0.0.0.0"], 2, "no key is required"),
        (["serve", str(releases), "--host", "203.0.113.1", "--keys", str(keys)], 2, "cannot listen on"),
        (["serve", str(releases), "--port", "0", "--keys", str(tmp_path / "none")], 5, "no such file of keys"),
        (["serve", str(releases), "--port", "99999"], 2, "'server.port' = 99999"),
        (with_config, 2, "unknown key 'server.prot'; did you mean 'port'?"),
    ):
        assert run(arguments) == code, arguments
        captured = capsys.readouterr()
        (line,) = captured.err.splitlines()
        assert line.startswith("multitudes: ")
        assert told in line
        assert captured.out == ""
    assert not releases.with_name("releases.service").exists()


def test_a_port_in_use_is_one_line(shared_releases):
    code = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0));"
        "from multitudes.cli.main import run; sys.exit(run(['serve', sys.argv[1], '--port', str(s.getsockname()[1])]))"
    )
    call = [sys.executable, "-c", code, str(shared_releases)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    (line,) = done.stderr.splitlines()
    assert "is in use; give another with --port" in line


def test_a_key_is_made_and_shown_once_in_a_folder_that_exists(tmp_path, capsys):
    assert run(["keys", "add", f"{tmp_path}/new/", "--name", "shop"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "new/: a folder was given, and there is none; expected a file, or make the folder first" in line
    assert not list(tmp_path.iterdir())
    file = tmp_path / "keys"
    assert run(["keys", "add", str(file), "--name", "shop", "--scope", "write", "--scope", "read"]) == 0
    captured = capsys.readouterr()
    key = captured.out.strip()
    assert key not in file.read_text()
    assert "shop read,write " in file.read_text()
    assert "it is not shown again" in captured.err
    assert run(["keys", "add", str(file), "--name", "shop"]) == 2
    capsys.readouterr()
    assert run(["keys", "add", str(file), "--name", "other", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["name"], said["scopes"]) == ("other", ["read"])
    assert ApiKeys(file).find(said["key"]) is not None
