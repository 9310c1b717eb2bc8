"""What the routes work with. One law: one list of it, handed to every file of routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Commands
from gpuaas.common.http import Caller, Paging, paging
from gpuaas.common.projections import Database
from gpuaas.contracts.evidence import ActorKind
from gpuaas.evidence.gathering import Views
from gpuaas.evidence.keeping import Gatekeeper
from gpuaas.evidence.notary import Notary
from gpuaas.evidence.ports import ArtefactStore, Installation, Procedures
from gpuaas.evidence.reading import ClaimReader

Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="SHA-256 in lower-case hex.")]
Id = Annotated[str, Path(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Pages = Annotated[Paging, Depends(paging)]


@dataclass(frozen=True, slots=True)
class Desk:
    """What the routes work with.

    Attributes:
        public_keys: key id → raw public key whose signatures count.
    """

    commands: Commands
    database: Database
    clock: Clock
    store: ArtefactStore
    views: Views
    reader: ClaimReader
    keeper: Gatekeeper
    notary: Notary
    procedures: Procedures
    installation: Installation
    public_keys: Mapping[str, bytes]
    artefact_bytes_max: int
    upload_timeout_s: float


def accepted(caller: Caller, done: Any, thing_id: str) -> dict[str, Any]:
    """The answer to a command as fields."""
    return caller.accepted(done, thing_id).model_dump()


def kind_of(caller: Caller) -> ActorKind:
    """What kind of principal asks, as events say it."""
    match caller.principal.kind:
        case "user":
            return "user"
        case "service-account":
            return "service-account"
        case _:
            return "workload"
