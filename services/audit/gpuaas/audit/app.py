"""Where audit is put together. One law: only this file knows an address or a path."""

from __future__ import annotations

from gpuaas.audit import api
from gpuaas.audit.adapters.heads import Heads
from gpuaas.audit.adapters.key_file import Ed25519Key, secret_in
from gpuaas.audit.domain.checkpoints import LogKey
from gpuaas.audit.projections.audit_trail import AuditTrail
from gpuaas.audit.reactions import SERVICE, Sealing, Watching, forever
from gpuaas.audit.settings import AuditSettings
from gpuaas.common.service import Service, run


def build(settings: AuditSettings) -> Service:
    """The service, not yet started. Raises Misconfigured: no usable key, or no name for the log."""
    service = Service(SERVICE, settings)
    may_create = not settings.durable
    key = LogKey(settings.log_name, Ed25519Key(secret_in(settings.signing_key_file, may_create=may_create)))
    map_secret = secret_in(settings.map_secret_file, may_create=may_create)
    trail = AuditTrail()
    heads = Heads(service.database, service.log)
    sealing = Sealing(service.database, service.commands, heads, key, map_secret, trail.name)
    watching = Watching(service.log, service.database, service.commands, trail.name, settings.audit_watch_window)
    service.project(trail)
    service.prepare(heads.open)
    service.background("sealing", lambda: forever(sealing.seal, settings.audit_seal_interval_s))
    service.background("watching", lambda: forever(watching.look, settings.audit_watch_interval_s))
    service.serve(api.router(api.Desk(service.database, service.commands, heads, key, map_secret, trail)))
    return service


def main() -> None:
    """The process."""
    run(build, AuditSettings)
