"""Whether an acknowledged event survives here, and whether there is room for more. One law: the broker must show it.

JetStream acknowledges before the disk has the event unless `sync_interval: always`; a power cut then loses what was
acknowledged. One server keeps one copy. Staging and production therefore ask the broker, and refuse to serve on less.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final
from urllib.request import urlopen

from gpuaas.common.errors import Misconfigured, Unavailable
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.settings import PREFIX, Settings

TIMEOUT_S: Final = 3.0


async def demand_durable(log: JetStreamLog, settings: Settings) -> None:
    """Return if the profile promises nothing, or the broker keeps the promise.

    Raises:
        Misconfigured: it does not; says what to change.
        Unavailable: its monitoring page does not answer now.
    """
    if not settings.durable:
        return
    replicas = await log.replicas()
    if replicas < settings.log_replicas_min:
        raise Misconfigured(
            f"the log has {replicas} replica(s), {settings.profile} needs {settings.log_replicas_min}: provision it "
            f"with more, or set {PREFIX}LOG_REPLICAS_MIN for a rehearsal"
        )
    if not settings.nats_monitor_url:
        raise Misconfigured(
            f"{settings.profile} must see that the broker syncs every write: set {PREFIX}NATS_MONITOR_URL to its "
            "monitoring address, such as http://nats:8222"
        )
    told = await asyncio.to_thread(_monitored, settings.nats_monitor_url, "varz")
    if not told.get("jetstream", {}).get("config", {}).get("sync_always"):
        raise Misconfigured(
            f"the broker at {settings.nats_monitor_url} does not sync every write; set `sync_interval: always` in its "
            "jetstream block"
        )


async def log_fill(log: JetStreamLog, monitor_url: str) -> float:
    """Share of the log's room that is used, 0 to 1: of the stream's own limit, or of the broker's storage where a
    monitoring address is known; the larger of both.

    Raises:
        Unavailable: the broker does not answer now.
    """
    fill = await log.fill()
    if monitor_url:
        told = await asyncio.to_thread(_monitored, monitor_url, "jsz")
        if (room := int(told.get("config", {}).get("max_storage", 0))) > 0:
            fill = max(fill, int(told["storage"]) / room)
    return fill


def _monitored(url: str, page: str) -> dict[str, Any]:
    if not url.startswith(("http://", "https://")):
        raise Misconfigured(f"{PREFIX}NATS_MONITOR_URL is {url!r}; it begins with http:// or https://")
    try:
        with urlopen(f"{url.rstrip('/')}/{page}", timeout=TIMEOUT_S) as answer:
            told: dict[str, Any] = json.load(answer)
    except (OSError, ValueError) as away:
        raise Unavailable(f"the broker's monitoring page {url} does not answer: {away}") from away
    return told
