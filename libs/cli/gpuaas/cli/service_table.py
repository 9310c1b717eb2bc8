"""The services of the suite. One law: this table is the only list; `up`, compose and manifests are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SHARED_IMPORTS: Final = (
    "gpuaas.common.service",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "uvicorn.lifespan.off",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
)
"""What every service imports, some of it only when it runs; the warm parent does so once for all."""


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """One service.

    Attributes:
        name: its token in subjects, user names and databases.
        port: where it listens in a container, and on a laptop when that port is free.
        database: whether it keeps read models in PostgreSQL.
        keeps: files below its state folder that the log cannot bring back; back them up.
        purpose: one line for people.
    """

    name: str
    port: int
    purpose: str
    database: bool = True
    keeps: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """The module whose `main()` is the process."""
        return f"gpuaas.{self.name}.app"


SERVICES: Final = (
    ServiceEntry("iam", 8101, "who, in which boundary, may do what", keeps=("signing-keys.json",)),
    ServiceEntry("nodes", 8102, "a machine's life"),
    ServiceEntry("inventory", 8103, "what exists"),
    ServiceEntry("allocations", 8104, "who holds which GPUs, when"),
    ServiceEntry("billing", 8105, "what it costs"),
    ServiceEntry(
        "audit", 8106, "the trail an outsider can check", keeps=("audit-signing.key", "audit-map.secret", "witnesses")
    ),
    ServiceEntry("evidence", 8107, "claims with proof", keeps=("evidence-signing-key.pem", "artefacts")),
)


def service(name: str) -> ServiceEntry:
    """The entry called `name`; KeyError when there is none."""
    return {entry.name: entry for entry in SERVICES}[name]
