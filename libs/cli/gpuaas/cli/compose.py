"""`docker-compose.yml` out of the service table. One law: the file is generated, and it contains no secret.

python -m gpuaas.cli.compose            write docker-compose.yml into the working folder
python -m gpuaas.cli.compose --check    fail when the file there is not what the table says
python -m gpuaas.cli.compose --secrets  make the passwords and the broker's user file below .state/compose, once
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from gpuaas.cli.profile import load
from gpuaas.cli.servers import BOOTSTRAP_KEY_ID, PROVISIONER, nats_permissions
from gpuaas.cli.service_table import SERVICES, ServiceEntry
from gpuaas.cli.state import OPERATOR_KEY, Endpoints
from gpuaas.cli.yaml_text import yaml_text
from gpuaas.common.apikeys import new_api_key, read_api_key
from gpuaas.common.embedded.nats_server import (
    ACCOUNT,
    MAX_MEMORY_STORE_BYTES,
    MAX_PAYLOAD_BYTES,
    NatsUser,
    accounts_config,
)
from gpuaas.common.embedded.secrets_file import kept_secret, write_private

FILE: Final = Path("docker-compose.yml")
SECRETS: Final = Path(".state/compose")
PROFILE: Final = "dev"
GIVEN: Final = ("log.sync=always",)
"""What this installation has on top of its profile: it may be somebody's only copy."""
NATS_IMAGE: Final = "nats:2.15"
POSTGRES_IMAGE: Final = "postgres:18"
NATS_PORT: Final = 4222
NATS_MONITOR_PORT: Final = 8222
CAPTION: Final = """\
# Generated from the service table by `make compose`; do not edit.
# The same suite with the official images. One law: it listens on this machine only, and its secrets are not in here.
#   make compose-secrets && docker compose up --build --wait
"""

Tree = dict[str, Any]


def compose_text() -> str:
    """The whole file."""
    document: Tree = {
        "name": "gpuaas",
        "services": {
            "nats": _nats(),
            "postgres": _postgres(),
            "provisioner": _provisioner(),
            **{entry.name: _service(entry) for entry in SERVICES},
        },
        "volumes": {"log": {}, "databases": {}, **{f"{entry.name}-state": {} for entry in SERVICES}},
    }
    return CAPTION + yaml_text(document)


def _nats() -> Tree:
    return {
        "image": NATS_IMAGE,
        "command": ["--config", "/etc/nats/nats.json"],
        "volumes": [f"./{SECRETS}/nats.json:/etc/nats/nats.json:ro", "log:/data"],
        "ports": [_published("nats", NATS_PORT), _published("nats_monitor", NATS_MONITOR_PORT)],
        "restart": "unless-stopped",
        "stop_grace_period": "20s",
    }


def _postgres() -> Tree:
    return {
        "image": POSTGRES_IMAGE,
        "command": ["postgres", "-c", "max_connections=200"],
        "env_file": [f"./{SECRETS}/postgres.env"],
        "volumes": ["databases:/var/lib/postgresql"],
        "restart": "unless-stopped",
        "stop_signal": "SIGINT",
        "stop_grace_period": "20s",
    }


def _provisioner() -> Tree:
    first = SERVICES[0].name
    return {
        "image": f"gpuaas-{first}:local",
        "build": _build(first),
        "entrypoint": ["python", "-m", "gpuaas.common.provision"],
        "env_file": [f"./{SECRETS}/provisioner.env"],
        "environment": {"GPUAAS_PROVISION_SERVICES": ",".join(entry.name for entry in SERVICES if entry.database)},
        "depends_on": {name: {"condition": "service_started"} for name in ("nats", "postgres")},
        "restart": "on-failure:5",
        **_hardened(),
    }


def _service(entry: ServiceEntry) -> Tree:
    question = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{entry.port}/readyz', timeout=4)"
    return {
        "image": f"gpuaas-{entry.name}:local",
        "build": _build(entry.name),
        "env_file": [f"./{SECRETS}/{entry.name}.env"],
        "environment": load(PROFILE, GIVEN).service_environment() | {"GPUAAS_HTTP_PORT": str(entry.port)},
        "ports": [_published(entry.name, entry.port)],
        "volumes": [f"{entry.name}-state:/var/lib/gpuaas"],
        "depends_on": {"provisioner": {"condition": "service_completed_successfully"}},
        "healthcheck": {
            "test": ["CMD", "python", "-c", question],
            "interval": "5s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "60s",
        },
        "restart": "unless-stopped",
        "stop_grace_period": "15s",
        **_hardened(),
    }


def _published(name: str, port: int) -> str:
    """The port on this machine, `GPUAAS_<NAME>_PORT` or the table's, in Compose's spelling."""
    return f"127.0.0.1:${{{_variable(name)}:-{port}}}:{port}"


def _variable(name: str) -> str:
    return f"GPUAAS_{name.upper()}_PORT"


def _build(service: str) -> Tree:
    return {"context": ".", "dockerfile": "deploy/image/Dockerfile", "args": {"SERVICE": service}}


