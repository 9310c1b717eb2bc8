"""One right granted and revoked at the same moment, by two processes. One law: all of them come to one answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from gpuaas.common.access import Access, Scope
from gpuaas.common.embedded.process import free_port
from gpuaas.common.events import Vocabulary
from gpuaas.common.ids import new_id
from gpuaas.common.projections import decoded
from gpuaas.common.testing.running import eventually, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.iam.app import build
from gpuaas.iam.settings import IamSettings
from iam_door import Iam, started

ACME = "/v1/tenants/acme"
RACERS, ROUNDS = 3, 3
WHY = {"reason": "a race"}


async def test_racing_grants_and_revocations_of_one_right_end_alike_in_every_process(
    stack: TestStack, tmp_path: Path
) -> None:
    async with started(stack, tmp_path) as one:
        await one.tenant("acme", "vision")
        account = await one.account(ACME)
        beside = one.service.settings.model_copy(update={"http_port": free_port()})
        assert isinstance(beside, IamSettings)
        second = build(beside)
        async with running(second) as client:
            two = Iam(second, client, one.first_key)
            answers = await asyncio.gather(*(raced(each, account) for each in (one, two) for _ in range(RACERS)))
            granted = [binding for bindings, _ in answers for binding in bindings]
            ended = [binding for _, bindings in answers for binding in bindings]
            assert len(granted) == len(set(granted)) == 2 * RACERS * ROUNDS
            assert len(ended) == len(set(ended)), "each binding was ended once, for one of those who tried"
            standing = set(granted) - set(ended)
            assert standing
            assert await held(one, account) == await held(two, account) == standing
            await both_end_it_all(one, two, standing)
            assert await held(one, account) == await held(two, account) == set()
            assert await folded(one, account) == set()


async def raced(iam: Iam, account: str) -> tuple[list[str], list[str]]:
    """Give the same right again and again, and take away whatever stands, also what others gave; what succeeded."""
    granted, ended = [], []
    for turn in range(ROUNDS):
        body = {"principal_kind": "service-account", "principal_id": account, "role": "viewer"} | WHY
        granted.append(str((await asked(iam, f"{ACME}/bindings", body)).json()["id"]))
        if turn == ROUNDS - 1:
            continue
        ended += [binding for binding in sorted(standing_in(iam, account)) if await ends(iam, binding)]
    return granted, ended


async def ends(iam: Iam, binding: str) -> bool:
    """Whether it was this end that ended it."""
    return bool((await asked(iam, f"{ACME}/bindings/{binding}/end", WHY)).status_code == 200)


async def asked(iam: Iam, path: str, body: dict[str, Any]) -> Any:
    """One order with a key of its own, so that asking again is safe; only a refusal for another's end is expected."""
    answer = await iam.ask("POST", path, json=body, headers={"Idempotency-Key": new_id()})
    assert answer.status_code in (200, 201, 409), answer.text
    return answer


async def both_end_it_all(one: Iam, two: Iam, standing: set[str]) -> None:
    """Both processes end every binding at the same moment: one of the two does."""
    for binding in standing:
        path = f"{ACME}/bindings/{binding}/end"
        answers = await asyncio.gather(*(asked(each, path, WHY) for each in (one, two)))
        assert sorted(each.status_code for each in answers) == [200, 409]


def standing_in(iam: Iam, account: str) -> set[str]:
    grants = iam.service.access.rights.own_grants(("service-account", account))
    return {grant.binding_id for grant in grants}


async def held(iam: Iam, account: str) -> set[str]:
    """What a process enforces, once it has read all there is."""
    newest = await iam.service.log.newest(Vocabulary(*Access.READS).subjects())

    async def has_read() -> bool:
        return iam.service.access_reader.position >= newest

    await eventually(has_read)
    found = standing_in(iam, account)
    may = bool(list(iam.service.access.rights.grants_over(("service-account", account), Scope("acme"))))
    assert may == bool(found)
    return found


async def folded(iam: Iam, account: str) -> set[str]:
    """What the log alone says."""
    access, vocabulary = Access("dev"), Vocabulary(*Access.READS)
    for position in range(1, await iam.service.log.last_position() + 1):
        recorded = await iam.service.log.at(position)
        assert recorded is not None
        for fact in decoded(vocabulary, [recorded]):
            access.apply(fact)
    return {grant.binding_id for grant in access.rights.own_grants(("service-account", account))}
