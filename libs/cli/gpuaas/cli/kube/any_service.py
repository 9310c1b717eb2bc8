"""Manifests of any service. One law: seven services, one base; what differs is the service table's row."""

from __future__ import annotations

from typing import Any, Final

from gpuaas.cli.service_table import ServiceEntry
from gpuaas.cli.yaml_text import patch_text

Tree = dict[str, Any]
PART_OF: Final = {"app.kubernetes.io/part-of": "gpuaas"}
USER_ID: Final = 10_001
PRE_STOP_S: Final = 5
"""Between "no new requests, please" and SIGTERM: as long as load balancers need to hear of it."""
IMAGE: Final = "gpuaas-service"
NAME: Final = "gpuaas"


def base() -> dict[str, Tree]:
    """File name → document: Deployment, Service, PodDisruptionBudget, ServiceAccount."""
    return {
        "deployment.yaml": deployment(),
        "service.yaml": {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
        },
        "disruption.yaml": {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": NAME},
            "spec": {"maxUnavailable": 1},
        },
        "account.yaml": {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": NAME},
            "automountServiceAccountToken": False,
        },
    }


def deployment() -> Tree:
    """The Deployment of any service: rolled without a gap, drained, without privileges."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 5,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"annotations": {"prometheus.io/scrape": "true", "prometheus.io/path": "/metrics"}},
                "spec": {
                    "serviceAccountName": NAME,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 30,
                    "securityContext": pod_security(USER_ID),
                    "containers": [_container()],
                    "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "state", "emptyDir": {}}],
                },
            },
        },
    }


def _container() -> Tree:
    return {
        "name": "service",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": 8100}],
        "envFrom": [{"configMapRef": {"name": "profile"}}],
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_S}}},
        "startupProbe": probe("/healthz", period_s=2, failures=60),
        "livenessProbe": probe("/healthz", period_s=10, failures=6),
        "readinessProbe": probe("/readyz", period_s=3, failures=2),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "state", "mountPath": "/var/lib/gpuaas"},
        ],
    }


def of_service(entry: ServiceEntry) -> tuple[Tree, list[Tree]]:
    """The kustomization that makes any service this one, and documents that only this one has."""
    labels = {"app.kubernetes.io/name": entry.name}
    kustomization: Tree = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../any-service", *(["state.yaml"] if entry.keeps else [])],
        "nameSuffix": f"-{entry.name}",
        "labels": [{"pairs": labels | PART_OF, "includeSelectors": True, "includeTemplates": True}],
        "images": [{"name": IMAGE, "newName": f"gpuaas-{entry.name}"}],
        "patches": [{"target": {"kind": "Deployment"}, "patch": patch_text(_differences(entry))}],
    }
    return kustomization, [_state()] if entry.keeps else []


def _differences(entry: ServiceEntry) -> list[tuple[str, str, Any]]:
    """(operation, path, value) on the Deployment."""
    container = "/spec/template/spec/containers/0"
    changes: list[tuple[str, str, Any]] = [
        ("replace", f"{container}/name", entry.name),
        ("replace", f"{container}/ports/0/containerPort", entry.port),
        ("add", f"{container}/env", environment(entry)),
        ("add", "/spec/template/metadata/annotations/prometheus.io~1port", str(entry.port)),
    ]
    if entry.keeps:
        # One volume, one process: the next may begin only when the last has let go.
        changes += [
            ("replace", "/spec/strategy", {"type": "Recreate"}),
            ("replace", "/spec/template/spec/volumes/1", state_volume()),
        ]
    return changes


def environment(entry: ServiceEntry) -> list[Tree]:
    """What this service is told; passwords come from its own Secret and are put into addresses by the kubelet."""
    found: list[Tree] = [
        {"name": "GPUAAS_HTTP_PORT", "value": str(entry.port)},
        {"name": "NATS_PASSWORD", "valueFrom": secret(entry.name, "nats")},
        {"name": "GPUAAS_NATS_URL", "value": f"nats://{entry.name}:$(NATS_PASSWORD)@nats:4222"},
        {"name": "GPUAAS_NATS_MONITOR_URL", "value": "http://nats:8222"},
    ]
    if entry.database:
        role = f"gpuaas_{entry.name}"
        found += [
            {"name": "POSTGRES_PASSWORD", "valueFrom": secret(entry.name, "postgres")},
            {"name": "GPUAAS_POSTGRES_DSN", "value": f"postgresql://{role}:$(POSTGRES_PASSWORD)@postgres:5432/{role}"},
        ]
    if entry.name == "iam":
        found.append({"name": "GPUAAS_IAM_BOOTSTRAP_KEY_SHA256", "valueFrom": secret("iam", "bootstrap-sha256")})
    return found


def secret(owner: str, key: str) -> Tree:
    """A value of one owner's Secret; `<owner>-passwords` is made outside of these files."""
    return {"secretKeyRef": {"name": f"{owner}-passwords", "key": key}}


def state_volume() -> Tree:
    return {"name": "state", "persistentVolumeClaim": {"claimName": NAME}}


def _state() -> Tree:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": NAME},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def probe(path: str, *, period_s: int, failures: int) -> Tree:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def pod_security(user_id: int) -> Tree:
    """Nobody's root, files of the group."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user_id,
        "runAsGroup": user_id,
        "fsGroup": user_id,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


CONTAINER_SECURITY: Final[Tree] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
