"""What the evidence service knows and people call otherwise. One law: asked there, never guessed here."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from gpuaas.common.clock import rfc3339

if TYPE_CHECKING:
    from gpuaas.cli.client import Suite


async def subject_of(suite: Suite, release: str) -> str:
    """The root digest of the release with this name, id or root digest. Raises what the service refuses with."""
    found = await suite.get("evidence", f"/v1/releases/{quote(release, safe='')}")
    return str(found["root_sha256"])


async def days_from_now(suite: Suite, subject: str, profile: str, days: int) -> str:
    """A moment in the service's own time: a demo's world is in another year."""
    told = await suite.get("evidence", f"/v1/releases/{subject}/status", profile=profile)
    return rfc3339(datetime.fromisoformat(told["judged_at"]) + timedelta(days=days))
