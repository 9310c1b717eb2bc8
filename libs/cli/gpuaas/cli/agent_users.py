"""Broker users for the agents on machines, one each. One law: what a machine is given can speak for this machine alone.

The rights are a template of the contracts; a node id is one token of a subject and holds no wildcard.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

from gpuaas.common.embedded.nats_server import NatsUser, UserPermissions
from gpuaas.common.errors import Misconfigured
from gpuaas.common.ids import is_name

TEMPLATE: Final = "agent-{node_id}"


def agent_name(node_id: str) -> str:
    """The broker's user of a machine's agent.

    Raises:
        Misconfigured: it is no node id.
    """
    if not is_name(node_id):
        raise Misconfigured(f"{node_id[:80]!r} is no node id; use 1–63 of a–z, 0–9 and inner hyphens")
    return TEMPLATE.format(node_id=node_id)


def agent_rights(node_id: str) -> UserPermissions:
    """What that user may do. Raises Misconfigured: it is no node id."""
    agent_name(node_id)
    text = resources.files("gpuaas.contracts").joinpath("nats_permissions.json").read_text("utf-8")
    rights = json.dumps(json.loads(text)["templates"][TEMPLATE]["permissions"])
    return UserPermissions.parse(json.loads(rights.replace("{node_id}", node_id)))


def write_users(node_ids: Sequence[str], broker: str, folder: Path) -> Path:
    """A user for each machine: `users.json` for the broker's account, and `<node id>.env` for each machine (both 0600).

    A machine that has a user there keeps it. Files of machines that are not named are left alone.

    Args:
        broker: `host:port` that the machines reach.

    Raises:
        Misconfigured: one is no node id.
    """
    names = [agent_name(node_id) for node_id in node_ids]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept = folder / "users.json"
    known: dict[str, dict[str, Any]] = {}
    if kept.exists():
        known = {entry["user"]: entry for entry in json.loads(kept.read_text("utf-8"))}
    for node_id, name in zip(node_ids, names, strict=True):
        if name not in known:
            known[name] = NatsUser(permissions=agent_rights(node_id)).as_config(name)
        url = f"nats://{name}:{known[name]['password']}@{broker}"
        _secretly(folder / f"{node_id}.env", f"GPUAAS_NATS_URL={url}\n")
    _secretly(kept, json.dumps([known[name] for name in sorted(known)], indent=2) + "\n")
    return kept


def _secretly(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    beside.replace(path)
