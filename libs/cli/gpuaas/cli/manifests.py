"""Kubernetes manifests out of the service table and the profiles. One law: generated, complete, free of secrets.

python -m gpuaas.cli.manifests                  write deploy/base and deploy/profiles
python -m gpuaas.cli.manifests --check          fail when the files there are not what the table and the profiles say
python -m gpuaas.cli.manifests --secrets NAME   print Secrets for a profile that may make its own, for kubectl apply
"""

from __future__ import annotations

import hashlib
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from gpuaas.cli.kube.any_service import PART_OF, Tree, base, of_service
from gpuaas.cli.kube.overlays import kustomization, namespace
from gpuaas.cli.kube.servers import nats, nats_conf, network_policies, postgres, provisioner, streams
from gpuaas.cli.profile import NAMES, load
from gpuaas.cli.servers import BOOTSTRAP_KEY_ID, nats_permissions
from gpuaas.cli.service_table import SERVICES
from gpuaas.cli.yaml_text import yaml_text
from gpuaas.common.apikeys import new_api_key
from gpuaas.common.errors import Misconfigured

FOLDER: Final = Path("deploy")
CAPTION: Final = "# Generated from the service table and the profiles by `make manifests`; do not edit.\n"
API: Final = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}


def files() -> dict[Path, str]:
    """Every file below `deploy` that is made here → its text."""
    found: dict[Path, str] = {}
    any_service = base()
    found[Path("base/any-service/kustomization.yaml")] = _text({**API, "resources": sorted(any_service)})
    for name, document in any_service.items():
        found[Path("base/any-service") / name] = _text(document)
    for entry in SERVICES:
        own, more = of_service(entry)
        found[Path("base") / entry.name / "kustomization.yaml"] = _text(own)
        if more:
            found[Path("base") / entry.name / "state.yaml"] = _text(*more)
    found |= {
        Path("base/nats/nats.yaml"): _text(*nats()),
        Path("base/nats/kustomization.yaml"): _text({**API, "resources": ["nats.yaml"]}),
        Path("base/postgres.yaml"): _text(*postgres()),
        Path("base/provisioner.yaml"): _text(provisioner()),
        Path("base/network.yaml"): _text(*network_policies()),
        Path("base/kustomization.yaml"): _text({**API, "resources": _resources()}),
    }
    for name in NAMES:
        profile, folder = load(name), Path("profiles") / name
        found |= {
            folder / "kustomization.yaml": _text(kustomization(profile)),
            folder / "namespace.yaml": _text(namespace(profile)),
            folder / "nats.conf": nats_conf(profile),
            folder / "streams.json": streams(profile),
        }
    return found


def _resources() -> list[str]:
    return ["nats", "network.yaml", "postgres.yaml", "provisioner.yaml", *(entry.name for entry in SERVICES)]


def _text(*documents: Tree) -> str:
    return CAPTION + yaml_text(*documents)


def differing(folder: Path, wanted: Mapping[Path, str]) -> list[Path]:
    """Files that are absent, different, or left over from a service that is no more."""
    made = [folder / path for path in wanted]
    wrong = [
        at for path, at in zip(wanted, made, strict=True) if not at.exists() or at.read_text("utf-8") != wanted[path]
    ]
    for below in (folder / "base", folder / "profiles"):
        wrong += [at for at in below.rglob("*") if at.is_file() and at not in made and at.name != "permissions.json"]
    return wrong


def passwords(profile_name: str) -> tuple[str, str]:
    """Secrets with new passwords as one YAML text, and the first operator's API key.

    Raises:
        Misconfigured: this profile is given its secrets.
    """
    profile = load(profile_name)
    if profile.secrets.source == "given":
        raise Misconfigured(f"{profile_name} is given its secrets; make them where your organisation makes secrets")
    key = new_api_key(profile.name, BOOTSTRAP_KEY_ID)
    values: dict[str, dict[str, str]] = {user: {"nats": _password()} for user in nats_permissions()}
    for entry in SERVICES:
        if entry.database:
            values[entry.name]["postgres"] = _password()
    values["postgres"] = {"postgres": _password()}
    values["iam"]["bootstrap-sha256"] = key.sha256
    documents = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"{owner}-passwords", "namespace": f"gpuaas-{profile_name}", "labels": PART_OF},
            "stringData": pairs,
        }
        for owner, pairs in values.items()
    ]
    return yaml_text(*documents), key.text


def _password() -> str:
    """Letters and digits, a letter first: the broker's configuration reads it as it stands."""
    return "p" + hashlib.sha256(secrets.token_bytes(32)).hexdigest()[:40]


def main(arguments: Sequence[str]) -> int:
    """Write, check or make secrets; the exit code."""
    match list(arguments):
        case []:
            for path, text in files().items():
                (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
                (FOLDER / path).write_text(text, "utf-8")
            print(f"wrote {len(files())} files below {FOLDER}")
        case ["--check"]:
            if wrong := differing(FOLDER, files()):
                print(f"not as the table and the profiles say: {', '.join(map(str, wrong))}; run `make manifests`")
                return 1
        case ["--secrets", name]:
            try:
                text, key = passwords(name)
            except Misconfigured as refused:
                print(refused.detail, file=sys.stderr)
                return 1
            print(text, end="")
            print(f"the first operator's API key, shown once: {key}", file=sys.stderr)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
