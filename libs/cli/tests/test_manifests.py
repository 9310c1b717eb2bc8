"""The manifests: generated, built by the real kubectl, valid for the real API, closed, and free of secrets."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import nats
import pytest
import yaml
from gpuaas.cli.kube.overlays import GIVEN_KEYS, environment
from gpuaas.cli.manifests import FOLDER, differing, files, passwords
from gpuaas.cli.profile import NAMES, load
from gpuaas.cli.servers import nats_permissions
from gpuaas.cli.service_table import SERVICES
from gpuaas.common.embedded.nats_server import server_program
from gpuaas.common.embedded.process import free_port
from gpuaas.common.errors import Misconfigured
from gpuaas.common.provision import ProvisionSettings, events_config, telemetry_config
from gpuaas.common.settings import Settings

ROOT = Path(__file__).parents[3]
KUBECTL = Path(sys.executable).parent / "kubectl"
KUBERNETES = "1.33"
Tree = dict[str, Any]
_built: dict[str, list[Tree]] = {}


def built(profile: str) -> list[Tree]:
    """What `kubectl apply -k` would send."""
    if profile not in _built:
        asked = [str(KUBECTL), "kustomize", str(ROOT / FOLDER / "profiles" / profile)]
        made = subprocess.run(asked, capture_output=True, check=True, text=True)
        _built[profile] = list(yaml.safe_load_all(made.stdout))
    return _built[profile]


def of_kind(profile: str, kind: str) -> dict[str, Tree]:
    return {each["metadata"]["name"]: each for each in built(profile) if each["kind"] == kind}


def pods(profile: str) -> dict[str, Tree]:
    """Name → pod specification, of everything that runs."""
    kinds = ("Deployment", "StatefulSet", "Job")
    found = [each for each in built(profile) if each["kind"] in kinds]
    return {each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in found}


def test_the_committed_files_are_what_table_and_profiles_say() -> None:
    assert differing(ROOT / FOLDER, files()) == []


def test_a_changed_and_a_left_over_file_are_seen(tmp_path: Path) -> None:
    for path, text in files().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert differing(tmp_path, files()) == []
    (tmp_path / "base" / "iam" / "old.yaml").write_text("")
    (tmp_path / "base" / "network.yaml").write_text("")
    assert {path.name for path in differing(tmp_path, files())} == {"old.yaml", "network.yaml"}


@pytest.mark.parametrize("profile", NAMES)
def test_what_kubectl_builds_is_valid_for_kubernetes(profile: str) -> None:
    for document in built(profile):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_check_against_kubernetes_can_say_no() -> None:
    wrong = {**of_kind("dev", "Deployment")["gpuaas-iam"]}
    wrong["spec"] = {**wrong["spec"], "replicaz": 1}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


@pytest.mark.parametrize("profile", NAMES)
def test_every_service_has_its_own_deployment_image_door_budget_and_account(profile: str) -> None:
    names = {f"gpuaas-{entry.name}" for entry in SERVICES}
    for kind in ("Deployment", "ServiceAccount"):
        assert set(of_kind(profile, kind)) == names
    assert names <= set(of_kind(profile, "Service"))
    assert names <= set(of_kind(profile, "PodDisruptionBudget"))
    for entry in SERVICES:
        pod = pods(profile)[f"gpuaas-{entry.name}"]
        assert pod["containers"][0]["image"].startswith(f"gpuaas-{entry.name}:")
        selector = of_kind(profile, "Service")[f"gpuaas-{entry.name}"]["spec"]["selector"]
        labels = of_kind(profile, "Deployment")[f"gpuaas-{entry.name}"]["spec"]["template"]["metadata"]["labels"]
        assert selector["app.kubernetes.io/name"] == entry.name == labels["app.kubernetes.io/name"]


@pytest.mark.parametrize("profile", NAMES)
def test_nothing_runs_as_root_writes_its_image_or_holds_a_token(profile: str) -> None:
    for pod in pods(profile).values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] != 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not container["image"].endswith(":latest")


@pytest.mark.parametrize("profile", NAMES)
def test_a_process_is_asked_about_itself_and_given_time_to_end(profile: str) -> None:
    for entry in SERVICES:
        pod = pods(profile)[f"gpuaas-{entry.name}"]
        container = pod["containers"][0]
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        stop_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod["terminationGracePeriodSeconds"] > stop_s + load(profile).service.drain_s
        assert container["resources"]["limits"]["memory"]


def test_production_has_three_brokers_apart_and_two_processes_of_what_can_have_two() -> None:
    broker = of_kind("production", "StatefulSet")["nats"]["spec"]
    assert broker["replicas"] == 3
    assert broker["template"]["spec"]["topologySpreadConstraints"][0]["topologyKey"] == "topology.kubernetes.io/zone"
    replicas = {name: each["spec"]["replicas"] for name, each in of_kind("production", "Deployment").items()}
    assert replicas == {f"gpuaas-{entry.name}": 1 if entry.name == "evidence" else 2 for entry in SERVICES}
    rolling = {name for name, each in of_kind("production", "Deployment").items() if _rolls(each)}
    assert rolling == set(replicas) - {"gpuaas-evidence"}


def _rolls(deployment: Tree) -> bool:
    strategy: Tree = deployment["spec"]["strategy"]
    return strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


@pytest.mark.parametrize("profile", NAMES)
def test_all_traffic_is_refused_but_what_a_policy_names(profile: str) -> None:
    policies = of_kind(profile, "NetworkPolicy")
    assert policies["nothing-by-default"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    allowed = policies["to-servers"]["spec"]["egress"]
    assert sorted(port["port"] for rule in allowed for port in rule["ports"]) == [53, 53, 4222, 5432, 8222]
    assert all(rule["from"] for policy in policies.values() for rule in policy["spec"].get("ingress", ()))


@pytest.mark.parametrize("profile", NAMES)
def test_what_a_pod_is_told_is_what_the_service_understands(profile: str) -> None:
    told = environment(load(profile))
    assert of_kind(profile, "ConfigMap")
    names = {f"GPUAAS_{name.upper()}" for name in Settings.model_fields} | {
        "GPUAAS_LOG_REPLICAS",
        "GPUAAS_AUDIT_LOG_NAME",
        "GPUAAS_SIMULATED_MACHINES_ALLOWED",
    }
    assert set(told) <= names
    generated = next(
        each for each in built(profile) if each["kind"] == "ConfigMap" and "GPUAAS_PROFILE" in each["data"]
    )
    assert generated["data"] == told


@pytest.mark.parametrize("profile", ["staging", "production"])
def test_keys_that_a_profile_does_not_make_are_mounted_from_secrets(profile: str) -> None:
    for name, keys in GIVEN_KEYS.items():
        pod = pods(profile)[f"gpuaas-{name}"]
        given = {each["name"]: each["value"] for each in pod["containers"][0]["env"] if "value" in each}
        folder = next(m["mountPath"] for m in pod["containers"][0]["volumeMounts"] if m["name"] == "keys")
        assert {variable: given[variable] for variable in keys} == {
            variable: f"{folder}/{file}" for variable, file in keys.items()
        }


def test_no_file_holds_a_secret_and_each_service_reads_only_its_own() -> None:
    for profile in NAMES:
        assert of_kind(profile, "Secret") == {}
        for entry in SERVICES:
            pod = pods(profile)[f"gpuaas-{entry.name}"]
            named = {
                each["valueFrom"]["secretKeyRef"]["name"]
                for each in pod["containers"][0]["env"]
                if "secretKeyRef" in each.get("valueFrom", {})
            }
            assert named == {f"{entry.name}-passwords"}


def test_secrets_are_made_only_where_the_profile_may() -> None:
    text, key = passwords("kind")
    made = {each["metadata"]["name"]: each["stringData"] for each in yaml.safe_load_all(text)}
    assert all(
        re.fullmatch("p[0-9a-f]{40}", each["nats"]) for name, each in made.items() if name != "postgres-passwords"
    )
    assert key.startswith("gpk_kind_")
    needed = set(re.findall(r"name: ([a-z]+-passwords)", yaml.safe_dump(list(pods("kind").values()))))
    assert needed <= set(made)
    for entry in SERVICES:
        kubernetes_validate.validate(next(iter(yaml.safe_load_all(text))), KUBERNETES, strict=True)
        assert set(made[f"{entry.name}-passwords"]) >= {"nats", "postgres"}
    with pytest.raises(Misconfigured, match="given its secrets"):
        passwords("production")


@pytest.mark.parametrize("profile", NAMES)
def test_the_declared_streams_are_what_the_provisioner_makes(profile: str) -> None:
    variables = {
        "GPUAAS_NATS_URL": "nats://nats",
        "GPUAAS_POSTGRES_ADMIN_DSN": "",
        "GPUAAS_PROVISION_SERVICES": "",
        **environment(load(profile)),
    }
    settings = ProvisionSettings.read(variables).log
    declared = json.loads((ROOT / FOLDER / "profiles" / profile / "streams.json").read_text())
    assert declared == [events_config(settings), telemetry_config(settings)]
    assert declared[0]["num_replicas"] == load(profile).log.servers


async def test_the_real_broker_takes_the_declared_rights_and_passwords_from_its_environment(tmp_path: Path) -> None:
    text = (ROOT / FOLDER / "profiles" / "dev" / "nats.conf").read_text()
    ports = {"4222": free_port(), "8222": free_port()}
    for port, free in ports.items():
        text = text.replace(f"0.0.0.0:{port}", f"127.0.0.1:{free}")
    config = tmp_path / "nats.conf"
    config.write_text(text.replace('"/data"', json.dumps(str(tmp_path / "data"))))
    secrets = {user: f"p{number}x{'0e12' * 8}" for number, user in enumerate(nats_permissions())}
    environment = {f"NATS_PASSWORD_{user.upper()}": secret for user, secret in secrets.items()}
    process = await asyncio.create_subprocess_exec(
        str(server_program()),
        "--config",
        str(config),
        env={**os.environ, **environment, "POD_NAME": "nats-0"},
        stderr=subprocess.DEVNULL,
    )
    try:
        for user, secret in secrets.items():
            connection = await nats.connect(
                f"nats://{user}:{secret}@127.0.0.1:{ports['4222']}", max_reconnect_attempts=20, reconnect_time_wait=0.2
            )
            await connection.close()
        with pytest.raises(nats.errors.Error):
            await nats.connect(f"nats://iam:wrong@127.0.0.1:{ports['4222']}", allow_reconnect=False)
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize("profile", NAMES)
def test_the_real_broker_accepts_every_profiles_configuration(profile: str, tmp_path: Path) -> None:
    text = (ROOT / FOLDER / "profiles" / profile / "nats.conf").read_text()
    config = tmp_path / "nats.conf"
    config.write_text(re.sub(r'"tls": \{[^}]*\},?', "", text).replace('"/data"', json.dumps(str(tmp_path))))
    environment = {f"NATS_PASSWORD_{user.upper()}": "pw1" for user in nats_permissions()} | {"POD_NAME": "nats-0"}
    said = subprocess.run(
        [str(server_program()), "--config", str(config), "-t"], env={**os.environ, **environment}, capture_output=True
    )
    assert said.returncode == 0, said.stderr.decode()
    durable = load(profile).durable
    assert ('"sync_interval": "always"' in text) is durable
    assert ('"tls"' in text) is durable
