"""The path from tables to results with ``--json``: the last line of every verb is one JSON object."""

import json
from pathlib import Path

import pytest

from multitudes.cli.main import VERBS, run
from tests.worlds import SMALL_TOML, planted

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_exports")]


def test_every_verb_ends_with_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "small.toml").write_text(f"{SMALL_TOML}[evaluate]\nmax_users = 20\n")
    data = planted()[1].path.parent / "data"
    user = str(planted()[1].user_ids[0])
    calls = {
        "init": "init T/init",
        "import": f"import {data}/events.parquet --items {data}/items.parquet --out T/imported",
        "check": f"prepare {data} --check",
        "prepare": f"prepare {data} --out T/prepared --split user",
        "train": "train T/prepared --out T/run --config T/small.toml",
        "evaluate": "evaluate T/run --config T/small.toml",
        "report": "report T/run",
        "keys": "keys pair T/signer",
        "publish": "publish T/run --to T/releases --sign T/signer",
        "releases": "releases T/releases",
        "items": f"items add T/releases {data}/items.parquet --sign T/signer",
        "doctor": "doctor T/releases --trust T/signer.pub",
        "state": "state load T/prepared T/states.db",
        "recommend": f"recommend T/releases --user {user} --n 5",
        "everybody": "recommend T/releases --all --out T/all --n 5 --export T/all.jsonl",
    }
    said = {}
    for name, call in calls.items():
        arguments = [part.replace("T/", f"{tmp_path}/") for part in call.split()]
        assert run([*arguments, "--json"]) == 0, (call, capsys.readouterr().err)
        said[name] = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert isinstance(said[name], dict)
    # test_demo, test_recommend, test_study; tests of service and training; of the add-ons: tests/lab
    elsewhere = {"combine", "demo", "explore", "rollback", "serve", "study"}
    assert {call.split()[0] for call in calls.values()} == set(VERBS) - elsewhere
    assert said["prepare"]["counts"]["events"] == said["check"]["counts"]["events"]
    assert said["import"]["rows"]["events"] == said["check"]["rows"]["events"]
    assert said["evaluate"]["users"] <= 20
    assert {"budget", "users", "methods", "segments", "interests", "seed", "data"} <= set(said["evaluate"])
    assert said["publish"]["version"] == said["releases"]["current"] == "0001"
    assert said["recommend"]["user_id"] == planted()[1].user_ids[0]
    assert len(said["recommend"]["candidates"]) == 5
    assert said["everybody"]["users"] == said["everybody"]["rows"] == planted()[1].n_users
