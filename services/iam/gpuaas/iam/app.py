"""Where iam is put together. One law: only this file knows an address."""

from __future__ import annotations

from gpuaas.common.clock import WallClock
from gpuaas.common.service import Service, run
from gpuaas.iam import api
from gpuaas.iam.adapters.key_file import KeyFile
from gpuaas.iam.bootstrap import Bootstrap
from gpuaas.iam.entities import SERVICE
from gpuaas.iam.parts import API_KEYS, PROJECTIONS, Parts
from gpuaas.iam.reactions import Erasing
from gpuaas.iam.settings import IamSettings
from gpuaas.iam.signing import Signer


def build(settings: IamSettings) -> Service:
    """The service, not yet started. Credentials live in real time, whatever the world's clock does."""
    service, clock = Service(SERVICE, settings), WallClock()
    store = KeyFile(settings.signing_keys_file, may_change=not settings.durable)
    signer = Signer(store, service.commands, clock, settings.profile)
    seals = service.seal_personal_data()
    service.prepare(Bootstrap(service.commands, signer, clock, settings).run)
    erasing = Erasing(service.commands, seals.vault)
    # A vault restored from a copy may hold keys that were destroyed since: they go before anything is opened.
    service.prepare(lambda: erasing.again(service.log))
    service.project(*PROJECTIONS)
    service.react(erasing)
    service.background("signing keys", signer.keep_fresh)
    parts = Parts(
        profile=settings.profile,
        commands=service.commands,
        database=service.database,
        access=service.access,
        log=service.log,
        access_reader=service.access_reader,
        api_keys_reader=service.reader(API_KEYS),
        clock=clock,
        signer=signer,
        seals=seals,
    )
    service.serve(api.router(parts))
    return service


def main() -> None:
    """Run until told to stop."""
    run(build, IamSettings)


if __name__ == "__main__":
    main()
