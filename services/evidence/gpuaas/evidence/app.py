"""Where evidence is put together. One law: only this file knows an address or a path."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from gpuaas.common.explaining import who_can
from gpuaas.common.scopes import Scope
from gpuaas.common.service import Service, run
from gpuaas.evidence import api
from gpuaas.evidence.adapters.commands import LocalCommands
from gpuaas.evidence.adapters.ed25519 import PublicKey, key_id_of, open_key, specimen_signers
from gpuaas.evidence.adapters.files import FileArtefacts
from gpuaas.evidence.adapters.live_state import HttpInstallation
from gpuaas.evidence.domain.specimens import Specimens
from gpuaas.evidence.entities import SERVICE
from gpuaas.evidence.gathering import Gatherer, Views
from gpuaas.evidence.keeping import Gatekeeper
from gpuaas.evidence.notary import Notary
from gpuaas.evidence.ports import ArtefactStore
from gpuaas.evidence.projections.claims import Claims
from gpuaas.evidence.projections.control_runs import ControlRuns
from gpuaas.evidence.projections.gates import Gates
from gpuaas.evidence.projections.releases import Releases
from gpuaas.evidence.projections.requirements import Requirements
from gpuaas.evidence.projections.waivers import Waivers
from gpuaas.evidence.reactions import ReadBackNewClaims, ReviewPassedGates
from gpuaas.evidence.reading import ClaimReader
from gpuaas.evidence.settings import EvidenceSettings

RIGHTS_WATCHED: Final = (
    "evidence.claim.submit",
    "evidence.gate.decide",
    "evidence.requirement.publish",
    "evidence.waiver.approve",
    "iam.binding.create",
)
"""Permissions on the platform whose holders are part of the live state."""
_log = logging.getLogger(__name__)


def build(settings: EvidenceSettings) -> Service:
    """The service, not yet started. Raises Misconfigured: no usable signing key or list of procedures."""
    service = Service(SERVICE, settings)
    store = FileArtefacts(settings.artefacts_dir, artefact_bytes_max=settings.evidence_artefact_bytes_max)
    key = open_key(settings.signing_key, make_if_absent=settings.makes_keys)
    public_keys = {key_id_of(public): public for public in (key.public_key, *settings.trusted_keys())}
    trusted = {key_id: PublicKey(public).check for key_id, public in public_keys.items()}
    views = Views(Requirements(), Claims(), Releases(), Waivers(), ControlRuns(), Gates())
    every_view = (views.requirements, views.claims, views.releases, views.waivers, views.controls, views.gates)
    service.project(*every_view)

    async def caught_up() -> int:
        position = await service.log.last_position()
        readers = [service.reader(view) for view in every_view]
        await asyncio.gather(*(reader.reached(position, settings.ready_timeout_s) for reader in readers))
        return position

    def holders() -> Mapping[str, Iterable[str]]:
        now = datetime.now(UTC)
        found = {name: who_can(service.access.rights, name, Scope(), now) for name in RIGHTS_WATCHED}
        return {name: [f"{kind}/{principal}" for kind, principal in who] for name, who in found.items()}

    notary = Notary(store, {key.key_id: key.sign})
    procedures = LocalCommands(settings.evidence_procedures)
    installation = HttpInstallation(settings.services(), holders)
    reader = ClaimReader(service.commands, store, service.clock, notary, procedures, installation)
    gatherer = Gatherer(store, service.clock, service.database, views, caught_up, trusted)
    specimens = Specimens(*specimen_signers())
    keeper = Gatekeeper(service.commands, store, service.clock, gatherer, notary, specimens)
    service.react(
        ReadBackNewClaims(reader),
        ReviewPassedGates(keeper, service.database, views.claims, views.waivers, caught_up),
    )
    desk = api.Desk(
        commands=service.commands,
        database=service.database,
        clock=service.clock,
        store=store,
        views=views,
        reader=reader,
        keeper=keeper,
        notary=notary,
        procedures=procedures,
        installation=installation,
        public_keys=public_keys,
        artefact_bytes_max=settings.evidence_artefact_bytes_max,
        upload_timeout_s=settings.evidence_upload_timeout_s,
    )
    service.serve(api.router(desk), streamed=[api.ARTEFACTS_PATH])
    service.background("scrub", lambda: scrub_for_ever(store, keeper, reader, settings.evidence_scrub_interval_s))
    service.background("look-again", lambda: look_for_ever(keeper, reader, settings))
    return service


async def look_for_ever(keeper: Gatekeeper, reader: ClaimReader, settings: EvidenceSettings) -> None:
    """Run the negative controls when they are due, and judge again what has passed."""
    while True:
        await keeper.run_controls_if_due(timedelta(seconds=settings.evidence_controls_interval_s))
        await keeper.look_again(reader)
        await asyncio.sleep(settings.evidence_look_again_interval_s)


async def scrub_for_ever(store: ArtefactStore, keeper: Gatekeeper, reader: ClaimReader, interval_s: float) -> None:
    """Read the whole store again now and then; what is damaged is no evidence from that moment on."""
    while True:
        await asyncio.sleep(interval_s)
        async for damage in store.scrub():
            _log.error("the artefact %s is damaged: its bytes hash to %s", damage.sha256, damage.found_sha256)
            await keeper.tell_damage(damage.sha256, reader)


def main() -> None:
    """Entry point `gpuaas-evidence`."""
    run(build, EvidenceSettings)


if __name__ == "__main__":
    main()