def _hardened() -> Tree:
    return {
        "read_only": True,
        "tmpfs": ["/tmp"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }


def write_secrets(folder: Path) -> list[Path]:
    """Make what the Compose file names below `folder`; existing passwords are kept. Gives the files written."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    users = {
        name: NatsUser(kept_secret(folder / f"{name}.nats"), permissions)
        for name, permissions in nats_permissions().items()
    }
    root = kept_secret(folder / "postgres.password")
    passwords = {entry.name: kept_secret(folder / f"{entry.name}.postgres") for entry in SERVICES if entry.database}
    key = folder / OPERATOR_KEY
    if not key.exists():
        write_private(key, new_api_key(PROFILE, BOOTSTRAP_KEY_ID).text + "\n")
    files = {
        "nats.json": json.dumps(_nats_config(users), indent=1) + "\n",
        "postgres.env": f"POSTGRES_PASSWORD={root}\n",
        "provisioner.env": _provisioner_env(users[PROVISIONER].password, root, passwords),
        "endpoints.json": json.dumps(asdict(_endpoints(folder, list(users))), indent=2) + "\n",
        **{f"{entry.name}.env": _service_env(entry, users, passwords, key) for entry in SERVICES},
    }
    for name, text in files.items():
        write_private(folder / name, text)
    return [folder / name for name in files]


def _nats_config(users: dict[str, NatsUser]) -> Tree:
    log = load(PROFILE, GIVEN).log
    return {
        "server_name": "gpuaas-nats",
        "listen": f"0.0.0.0:{NATS_PORT}",
        "http": f"0.0.0.0:{NATS_MONITOR_PORT}",
        "max_payload": MAX_PAYLOAD_BYTES,
        "jetstream": {
            "store_dir": "/data",
            "max_file_store": log.file_store_mib << 20,
            "max_memory_store": MAX_MEMORY_STORE_BYTES,
            "sync_interval": log.sync,
        },
        "accounts": accounts_config({ACCOUNT: users}),
        "system_account": "SYS",
    }


def _provisioner_env(password: str, root: str, passwords: dict[str, str]) -> str:
    lines = [
        f"GPUAAS_NATS_URL=nats://{PROVISIONER}:{password}@nats:{NATS_PORT}",
        f"GPUAAS_POSTGRES_ADMIN_DSN=postgresql://postgres:{root}@postgres:5432/postgres",
        *(f"GPUAAS_PROVISION_PASSWORD_{name.upper()}={secret}" for name, secret in passwords.items()),
    ]
    return "\n".join(lines) + "\n"


def _service_env(entry: ServiceEntry, users: dict[str, NatsUser], passwords: dict[str, str], key: Path) -> str:
    lines = [
        f"GPUAAS_NATS_URL=nats://{entry.name}:{users[entry.name].password}@nats:{NATS_PORT}",
        f"GPUAAS_NATS_MONITOR_URL=http://nats:{NATS_MONITOR_PORT}",
    ]
    if entry.database:
        role = f"gpuaas_{entry.name}"
        lines.append(f"GPUAAS_POSTGRES_DSN=postgresql://{role}:{passwords[entry.name]}@postgres:5432/{role}")
    if entry.name == "iam":
        first = read_api_key(key.read_text("utf-8").strip())
        lines += [
            f"GPUAAS_IAM_BOOTSTRAP_KEY_SHA256={first.sha256}",
            f"GPUAAS_IAM_BOOTSTRAP_KEY_ID={first.key_id}",
        ]
    return "\n".join(lines) + "\n"


def _endpoints(folder: Path, users: list[str]) -> Endpoints:
    def at(name: str, port: int) -> str:
        return f"127.0.0.1:{os.environ.get(_variable(name)) or port}"

    return Endpoints(
        pid=0,
        profile=PROFILE,
        state_dir=str(folder.absolute()),
        services={entry.name: f"http://{at(entry.name, entry.port)}" for entry in SERVICES},
        nats_url=f"nats://{at('nats', NATS_PORT)}",
        nats_monitor_url=f"http://{at('nats_monitor', NATS_MONITOR_PORT)}",
        nats_password_files={name: str(folder.absolute() / f"{name}.nats") for name in users},
        postgres_url="",
        postgres_password_file=str(folder.absolute() / "postgres.password"),
        operator_key_file=str(folder.absolute() / OPERATOR_KEY),
    )


def main(arguments: list[str]) -> int:
    """Write, check or make secrets; the exit code."""
    match arguments:
        case []:
            FILE.write_text(compose_text(), "utf-8")
            print(f"wrote {FILE}")
        case ["--check"]:
            if not FILE.exists() or FILE.read_text("utf-8") != compose_text():
                print(f"{FILE} is not what the service table says; run `make compose`", file=sys.stderr)
                return 1
        case ["--secrets"]:
            print(*(f"wrote {path}" for path in write_secrets(SECRETS)), sep="\n")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
