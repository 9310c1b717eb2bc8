"""One overlay per profile. One law: an overlay holds what the profile says, and nothing the base says."""

from __future__ import annotations

from typing import Any, Final

from gpuaas.cli.kube.any_service import NAME, PRE_STOP_S, Tree
from gpuaas.cli.kube.servers import NATS_IMAGE, NATS_TAG, POSTGRES_IMAGE, POSTGRES_TAG, TLS_FOLDER, log_settings
from gpuaas.cli.profile import Profile
from gpuaas.cli.service_table import SERVICES, ServiceEntry
from gpuaas.cli.yaml_text import patch_text

KEYS_FOLDER: Final = "/etc/gpuaas/keys"
GIVEN_KEYS: Final = {
    "iam": {"GPUAAS_IAM_SIGNING_KEYS_FILE": "signing-keys.json"},
    "audit": {"GPUAAS_AUDIT_SIGNING_KEY": "audit-signing.key", "GPUAAS_AUDIT_MAP_SECRET": "audit-map.secret"},
    "evidence": {"GPUAAS_EVIDENCE_SIGNING_KEY": "evidence-signing-key.pem"},
}
"""Variable → file, of keys that somebody gives where a profile makes none itself."""
ON_ONE_VOLUME: Final = frozenset({"evidence"})
"""Services that keep a volume of their own (artefacts) even where their keys are given: one process each."""
END_S: Final = 5
"""Between the end of the drain and SIGKILL."""


def kustomization(profile: Profile) -> Tree:
    """The overlay's kustomization."""
    name = profile.name
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": f"gpuaas-{name}",
        "resources": ["namespace.yaml", "../../base"],
        "configMapGenerator": [
            {"name": "profile", "literals": [f"{key}={value}" for key, value in environment(profile).items()]},
            {"name": "nats", "files": ["nats.conf", "streams.json"]},
        ],
        "images": [
            *({"name": f"gpuaas-{entry.name}", "newTag": profile.run.image_tag} for entry in SERVICES),
            {"name": NATS_IMAGE, "newTag": NATS_TAG},
            {"name": POSTGRES_IMAGE, "newTag": POSTGRES_TAG},
        ],
        "patches": patches(profile),
    }


def environment(profile: Profile) -> dict[str, str]:
    """What every service and the provisioner is told under this profile."""
    told = profile.service_environment() | {"GPUAAS_LOG_REPLICAS": str(log_settings(profile).replicas)}
    if profile.secrets.source == "given":
        told["GPUAAS_AUDIT_LOG_NAME"] = f"gpuaas/{profile.name}"
    if profile.secrets.tls:
        told |= {
            "GPUAAS_NATS_CA_FILE": f"{TLS_FOLDER}/ca.crt",
            "GPUAAS_POSTGRES_CA_FILE": f"{TLS_FOLDER}/ca.crt",
            "GPUAAS_HTTP_CERT_FILE": f"{TLS_FOLDER}/tls.crt",
            "GPUAAS_HTTP_KEY_FILE": f"{TLS_FOLDER}/tls.key",
        }
    return told


