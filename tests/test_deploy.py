"""The examples of a small cluster name what is there: settings, ports, probes, images, volumes and commands."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from multitudes.cli.main import VERBS, command_of
from multitudes.cli.reference import parameters
from multitudes.errors import UsageError
from multitudes.service.auth import PUBLIC_PATHS
from multitudes.service.settings import ENVIRONMENT_PREFIX, load_settings

DEPLOY = Path(__file__).parents[1] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "cluster" / "compose.yaml").read_text())
CLUSTER = list(yaml.safe_load_all((DEPLOY / "cluster" / "kubernetes.yaml").read_text()))
IMAGES = {"multitudes": DEPLOY / "Containerfile", "multitudes-train": DEPLOY / "cluster" / "Trainfile"}


def pods() -> Iterator[dict[str, Any]]:
    """The pods of the deployment and of the job."""
    for document in CLUSTER:
        spec = document["spec"]
        if document["kind"] == "Deployment":
            yield spec["template"]["spec"]
        if document["kind"] == "CronJob":
            yield spec["jobTemplate"]["spec"]["template"]["spec"]


def settings() -> dict[str, str]:
    """Every setting of the service that an example names."""
    of_compose = [service.get("environment", {}) for service in COMPOSE["services"].values()]
    of_pods = [
        {variable["name"]: "redis://redis" for variable in container.get("env", [])}
        for pod in pods()
        for container in pod["containers"]
    ]
    return {name: value for table in (*of_compose, *of_pods) for name, value in table.items()}


def names(verb: str) -> set[str]:
    """The options of a command."""
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
    assert all(image in IMAGES or re.search(r":\d", image) for image in images)
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
    for probe in ("readinessProbe", "livenessProbe"):
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
        assert {source for source in sources if not source.startswith("./")} <= set(COMPOSE["volumes"])
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


def test_keys_are_mounted_as_a_folder_since_a_file_mounted_alone_keeps_revoked_keys():
    (pod, *_) = pods()
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "keys"]
    assert mount == {"name": "keys", "mountPath": "/keys", "readOnly": True}
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "keys"]
    assert volume["secret"]["items"] == [{"key": "keys", "path": "keys"}]
    assert "./keys:/keys:ro" in COMPOSE["services"]["serve"]["volumes"]
    made = [(DEPLOY / name).read_text() for name in ("Containerfile", "cluster/compose.yaml")]
    assert all("mkdir -m 750 keys && multitudes key shop --to keys" in text for text in made)
