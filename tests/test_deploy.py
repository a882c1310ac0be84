"""The examples of a small cluster name what is there: settings, ports, probes, images, volumes and commands."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy import pin_images, sbom
from deploy.pin_images import images
from reference.commands import parameters

from multitudes.cli.main import VERBS, command_of
from multitudes.errors import UsageError
from multitudes.service.auth import PUBLIC_PATHS
from multitudes.service.settings import ENVIRONMENT_PREFIX, load_settings

DEPLOY = Path(__file__).parents[1] / "deploy"
COMPOSE_TEXT = (DEPLOY / "cluster" / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]+)\}", r"\1", COMPOSE_TEXT))  # without variables
CLUSTER = list(yaml.safe_load_all((DEPLOY / "cluster" / "kubernetes.yaml").read_text()))
IMAGES = {"multitudes": DEPLOY / "Containerfile", "multitudes-train": DEPLOY / "cluster" / "Trainfile"}


def pods() -> Iterator[dict[str, Any]]:
    for document in CLUSTER:
        spec = document["spec"]
        if document["kind"] == "Deployment":
            yield spec["template"]["spec"]
        if document["kind"] == "CronJob":
            yield spec["jobTemplate"]["spec"]["template"]["spec"]


def settings() -> dict[str, str]:
    """Every setting of the service that an example names."""
    of_compose = [COMPOSE["services"][name].get("environment", {}) for name in ("serve", "train")]
    of_pods = [
        {variable["name"]: "redis://redis" for variable in container.get("env", [])}
        for pod in pods()
        for container in pod["containers"]
    ]
    return {name: value for table in (*of_compose, *of_pods) for name, value in table.items()}


def names(verb: str) -> set[str]:
    return {parameter.name for parameter in parameters(command_of(verb))}


def test_the_service_knows_the_settings_and_would_refuse_another():
    named = settings()
    assert named
    assert all(name.startswith(ENVIRONMENT_PREFIX) for name in named)
    assert str(load_settings(None, named, {}).state.store).startswith("redis:")
    with pytest.raises(UsageError, match="unknown setting"):
        load_settings(None, {f"{ENVIRONMENT_PREFIX}STATE_STROE": "redis://redis"}, {})


def test_images_are_built_here_or_named_with_a_version():
    images = [service["image"] for service in COMPOSE["services"].values()]
    images += [container["image"] for pod in pods() for container in pod["containers"]]
    assert set(images) & set(IMAGES) == set(IMAGES)
    assert all(image in IMAGES or re.search(r":v?\d", image) for image in images)
    for service in COMPOSE["services"].values():
        if "build" in service:
            assert DEPLOY.parent / service["build"]["dockerfile"] == IMAGES[service["image"]]
            assert (DEPLOY / "cluster" / service["build"]["context"]).resolve() == DEPLOY.parent.resolve()


def test_ports_and_probes_are_those_of_the_service():
    (port,) = re.findall(r"^EXPOSE (\d+)$", IMAGES["multitudes"].read_text(), re.MULTILINE)
    assert [mapping.split(":")[1] for mapping in COMPOSE["services"]["serve"]["ports"]] == [port]
    deployment = CLUSTER[0]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": int(port)}]
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 900, "as long as TimeoutStartSec of the unit"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in PUBLIC_PATHS
        assert container[probe]["httpGet"]["port"] == "http"
    service = CLUSTER[1]["spec"]
    assert service["ports"][0]["targetPort"] == "http"
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["selector"] == labels == deployment["spec"]["selector"]["matchLabels"]
    assert (
        deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        > load_settings(None, {}, {}).server.drain_s
    )


def test_what_is_mounted_is_there_and_the_job_alone_writes_releases():
    for pod in pods():
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            writes = {mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
            assert ("releases" in writes) == (container["image"] == "multitudes-train")
    for name, service in COMPOSE["services"].items():
        sources = {mount.split(":")[0] for mount in service["volumes"]}
        assert {source for source in sources if not source.startswith(".")} <= set(COMPOSE["volumes"])
        mounts = [mount for mount in service["volumes"] if mount.startswith("./releases:")]
        assert [mount.endswith(":ro") for mount in mounts] == {"serve": [True], "train": [False]}.get(name, [])


def test_the_commands_of_the_job_are_those_of_the_command_line():
    text = re.findall(r'"-c", "(.*)"\]', IMAGES["multitudes-train"].read_text())[0]
    for command in text.split("&&"):
        program, verb, *arguments = shlex.split(command)
        assert program == "multitudes"
        assert verb in VERBS
        assert {argument for argument in arguments if argument.startswith("--")} <= names(verb)
    assert "--no-such" not in names("train")


def test_keys_are_mounted_as_a_folder_that_is_given_away_after_the_last_is_made():
    (pod, *_) = pods()
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "keys"]
    assert mount == {"name": "keys", "mountPath": "/keys", "readOnly": True}
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "keys"]
    assert volume["secret"]["items"] == [{"key": "keys", "path": "keys"}]
    assert "./keys:/keys:ro" in COMPOSE["services"]["serve"]["volumes"]
    made = [(DEPLOY / name).read_text() for name in ("Containerfile", "cluster/compose.yaml")]
    assert all("mkdir -m 750 keys && multitudes keys add keys --name shop" in text for text in made)
    recipe = (DEPLOY / "cluster" / "compose.yaml").read_text()
    assert recipe.rindex("multitudes keys add ") < recipe.index("chown -R 10001 keys"), (
        "the one who makes keys may not later"
    )


def test_every_container_has_a_root_that_it_cannot_write_and_no_capability():
    for pod in pods():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
    for name, service in COMPOSE["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"].split(":")[0].isdigit(), name
        assert int(service["user"].split(":")[0]) > 0, name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert "privileged" not in service, name
    for file in IMAGES.values():
        assert re.findall(r"^USER (.*)$", file.read_text(), re.MULTILINE) == ["10001"]


def test_the_unit_of_systemd_is_shut_in():
    lines = [line for line in (DEPLOY / "multitudes.service").read_text().splitlines() if line and line[0] not in "#["]
    unit = dict(line.split("=", 1) for line in lines)
    assert unit["User"] == "multitudes"
    for setting in (
        *("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome", "ProtectKernelTunables", "ProtectClock"),
        *("ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ProtectHostname", "RestrictSUIDSGID"),
        *("RestrictNamespaces", "RestrictRealtime", "LockPersonality", "RemoveIPC"),
    ):
        assert unit[setting] == "yes", setting
    assert unit["ProtectSystem"] == "strict"
    assert (unit["CapabilityBoundingSet"], unit["AmbientCapabilities"]) == ("", "")
    assert unit["SystemCallFilter"] == "@system-service"
    assert unit["MemoryMax"]
    assert unit["Type"] == "notify", "the watchdog waits for what service/watchdog.py sends"
    assert unit["NotifyAccess"] == "all", "of the processes of --workers too"
    assert int(unit["WatchdogSec"]) > 0
    assert int(unit["TimeoutStopSec"]) > load_settings(None, {}, {}).server.drain_s


@pytest.mark.parametrize("name", ["serve", "train", "build"])
def test_every_package_of_an_image_has_a_version_and_hashes(name):
    text = (DEPLOY / f"requirements-{name}.txt").read_text()
    packages = text.replace("\\\n", " ").splitlines()
    assert len(packages) > 3
    for package in packages:
        assert re.fullmatch(r"[\w.\[\]-]+==\S+( ; [^#]*?)?( +--hash=sha256:[0-9a-f]{64})+", package), package[:60]


def test_the_locks_cover_what_the_extras_of_the_images_ask_for_and_nothing_is_installed_beside_them():
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    extras = {"serve": ("serve", "redis", "sign"), "train": ("train", "data", "sign")}
    for name, file in (("serve", IMAGES["multitudes"]), ("train", IMAGES["multitudes-train"])):
        locked = set(re.findall(r"^([\w.-]+)", (DEPLOY / f"requirements-{name}.txt").read_text(), re.MULTILINE))
        asked = [
            *project["dependencies"],
            *(each for e in extras[name] for each in project["optional-dependencies"][e]),
        ]
        for add_on in re.findall(r"/source/packages/(\w+)", file.read_text()):
            described = tomllib.loads((DEPLOY.parent / "packages" / add_on / "pyproject.toml").read_text())
            asked += described["project"]["dependencies"]
        names_asked = {re.match(r"[\w.-]+", each).group().lower().replace("_", "-") for each in asked}  # type: ignore[union-attr]
        assert names_asked - {"multitudes"} <= locked  # train asks for multitudes[data]
        for call in re.findall(r"pip install ([^&\n]*)", file.read_text()):
            assert "--require-hashes" in call or "--no-deps --no-index" in call, call
        assert f"requirements-{name}.txt" in file.read_text()


def test_prometheus_and_grafana_find_what_they_are_given():
    services = COMPOSE["services"]
    for service in (services["prometheus"], services["grafana"]):
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            made_by_hand = source == "./prometheus.key"
            assert source in COMPOSE["volumes"] or made_by_hand or (DEPLOY / "cluster" / source).exists(), source
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    targets = {mount.split(":")[1] for mount in services["prometheus"]["volumes"]}
    scraped = yaml.safe_load((DEPLOY / "cluster" / "prometheus.yml").read_text())
    (job,) = scraped["scrape_configs"]
    assert {*scraped["rule_files"], job["authorization"]["credentials_file"]} <= targets
    assert job["job_name"] == "multitudes", "the alerts name it"
    (names_,) = job["dns_sd_configs"]
    (port,) = re.findall(r"^EXPOSE (\d+)$", IMAGES["multitudes"].read_text(), re.MULTILINE)
    assert (names_["names"], names_["port"]) == (["serve"], int(port))
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "multitudes.yml").read_text())["providers"]
    assert any(
        mount.split(":")[1] == f"{provider['options']['path']}/dashboard.json"
        for mount in services["grafana"]["volumes"]
    )


def test_every_image_of_others_and_the_base_image_may_be_named_by_its_digest():
    raw = yaml.safe_load(COMPOSE_TEXT)["services"].values()
    for service in raw:
        if "build" not in service:
            assert re.fullmatch(r"\$\{\w+_IMAGE:-docker\.io/[\w./-]+:v?\d[\w.-]*\}", service["image"]), service["image"]
    builds = [service["build"] for service in raw if "build" in service]
    assert [build["args"] for build in builds] == [{"PYTHON": f"${{PYTHON_IMAGE:-{base_image()}}}"}] * len(IMAGES)
    assert set(images(COMPOSE_TEXT)) == {"PYTHON_IMAGE", "REDIS_IMAGE", "PROMETHEUS_IMAGE", "GRAFANA_IMAGE"}
    for file in IMAGES.values():
        assert re.findall(r"^FROM (\S+)", file.read_text(), re.MULTILINE)[-1] == "${PYTHON}", "as the argument says"


def base_image() -> str:
    (image,) = {re.findall(r"^ARG PYTHON=(.*)$", file.read_text(), re.MULTILINE)[0] for file in IMAGES.values()}
    return str(image)


@pytest.mark.parametrize("tool", ["skopeo", "docker"])
def test_digests_come_from_the_registry_and_from_nowhere_else(tool, tmp_path, monkeypatch, capsys):
    program = tmp_path / tool
    program.write_text('#!/bin/sh\necho "$@" >> "$0.calls"; cat "$0.answer"; exec cat "$0.error" >&2\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("shutil.which", lambda name: name if name == tool else None)
    monkeypatch.setattr(pin_images, "CLUSTER", tmp_path)
    (tmp_path / "compose.yaml").write_text(COMPOSE_TEXT)
    (tmp_path / f"{tool}.error").write_text("first\nthe registry is away\n")
    (tmp_path / f"{tool}.answer").write_text("")
    with pytest.raises(SystemExit, match=rf"python:3.12-slim: {tool} gives no digest \(the registry is away\)"):
        pin_images.main()
    assert not (tmp_path / ".env").exists()
    (tmp_path / f"{tool}.answer").write_text(f"sha256:{'a1' * 32}\n")
    pin_images.main()
    written = dict(line.split("=") for line in (tmp_path / ".env").read_text().splitlines())
    assert written == {name: f"{image}@sha256:{'a1' * 32}" for name, image in images(COMPOSE_TEXT).items()}
    assert base_image() in (tmp_path / f"{tool}.calls").read_text()
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(SystemExit, match="neither skopeo nor docker is installed"):
        pin_images.main()


@pytest.mark.parametrize("image", ["serve", "train"])
def test_the_sbom_is_what_the_lock_file_installs(image):
    bill = sbom.bill_of_materials(image)
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    lock = (DEPLOY / f"requirements-{image}.txt").read_text()
    locked = dict(re.findall(r"^([\w.-]+)(?:\[.*\])?==(\S+)", lock, re.MULTILINE))
    components = {one["name"]: one for one in bill["components"]}
    assert len(components) == len(bill["components"]) > 40
    assert {name: one["version"] for name, one in components.items()}.items() <= locked.items()
    assert set(locked) - set(components) <= {"colorama", "pywin32", "tzdata"}, "of Windows"
    for one in components.values():
        assert re.fullmatch(r"pkg:pypi/[a-z0-9.-]+@[\w.%-]+", one["purl"])
        (source,) = one["externalReferences"]
        assert source["hashes"]
        assert all(re.fullmatch("[0-9a-f]{64}", each["content"]) for each in source["hashes"])
        assert all(each["content"] in lock for each in source["hashes"])
    (whole,) = bill["dependencies"]
    assert whole == {
        "ref": bill["metadata"]["component"]["bom-ref"],
        "dependsOn": [c["bom-ref"] for c in bill["components"]],
    }
    assert bill == sbom.bill_of_materials(image)


def test_a_line_of_a_lock_file_that_is_not_understood_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "requirements-serve.txt").write_text("numpy>=2\n")
    monkeypatch.setattr(sbom, "ROOT", tmp_path)
    with pytest.raises(ValueError, match="expected lines as NAME==VERSION"):
        sbom.bill_of_materials("serve")


def test_the_dag_of_airflow_compiles_and_its_commands_are_those_of_the_nightly_page():
    """Airflow is not installed here: the file is read, not run."""
    tree = ast.parse((DEPLOY / "airflow.py").read_text())
    (steps,) = (ast.unparse(one) for one in tree.body if ast.unparse(one).startswith("STEPS = "))
    names: dict[str, Any] = {"DAY": "$(date +%F)"}
    exec(steps, names)
    page = (DEPLOY.parent / "docs" / "nightly.md").read_text().split("```sh\n")[1].split("```")[0].strip()
    assert [command.replace(" --resume", "") for command in names["STEPS"].values()] == page.split("\n")
