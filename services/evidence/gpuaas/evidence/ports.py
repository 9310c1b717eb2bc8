"""What evidence needs of the outside. One law: bytes go by their digest, and by nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from gpuaas.common.errors import GpuaasError


@dataclass(frozen=True, slots=True)
class Stored:
    """An artefact on the shelf. `sha256` in lower-case hex."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Damage:
    """What a scrub found: the artefact filed under `sha256` now hashes to `found_sha256`."""

    sha256: str
    found_sha256: str


class Damaged(GpuaasError):
    """The store holds other bytes than it was given; sending the artefact again heals it."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "damaged"


class ArtefactStore(Protocol):
    """A content-addressed store: what is filed under a digest hashes to it, or is refused."""

    async def put(self, sha256: str, chunks: AsyncIterator[bytes]) -> Stored:
        """File the bytes of `chunks` under `sha256`. Filing them again changes nothing and heals damage.

        Raises:
            Invalid: not a digest, no bytes at all, or bytes that hash to something else; nothing is filed.
            TooLarge: more bytes than an artefact may have; nothing is filed.
            Unavailable: the store cannot write now; nothing is filed.
        """
        ...

    async def stored(self, sha256: str) -> Stored | None:
        """Whether something is filed under `sha256`, and its size; its bytes are not read."""
        ...

    def read(self, sha256: str) -> AsyncIterator[bytes]:
        """The bytes filed under `sha256`, in pieces. The last piece comes only after all have been hashed.

        Raises:
            NotFound: nothing is filed there.
            Damaged: the bytes there hash to something else.
        """
        ...

    def scrub(self) -> AsyncIterator[Damage]:
        """Read everything again and name what no longer hashes to its digest. Nothing is removed."""
        ...


class NotRun(GpuaasError):
    """A procedure gave nothing that could be compared: unknown here, failed to start, took too long, said nothing."""

    status: ClassVar[int] = 503
    code: ClassVar[str] = "not-run"


class Procedures(Protocol):
    """What may be run again, by its name and in no other way."""

    def known(self) -> frozenset[str]:
        """The ids of the procedures there are."""
        ...

    async def run(self, procedure_id: str, subject_sha256: str) -> Mapping[str, bytes]:
        """Run it now for this subject; the bytes of what it made, by artefact name.

        Raises:
            NotRun: no such procedure, or it did not come to an end with its artefacts.
        """
        ...


class Installation(Protocol):
    """What runs here, observed from outside."""

    async def observe(self) -> bytes:
        """The live state now, as the JSON document described in `domain/live_state.py`. What cannot be reached is
        said to be absent in it; nothing is remembered."""
        ...


async def whole(data: bytes) -> AsyncIterator[bytes]:
    """Bytes already at hand, as the stream that `put` takes."""
    yield data
