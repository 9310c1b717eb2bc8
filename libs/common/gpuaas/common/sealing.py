"""Personal data on an append-only log. One law: it is sealed for one person, and without that person's key it is gone.

Fields that a schema marks as personal do not stand in an event's data: there stands what the schema puts in their
place, and their values are in the envelope's `sealed`, for the key that `sealedby` names. Keys are kept in a `Vault`
outside the log, one per owning service and person. Destroying a key erases what it sealed, wherever copies of the
log are, and changes no byte that a proof is about. A deleted key leaves a mark: a key that is absent without a mark is
a vault that was lost, and is said so, never taken for an erasure.

AES-256-GCM (NIST SP 800-38D) with a random nonce; the event's id, its type and the key's name are authenticated with
it, so that a box cannot be moved to another event. Boxes are padded, so that their length tells little.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from gpuaas.common.errors import Misconfigured, Rejected, Unreadable
from gpuaas.common.events import Event

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
PADDED_TO: Final = 128
"""Bytes: the length of what is sealed is a multiple of this."""
_FIELDS: Final = msgspec.json.Decoder(dict[str, str])
Fact = TypeVar("Fact", bound=Event)


class Destroyed(Exception):
    """This person's key was destroyed; nothing can be sealed or opened for them."""


class Vault(Protocol):
    """Where the keys of one service's data subjects are kept. Both of its makings pass `testing.vault_contract`."""

    async def key_for(self, subject_id: str) -> bytes:
        """The person's key, made now where there is none. Raises Destroyed, Unavailable."""
        ...

    async def keys_of(self, subject_ids: Sequence[str]) -> dict[str, bytes | None]:
        """The keys there are; None for one that was destroyed; a person who never had one is left out."""
        ...

    async def destroy(self, subject_id: str) -> bool:
        """Destroy the key and leave a mark in its place; whether there was a key. Again does nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Box:
    """Sealed values of one event.

    Attributes:
        sealed: base64url of nonce and ciphertext, without padding.
        sealed_by: `<service>/<data subject>`: whose key in whose vault.
    """

    event_id: str
    event_type: str
    sealed: str
    sealed_by: str

    @property
    def subject_id(self) -> str:
        return self.sealed_by.rpartition("/")[2]


class Seals:
    """Seals and opens for one service, with the keys in its vault."""

    def __init__(self, service: str, vault: Vault) -> None:
        self._service = service
        self.vault = vault

    async def seal(self, event: Fact, event_id: str) -> tuple[Fact, Box]:
        """The event as it may stand on the log, and its personal values in a box.

        Raises:
            Rejected: this person's data was erased; nothing more of theirs is taken.
            Unavailable: the vault does not answer.
        """
        subject_id = str(getattr(event, event.DATA_SUBJECT))
        values = {name: getattr(event, name) for name in event.PERSONAL if getattr(event, name) is not None}
        try:
            key = await self.vault.key_for(subject_id)
        except Destroyed as gone:
            raise Rejected(f"the personal data of {subject_id} was erased; nothing more of it is taken") from gone
        by = f"{self._service}/{subject_id}"
        sealed = seal(key, values, bound=_bound(event_id, event.TYPE, by))
        shown = event.model_copy(update={name: event.PERSONAL[name] for name in values})
        return shown, Box(event_id, event.TYPE, sealed, by)

    async def opened(self, boxes: Sequence[Box]) -> list[dict[str, str] | None]:
        """The values in each box, in order; None where the key was destroyed.

        Raises:
            Unreadable: a box that its key does not open, or a key that is absent though nobody destroyed it.
            Unavailable: the vault does not answer.
        """
        wanted = sorted({box.subject_id for box in boxes})
        keys = await self.vault.keys_of(wanted) if wanted else {}
        return [self._open(box, keys) for box in boxes]

    def _open(self, box: Box, keys: dict[str, bytes | None]) -> dict[str, str] | None:
        if box.sealed_by != f"{self._service}/{box.subject_id}" or box.subject_id not in keys:
            raise Unreadable(
                f"the vault of {self._service} has no key {box.sealed_by} and no mark that it was destroyed: restore "
                "the vault from its copy"
            )
        key = keys[box.subject_id]
        return None if key is None else unseal(key, box.sealed, _bound(box.event_id, box.event_type, box.sealed_by))


class NoSeals:
    """Of a service that owns no personal data. One law: what is not sealed is not written."""

    async def seal(self, event: Fact, event_id: str) -> tuple[Fact, Box]:
        """Raises Misconfigured: always."""
        raise Misconfigured(f"{event.TYPE} {event_id} holds personal data and this writer has no vault to seal it with")


def seal(key: bytes, values: dict[str, str], bound: bytes) -> str:
    """The values, sealed and bound to `bound`, as text."""
    plain = msgspec.json.encode(values)
    nonce = os.urandom(NONCE_BYTES)
    padded = plain + b" " * (-len(plain) % PADDED_TO)
    return base64.urlsafe_b64encode(nonce + AESGCM(key).encrypt(nonce, padded, bound)).decode().rstrip("=")


def unseal(key: bytes, sealed: str, bound: bytes) -> dict[str, str]:
    """What `seal` was given. Raises Unreadable: another key, another event, or changed."""
    try:
        box = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
        return _FIELDS.decode(AESGCM(key).decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], bound))
    except (InvalidTag, ValueError, binascii.Error, msgspec.DecodeError) as wrong:
        raise Unreadable("a box of personal data is not what its key sealed for this event") from wrong


def _bound(event_id: str, event_type: str, sealed_by: str) -> bytes:
    return "\n".join(("gpuaas-sealed/v1", event_id, event_type, sealed_by)).encode()
