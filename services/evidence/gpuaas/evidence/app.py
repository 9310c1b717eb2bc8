"""Where evidence is put together. One law: only this file knows an address or a path."""

from __future__ import annotations

import asyncio
import logging

from gpuaas.common.service import Service, run
from gpuaas.evidence import api
from gpuaas.evidence.adapters.ed25519 import PublicKey, key_id_of, open_key
from gpuaas.evidence.adapters.files import FileArtefacts
from gpuaas.evidence.ports import ArtefactStore
from gpuaas.evidence.projections.claims import Claims
from gpuaas.evidence.projections.gates import Gates
from gpuaas.evidence.projections.requirements import Requirements
from gpuaas.evidence.reactions import SERVICE, ClaimReader, Gatekeeper, ReadBackNewClaims, ReviewPassedGates
from gpuaas.evidence.settings import EvidenceSettings

_log = logging.getLogger(__name__)


def build(settings: EvidenceSettings) -> Service:
    """The service, not yet started. Raises Misconfigured: no usable signing key."""
    service = Service(SERVICE, settings)
    store = FileArtefacts(settings.artefacts_dir, artefact_bytes_max=settings.evidence_artefact_bytes_max)
    key = open_key(settings.signing_key, make_if_absent=settings.makes_keys)
    public_keys = {key_id_of(public): public for public in (key.public_key, *settings.trusted_keys())}
    trusted = {key_id: PublicKey(public).check for key_id, public in public_keys.items()}
    requirements, claims, gates = Requirements(), Claims(), Gates()
    service.project(requirements, claims, gates)

    async def caught_up() -> None:
        position = await service.log.last_position()
        views = (requirements, claims, gates)
        await asyncio.gather(*(service.reader(view).reached(position, settings.ready_timeout_s) for view in views))

    reader = ClaimReader(service.commands, store, service.clock)
    keeper = Gatekeeper(
        service.commands, store, service.clock, service.database, (requirements, claims), caught_up, trusted
    )
    service.react(ReadBackNewClaims(reader), ReviewPassedGates(keeper, service.database, claims, gates, caught_up))
    desk = api.Desk(
        commands=service.commands,
        database=service.database,
        clock=service.clock,
        store=store,
        requirements=requirements,
        claims=claims,
        gates=gates,
        reader=reader,
        keeper=keeper,
        signers={key.key_id: key.sign},
        public_keys=public_keys,
        artefact_bytes_max=settings.evidence_artefact_bytes_max,
        upload_timeout_s=settings.evidence_upload_timeout_s,
    )
    service.serve(api.router(desk), streamed=[api.ARTEFACTS_PATH])
    service.background("scrub", lambda: scrub_for_ever(store, settings.evidence_scrub_interval_s))
    return service


async def scrub_for_ever(store: ArtefactStore, interval_s: float) -> None:
    """Read the whole store again now and then, and name what is damaged in the service's log."""
    while True:
        await asyncio.sleep(interval_s)
        async for damage in store.scrub():
            _log.error("the artefact %s is damaged: its bytes hash to %s", damage.sha256, damage.found_sha256)


def main() -> None:
    """Entry point `gpuaas-evidence`."""
    run(build, EvidenceSettings)


if __name__ == "__main__":
    main()
