"""Where audit is put together. One law: only this file knows an address or a path."""

from __future__ import annotations

import time
from base64 import b64decode

from gpuaas.audit import api
from gpuaas.audit.adapters.heads import Heads
from gpuaas.audit.adapters.http_witness import HttpWitness
from gpuaas.audit.adapters.key_file import Ed25519Key, secret_in, verifies
from gpuaas.audit.adapters.local_witness import LocalWitness
from gpuaas.audit.adapters.watch_memory import WatchMemory
from gpuaas.audit.adapters.witnesses import Witnesses
from gpuaas.audit.desk import Desk
from gpuaas.audit.domain.checkpoints import LogKey
from gpuaas.audit.domain.witnessing import COSIGNATURE
from gpuaas.audit.entities import SERVICE
from gpuaas.audit.ports import Witness
from gpuaas.audit.projections.audit_trail import AuditTrail, make_indexes
from gpuaas.audit.reactions import Certifying, Sealing, announce_key
from gpuaas.audit.settings import AuditSettings
from gpuaas.audit.watching import Watching, forever
from gpuaas.common.errors import Misconfigured
from gpuaas.common.service import Service, run


def build(settings: AuditSettings) -> Service:
    """The service, not yet started. Raises Misconfigured: no usable key, or no name for the log."""
    service = Service(SERVICE, settings)
    may_create = not settings.durable
    before = settings.previous_signing_key_file
    key = LogKey(
        settings.log_name,
        Ed25519Key(secret_in(settings.signing_key_file, may_create=may_create)),
        None if before is None else Ed25519Key(secret_in(before, may_create=False)),
    )
    map_secret = secret_in(settings.map_secret_file, may_create=may_create)
    trail = AuditTrail()
    heads = Heads(service.database, service.log)
    members = [*_local_witnesses(settings, key), *_remote_witnesses(settings)]
    quorum = settings.audit_witness_quorum or len(members) // 2 + 1
    witnesses = Witnesses(service.database, heads, members, quorum, settings.audit_witness_timeout_s)
    memory = WatchMemory(service.database, service.log, trail.name)
    watching = Watching(
        service.log,
        service.database,
        service.commands,
        trail.name,
        memory,
        settings.audit_watch_window,
        settings.audit_watch_pass_s,
    )
    sealing = Sealing(service.database, service.commands, heads, key, map_secret, trail.name, watching, witnesses)
    service.project(trail)
    service.react(Certifying(service.database, service.commands, key))
    service.prepare(lambda: announce_key(service.commands, key))
    service.prepare(heads.open)
    service.prepare(memory.open)
    service.background("sealing", lambda: forever(sealing.seal, settings.audit_seal_interval_s))
    service.background("watching", lambda: forever(watching.look, settings.audit_watch_interval_s, watching.wake))
    service.prepare(lambda: make_indexes(service.database))
    desk = Desk(
        database=service.database,
        commands=service.commands,
        heads=heads,
        key=key,
        map_secret=map_secret,
        trail=trail,
        witnesses=witnesses,
        clock=service.clock,
        log=service.log,
        watching=watching,
    )
    service.serve(api.router(desk))
    return service


def _local_witnesses(settings: AuditSettings, key: LogKey) -> list[Witness]:
    folder = settings.state_dir / "witnesses"
    return [
        LocalWitness(
            name=f"{key.log}/witness-{number}",
            key=Ed25519Key(secret_in(folder / f"witness-{number}.key", may_create=not settings.durable)),
            memory=folder / f"witness-{number}.sqlite3",
            keys_of=key.keys_of,
            verifies=verifies,
            now_s=lambda: int(time.time()),
        )
        for number in range(1, settings.local_witness_count + 1)
    ]


def _remote_witnesses(settings: AuditSettings) -> list[Witness]:
    if settings.audit_witnesses is None:
        return []
    found: list[Witness] = []
    for line in settings.audit_witnesses.read_text("utf-8").splitlines():
        match line.split():
            case ["witness", _, vkey, url]:
                name, _, material = vkey.split("+", 2)
                kind, public_key = b64decode(material)[:1], b64decode(material)[1:]
                if kind != COSIGNATURE or len(public_key) != 32:
                    raise Misconfigured(f"the key of the witness {name} is not one for cosignatures (type 0x04)")
                found.append(HttpWitness(name, public_key, url, settings.audit_witness_timeout_s))
            case [] | ["#", *_]:
                continue
            case _:
                raise Misconfigured(f"{line[:80]!r}: write a witness as `witness <name> <verifier key> <url>`")
    return found


def main() -> None:
    """The process."""
    run(build, AuditSettings)
