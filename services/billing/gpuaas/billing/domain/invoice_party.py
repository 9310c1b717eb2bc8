"""Who stands on invoices as seller or buyer. One law: what was set stays; setting again is for later invoices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid
from gpuaas.common.events import Event
from gpuaas.contracts.billing import InvoicePartySet

_IBAN_REST: Final = 97


@dataclass(frozen=True, slots=True)
class Party:
    """A company as it stands on an invoice. Empty text: not told."""

    legal_name: str = ""
    street: str = ""
    city: str = ""
    postal_code: str = ""
    country: str = ""
    vat_id: str = ""
    registration_id: str = ""
    buyer_reference: str = ""
    iban: str = ""


@dataclass(frozen=True, slots=True)
class SetParty:
    """Order what a tenant (or `platform`, who sells) is called on invoices from now on."""

    tenant_id: str
    party: Party


def party_fields(party: Party) -> dict[str, Any]:
    """What was told of a party, by name."""
    named = {name: getattr(party, name) for name in Party.__dataclass_fields__}
    return {name: value for name, value in named.items() if value}


def decide(command: SetParty, state: Party) -> list[Event]:
    """The party as it is now, or a refusal; the same again says nothing new."""
    party = command.party
    if party.vat_id and not party.vat_id[:2].isalpha():
        raise Invalid(f"{party.vat_id} is no VAT identifier: it begins with its country's two letters")
    if party.iban and not _is_iban(party.iban):
        raise Invalid(f"{party.iban} is no IBAN: its check digits do not fit; look for a mistyped digit")
    if party == state:
        return []
    return [InvoicePartySet(tenant_id=command.tenant_id, **party_fields(party))]


def evolve(state: Party, event: Event) -> Party:
    """The party after it was set."""
    match event:
        case InvoicePartySet() as told:
            return Party(**told.model_dump(exclude={"tenant_id"}, exclude_none=True))
        case _:
            raise AssertionError(f"{type(event).__name__} is not of an invoice party")


def _is_iban(text: str) -> bool:
    """Check digits by ISO 7064 MOD 97-10."""
    digits = "".join(str(int(letter, 36)) for letter in text[4:] + text[:4])
    return int(digits) % _IBAN_REST == 1


INVOICE_PARTY: Final = Decider(initial=Party(), decide=decide, evolve=evolve)