def namespace(profile: Profile) -> Tree:
    """The namespace; the cluster itself refuses a pod there that asks for privileges."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"gpuaas-{profile.name}", "labels": labels}}


def patches(profile: Profile) -> list[Tree]:
    """What the profile changes on the base."""
    found = [_patch({"kind": "Deployment"}, _sized(profile))]
    if profile.log.servers > 1:
        members = [("replace", "/spec/replicas", profile.log.servers)]
        spread = ("add", "/spec/template/spec/topologySpreadConstraints", [_spread("nats", profile)])
        found.append(_patch({"kind": "StatefulSet", "name": "nats"}, [*members, spread]))
    found.append(_patch({"kind": "StatefulSet", "name": "nats"}, [_disk(profile)]))
    found += [
        _patch({"kind": "Deployment", "name": f"{NAME}-{entry.name}"}, changes)
        for entry in SERVICES
        if (changes := _of_service(entry, profile))
    ]
    if profile.secrets.source == "given":
        found += [
            _patch_text({"kind": "PersistentVolumeClaim", "name": f"{NAME}-{entry.name}"}, _GONE.format(entry.name))
            for entry in SERVICES
            if entry.keeps and entry.name not in ON_ONE_VOLUME
        ]
    if profile.secrets.tls:
        found += [
            _patch({"kind": "Deployment"}, _tls_volume("tls-services")),
            _patch({"kind": "Deployment"}, _https_probes()),
            _patch({"kind": "StatefulSet", "name": "nats"}, _tls_volume("tls-nats")),
            _patch({"kind": "StatefulSet", "name": "postgres"}, [*_tls_volume("tls-postgres"), *_postgres_tls()]),
            _patch({"kind": "Job"}, _tls_volume("tls-services")),
        ]
    return found


_GONE: Final = """\
$patch: delete
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: gpuaas-{}
"""


def _sized(profile: Profile) -> list[tuple[str, str, Any]]:
    run = profile.run
    resources = {
        "requests": {"cpu": f"{run.cpu_request_m}m", "memory": f"{run.memory_request_mib}Mi"},
        "limits": {"memory": f"{run.memory_limit_mib}Mi"},
    }
    grace_s = PRE_STOP_S + int(profile.service.drain_s) + END_S
    return [
        ("add", "/spec/template/spec/containers/0/resources", resources),
        ("replace", "/spec/template/spec/terminationGracePeriodSeconds", grace_s),
    ]


def _of_service(entry: ServiceEntry, profile: Profile) -> list[tuple[str, str, Any]]:
    changes: list[tuple[str, str, Any]] = []
    given = profile.secrets.source == "given"
    if given and entry.name in GIVEN_KEYS:
        changes += _given_keys(entry)
    alone = entry.name in ON_ONE_VOLUME or (bool(entry.keeps) and not given)
    if profile.run.instances > 1 and not alone:
        changes += [
            ("replace", "/spec/replicas", profile.run.instances),
            ("add", "/spec/template/spec/topologySpreadConstraints", [_spread(entry.name, profile)]),
        ]
    return changes


def _given_keys(entry: ServiceEntry) -> list[tuple[str, str, Any]]:
    files = GIVEN_KEYS[entry.name]
    container = "/spec/template/spec/containers/0"
    mount = {"name": "keys", "mountPath": KEYS_FOLDER, "readOnly": True}
    volume = {"name": "keys", "secret": {"secretName": f"{entry.name}-keys", "defaultMode": 0o440}}
    changes: list[tuple[str, str, Any]] = [
        ("add", "/spec/template/spec/volumes/-", volume),
        ("add", f"{container}/volumeMounts/-", mount),
        *(
            ("add", f"{container}/env/-", {"name": variable, "value": f"{KEYS_FOLDER}/{file}"})
            for variable, file in files.items()
        ),
    ]
    if entry.name not in ON_ONE_VOLUME:
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
        changes += [
            ("replace", "/spec/strategy", rolling),
            ("replace", "/spec/template/spec/volumes/1", {"name": "state", "emptyDir": {}}),
        ]
    return changes


def _spread(name: str, profile: Profile) -> Tree:
    return {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone" if profile.run.spread_zones else "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app.kubernetes.io/name": name}},
    }


def _disk(profile: Profile) -> tuple[str, str, Any]:
    """Room above the log's own limit, so that its clean refusal answers before the disk is full."""
    mib = profile.log.file_store_mib * 100 // 80
    return ("replace", "/spec/volumeClaimTemplates/0/spec/resources/requests/storage", f"{mib}Mi")


def _tls_volume(secret_name: str) -> list[tuple[str, str, Any]]:
    pod = "/spec/template/spec"
    mount = {"name": "tls", "mountPath": TLS_FOLDER, "readOnly": True}
    return [
        ("add", f"{pod}/volumes/-", {"name": "tls", "secret": {"secretName": secret_name, "defaultMode": 0o440}}),
        ("add", f"{pod}/containers/0/volumeMounts/-", mount),
    ]


def _postgres_tls() -> list[tuple[str, str, Any]]:
    told = ("ssl=on", f"ssl_cert_file={TLS_FOLDER}/tls.crt", f"ssl_key_file={TLS_FOLDER}/tls.key")
    return [("add", "/spec/template/spec/containers/0/args/-", word) for each in told for word in ("-c", each)]


def _https_probes() -> list[tuple[str, str, Any]]:
    container = "/spec/template/spec/containers/0"
    return [
        ("add", f"{container}/{kind}Probe/httpGet/scheme", "HTTPS") for kind in ("startup", "liveness", "readiness")
    ]


def _patch(target: Tree, changes: list[tuple[str, str, Any]]) -> Tree:
    return _patch_text(target, patch_text(changes))


def _patch_text(target: Tree, text: str) -> Tree:
    return {"target": target, "patch": text}
