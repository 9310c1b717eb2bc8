"""Where iam is put together. One law: only this file knows an address."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Final

from gpuaas.common.clock import Clock, WallClock
from gpuaas.common.service import Service, run
from gpuaas.iam import api
from gpuaas.iam.adapters.argon2id import Argon2id
from gpuaas.iam.adapters.kept_sign_ins import DirectoryNames, KeptIdentities, SignInsUnderWay
from gpuaas.iam.adapters.kept_tables import DeviceRequests, Passwords, RefreshTokens, forget_expired, make_tables
from gpuaas.iam.adapters.key_file import KeyFile
from gpuaas.iam.adapters.openid import OpenId
from gpuaas.iam.adapters.subject_tokens import UsedTokens
from gpuaas.iam.bootstrap import Bootstrap
from gpuaas.iam.directories import Directories
from gpuaas.iam.entities import SERVICE
from gpuaas.iam.exchanging import Exchanging
from gpuaas.iam.failures import Failures
from gpuaas.iam.key_uses import KeyUses
from gpuaas.iam.parts import API_KEYS, DIRECTORY, PRINCIPALS, PROJECTIONS, Parts
from gpuaas.iam.reactions import EndedWorkloads, Erasing
from gpuaas.iam.settings import IamSettings
from gpuaas.iam.signing import Signer
from gpuaas.iam.signing_in import SigningIn
from gpuaas.iam.vouched_people import VouchedPeople

FORGET_EVERY_S: Final = 300.0


def build(settings: IamSettings) -> Service:
    """The service, not yet started. Credentials live in real time, whatever the world's clock does."""
    service, clock = Service(SERVICE, settings), WallClock()
    store = KeyFile(settings.signing_keys_file, may_change=not settings.durable)
    signer = Signer(store, service.commands, clock, settings.profile)
    seals = service.seal_personal_data()
    service.prepare(Bootstrap(service.commands, signer, clock, settings).run)
    service.prepare(partial(make_tables, service.database))
    erasing = Erasing(service.commands, seals.vault, Passwords(service.database))
    # A vault restored from a copy may hold keys that were destroyed since: they go before anything is opened.
    service.prepare(lambda: erasing.again(service.log))
    service.project(*PROJECTIONS)
    service.react(erasing)
    service.background("signing keys", signer.keep_fresh)
    signing_in = SigningIn(
        commands=service.commands,
        access=service.access,
        access_reader=service.access_reader,
        clock=clock,
        signer=signer,
        refresh_tokens=RefreshTokens(service.database),
        life=timedelta(hours=settings.iam_session_hours),
    )
    failures = Failures(service.commands, clock)
    service.background("failed sign-ins", failures.keep_telling)
    key_uses = KeyUses(service.commands, clock)
    service.background("last uses of API keys", key_uses.keep_telling)
    service.background("expired secrets", partial(_forget_expired, service, clock))
    openid = OpenId(clock, settings.iam_provider_secrets_file, outside=settings.outside)
    service.react(EndedWorkloads(service.commands, service.access, clock))
    parts = Parts(
        profile=settings.profile,
        commands=service.commands,
        database=service.database,
        access=service.access,
        log=service.log,
        access_reader=service.access_reader,
        api_keys_reader=service.reader(API_KEYS),
        principals_reader=service.reader(PRINCIPALS),
        directory_reader=service.reader(DIRECTORY),
        clock=clock,
        signer=signer,
        seals=seals,
        signing_in=signing_in,
        passwords=Passwords(service.database),
        argon2id=Argon2id(),
        devices=DeviceRequests(service.database),
        openid=openid,
        vouched=VouchedPeople(service.commands, service.access, KeptIdentities(service.database)),
        under_way=SignInsUnderWay(service.database),
        directories=Directories(
            commands=service.commands,
            access=service.access,
            clock=clock,
            names=DirectoryNames(service.database),
            signing_in=signing_in,
        ),
        failures=failures,
        key_uses=key_uses,
        exchanging=_exchanging(service, clock, signer, openid),
        passwords_allowed=settings.passwords_allowed,
        public_url=settings.public_url,
        plain_http=not settings.durable,
    )
    service.serve(api.router(parts))
    return service


def _exchanging(service: Service, clock: Clock, signer: Signer, openid: OpenId) -> Exchanging:
    return Exchanging(
        profile=service.settings.profile,
        commands=service.commands,
        access=service.access,
        log=service.log,
        clock=clock,
        signer=signer,
        openid=openid,
        used=UsedTokens(service.database),
    )


async def _forget_expired(service: Service, clock: Clock) -> None:
    while True:
        await forget_expired(service.database, clock.now())
        await asyncio.sleep(FORGET_EVERY_S)


def main() -> None:
    """Run until told to stop."""
    run(build, IamSettings)


if __name__ == "__main__":
    main()
