"""A signing key: what tokens are checked with. One law: only the public half is ever said, and it ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import SigningKeyPublished
from gpuaas.iam.domain.names import identifier

LIFE_MAX: Final = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class PublishSigningKey:
    """`public_key`: 32 raw bytes in base64url without padding. Times are real time."""

    key_id: str
    public_key: str
    valid_from: datetime
    valid_until: datetime


@dataclass(frozen=True, slots=True)
class Unknown:
    """Not published."""


@dataclass(frozen=True, slots=True)
class Published:
    """Every service knows it."""

    key_id: str
    public_key: str
    valid_from: datetime
    valid_until: datetime


SigningKey = Unknown | Published


def decide(command: PublishSigningKey, key: SigningKey) -> list[Event]:
    match key, command:
        case Unknown(), PublishSigningKey() as ask:
            if not ask.valid_from < ask.valid_until <= ask.valid_from + LIFE_MAX:
                raise Invalid(f"a signing key is valid for more than nothing and at most {LIFE_MAX.days} days")
            return [
                SigningKeyPublished(
                    key_id=identifier(ask.key_id, "signing key id"),
                    algorithm="Ed25519",
                    public_key=ask.public_key,
                    valid_from=ask.valid_from,
                    valid_until=ask.valid_until,
                )
            ]
        case Published() as known, PublishSigningKey() as ask if known.public_key == ask.public_key:
            return []
        case _:
            raise Rejected(f"signing key {command.key_id} was published with another public key")


def evolve(key: SigningKey, event: Event) -> SigningKey:
    match event:
        case SigningKeyPublished() as published:
            return Published(
                key_id=published.key_id,
                public_key=published.public_key,
                valid_from=published.valid_from,
                valid_until=published.valid_until,
            )
        case _:
            raise Unreadable(f"the history of a signing key cannot hold {event.TYPE}")


SIGNING_KEY: Final[Decider[SigningKey, PublishSigningKey]] = Decider(initial=Unknown(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(SigningKeyPublished)
