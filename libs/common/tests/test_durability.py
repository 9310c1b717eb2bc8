"""A profile that promises durability serves only where the broker shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
from gpuaas.common.durability import demand_durable
from gpuaas.common.embedded.nats_server import SYNC_ALWAYS, SYNC_LAPTOP, NatsServer, NatsUser
from gpuaas.common.errors import Misconfigured, Unavailable
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.provision import LogSettings, provision_log
from gpuaas.common.settings import Settings


@pytest.fixture(params=[SYNC_LAPTOP, SYNC_ALWAYS])
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[JetStreamLog, str, bool]]:
    server = NatsServer(tmp_path / "nats", {"CELL": {"admin": NatsUser()}}, sync_interval=request.param)
    server.start()
    connection = await nats.connect(server.url("admin"))
    await provision_log(connection, LogSettings())
    try:
        yield JetStreamLog(lambda: connection), f"http://127.0.0.1:{server.monitor_port}", request.param == SYNC_ALWAYS
    finally:
        await connection.close()
        server.stop()


async def test_staging_asks_the_broker_whether_it_syncs(broker: tuple[JetStreamLog, str, bool]) -> None:
    log, monitor, syncs = broker
    settings = Settings(profile="staging", nats_monitor_url=monitor, log_replicas_min=1)
    if syncs:
        await demand_durable(log, settings)
        return
    with pytest.raises(Misconfigured, match="sync_interval"):
        await demand_durable(log, settings)
    await demand_durable(log, Settings(profile="dev"))


async def test_staging_wants_several_copies_and_a_place_to_look(broker: tuple[JetStreamLog, str, bool]) -> None:
    log, monitor, _ = broker
    with pytest.raises(Misconfigured, match="1 replica"):
        await demand_durable(log, Settings(profile="staging", nats_monitor_url=monitor))
    with pytest.raises(Misconfigured, match="NATS_MONITOR_URL"):
        await demand_durable(log, Settings(profile="production", log_replicas_min=1))
    with pytest.raises(Misconfigured, match="http"):
        await demand_durable(log, Settings(profile="staging", log_replicas_min=1, nats_monitor_url="file:///x"))
    with pytest.raises(Unavailable):
        await demand_durable(
            log, Settings(profile="staging", log_replicas_min=1, nats_monitor_url="http://127.0.0.1:1")
        )
