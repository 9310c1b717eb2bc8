"""Who may do what, in one process: 100,000 people in 100 tenants. One law: the fold begins at the stored bytes.

The people are spread over four projects of each tenant and four of the suite's own roles; each has an API key and one
binding: 300,000 events.
"""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

import msgspec
from gpuaas.common.access import Access, Principal, Scope
from gpuaas.common.envelope import Fact, Recorded, encode
from gpuaas.common.events import Vocabulary
from gpuaas.common.projections import decoded
from gpuaas.common.testing.identity import Identity
from gpuaas.common.testing.stack import TestStack
from gpuaas.common.tokens import audience_of, sign
from gpuaas.iam.domain.built_in_roles import BUILT_IN

from tests.bench.rows import Row, at_least, beside, no_more, rates_in_turn

USERS: Final = 100_000
TENANTS: Final = 100
PROJECTS: Final = ("vision", "speech", "science", "serving")
ROLES: Final = ("viewer", "member", "project-admin", "auditor")
BATCH: Final = 1_000
CHECKS_PER_BLOCK: Final = 20_000
TOKENS_PER_BLOCK: Final = 250
BLOCKS: Final = 7
Asked = tuple[Principal, str, Scope]


def user(number: int) -> str:
    return f"user-{number:06d}"


def home(number: int) -> tuple[str, str, str]:
    """Tenant, project and role of a person."""
    return f"tenant-{number % TENANTS:03d}", PROJECTS[number // TENANTS % 4], ROLES[number // (TENANTS * 4) % 4]


@dataclass(slots=True)
class World:
    """Everything iam has said, as it stands in the log, and what one process knows of it."""

    identity: Identity = field(default_factory=Identity)
    access: Access = field(default_factory=lambda: Access("dev"))
    fold_s: float = 0.0
    parse_s: float = 0.0

    def __post_init__(self) -> None:
        identity = self.identity
        for name, role in BUILT_IN.items():
            identity.role(name, *role.permissions)
        for number in range(TENANTS):
            identity.tenant(f"tenant-{number:03d}", *PROJECTS)
        for fact in identity.facts:
            self.access.apply(fact)
        self._fold_users()

    def _fold_users(self) -> None:
        """Decode and fold in the batches a reader gets; only that is timed, and a bare parse of the same bytes."""
        vocabulary, parse = Vocabulary(*Access.READS), msgspec.json.Decoder()
        for batch in self._batches():
            began = time.perf_counter()
            for fact in decoded(vocabulary, batch):
                self.access.apply(fact)
            folded = time.perf_counter()
            for recorded in batch:
                parse.decode(recorded.payload)
            self.fold_s += folded - began
            self.parse_s += time.perf_counter() - folded

    def _batches(self) -> Iterator[list[Recorded]]:
        """Three events a person, copied from those that `Identity` says of one."""
        identity, position = self.identity, len(self.identity.facts)
        identity.user("the-user")
        binding = identity.bind("the-user", "the-role", "the-tenant", "the-project", kind="user")
        templates = [(fact, encode(fact.envelope)) for fact in identity.facts[-3:]]
        batch: list[Recorded] = []
        for number in range(USERS):
            tenant, project, role = home(number)
            words = [("the-user", user(number)), (binding, f"b-{number}"), ("the-tenant", tenant)]
            words += [("the-project", project), ("the-role", role)]
            for fact, payload in templates:
                position += 1
                batch.append(_copied(fact, payload, words, position, identity.now))
            if len(batch) >= BATCH:
                yield batch
                batch = []
        yield batch


def _copied(fact: Fact, payload: bytes, words: list[tuple[str, str]], position: int, at: datetime) -> Recorded:
    subject = fact.subject
    for old, new in words:
        payload = payload.replace(old.encode(), new.encode())
        subject = subject.replace(old, new)
    return Recorded(position, subject, fact.envelope.type, payload, at)


async def access(_: TestStack) -> list[Row]:
    """The cold fold, checks with a set lookup beside them, and tokens with a bare signature check beside them."""
    world = World()
    fold_rate, parse_rate = 3 * USERS / world.fold_s, 3 * USERS / world.parse_s
    return [
        Row("access, 300,000 events folded from their bytes", world.fold_s, "s"),
        beside("access fold against a bare JSON parse", fold_rate, "events/s", parse_rate),
        *_checks(world),
        *_tokens(world),
    ]


def _checks(world: World) -> list[Row]:
    asked = _questions()
    rights = {_key(*each) for each, allowed in asked if allowed}
    now = datetime.now(UTC)

    def ours(block: int) -> int:
        for (principal, permission, scope), _ in asked[block::BLOCKS]:
            world.access.check(principal, permission, scope, now)
        return len(asked[block::BLOCKS])

    def plain(block: int) -> int:
        for each, _ in asked[block::BLOCKS]:
            _key(*each) in rights  # noqa: B015
        return len(asked[block::BLOCKS])

    for each, allowed in asked:
        assert world.access.check(*each, now).allowed is allowed, each
    checks, lookups = rates_in_turn(ours, plain, blocks=BLOCKS)
    return [
        no_more("access check", 1e6 / checks, "µs", 20, 1e6 / lookups),
        at_least("access checks", checks, "checks/s", 50_000, lookups),
    ]


def _key(principal: Principal, permission: str, scope: Scope) -> tuple[str, str, str | None, str | None]:
    return (principal.id, permission, scope.tenant_id, scope.project_id)


def _questions() -> list[tuple[Asked, bool]]:
    """Of ten questions eight are allowed, one is beyond the role, one is about another tenant."""
    dice = random.Random(11)
    asked: list[tuple[Asked, bool]] = []
    for number in (dice.randrange(USERS) for _ in range(CHECKS_PER_BLOCK * BLOCKS)):
        tenant, project, _ = home(number)
        kind = dice.randrange(10)
        permission = "billing.price-book.publish" if kind == 8 else "allocations.allocation.read"
        where = Scope(tenant if kind != 9 else f"tenant-{(number + 1) % TENANTS:03d}", project)
        asked.append(((_principal(number), permission, where), kind < 8))
    return asked


def _principal(number: int) -> Principal:
    name = user(number)
    return Principal(name, "user", "platform", f"{name}-user-key", "", "token", datetime.now(UTC))


def _tokens(world: World) -> list[Row]:
    """Each block takes tokens never seen before, then the same again."""
    identity, public = world.identity, world.identity.private.public_key()
    spoken = identity.claims("the-user", "user")
    tokens: list[str] = []
    for number in range(TOKENS_PER_BLOCK * BLOCKS):
        name = user(number)
        claims = replace(spoken, subject=name, key_id=f"{name}-user-key", token_id=f"s{number}")
        tokens.append(sign(claims, identity.private, identity.signing_key_id, audience_of("dev")))
    now = datetime.now(UTC)
    signed = [_parts(token) for token in tokens]

    def of_block(block: int) -> slice:
        return slice(block * TOKENS_PER_BLOCK, (block + 1) * TOKENS_PER_BLOCK)

    def signature(block: int) -> int:
        for text, value in signed[of_block(block)]:
            public.verify(value, text)
        return TOKENS_PER_BLOCK

    def believed(block: int) -> int:
        for token in tokens[of_block(block)]:
            world.access.authenticate(token, now)
        return TOKENS_PER_BLOCK

    bare, first, again = rates_in_turn(signature, believed, believed, blocks=BLOCKS)
    return [
        beside("token, seen for the first time, against its signature alone", 1e6 / first, "µs", 1e6 / bare),
        beside("token, seen before, against its signature alone", 1e6 / again, "µs", 1e6 / bare),
    ]


def _parts(token: str) -> tuple[bytes, bytes]:
    """What is signed, and the signature."""
    text, _, signature = token.rpartition(".")
    return text.encode(), base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
