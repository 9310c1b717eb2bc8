"""Evidence grows old, is lost and is looked at again. One law: a yes does not outlive what it rests on.

The service lives by a clock that the test moves on; looking again and scrubbing go on beside it as always.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from evidence_house import COMPONENTS, REQUIREMENT, RUN, SUBJECT, House, claimed, in_a_day, sha256
from gpuaas.common.clock import Pace, PacedClock
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.evidence.app import build
from gpuaas.evidence.settings import EvidenceSettings


@pytest.fixture
async def watched(stack: TestStack, tmp_path: Path) -> AsyncIterator[House]:
    """A house that looks again all the time, in a world whose clock can be moved on."""
    pace = Pace(time.time(), datetime.now(UTC), 1.0).encode()
    often = {"evidence_look_again_interval_s": 0.1, "evidence_scrub_interval_s": 1.0}
    async with fresh_settings(stack, EvidenceSettings, tmp_path, clock_pace=pace, **often) as settings:
        service = build(settings)
        async with running(service) as client:
            identities = await Identities.on(service.log)
            yield House(service, client, await identities.operator(), settings.state_dir, await identities.operator())


def later(house: House, passed: timedelta) -> None:
    clock = house.service.clock
    assert isinstance(clock, PacedClock)
    clock.change(Pace(time.time(), clock.now() + passed, 1.0))


async def passed(house: House) -> None:
    await claimed(house)
    await house.read_back("run-1")
    assert (await house.decide())["verdict"] == "pass"


async def revoked_for(house: House, word: str) -> None:
    """The gate takes its pass back for this reason, on record and signed."""

    async def taken_back() -> bool:
        return any(f": {word}: " in one["cause"] for one in (await house.status())["revocations"])

    await eventually(taken_back)
    told = await house.status()
    envelope = (await house.send("GET", f"/v1/artefacts/{told['revocations'][0]['statement_sha256']}")).json()
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert told["verdict"] != "pass"


async def test_what_passed_is_read_back_again_before_it_goes_stale_and_the_controls_are_run_again(
    watched: House,
) -> None:
    await passed(watched)
    later(watched, timedelta(hours=13))

    async def read_again() -> bool:
        shown = (await watched.send("GET", "/v1/claims/run-1")).json()
        runs = (await watched.send("GET", "/v1/control-runs")).json()["items"]
        return len(shown["readbacks"]) > 2 and len(runs) > 1

    await eventually(read_again)
    told = await watched.status()
    assert (told["verdict"], told["revocations"]) == ("pass", [])


async def test_a_pass_whose_claim_expires_is_taken_back(watched: House) -> None:
    await passed(watched)
    later(watched, timedelta(hours=25))
    await revoked_for(watched, "expired")


async def test_a_pass_that_rests_on_a_waiver_ends_with_it(watched: House) -> None:
    await watched.send("POST", "/v1/requirements", json=REQUIREMENT)
    await watched.send("POST", "/v1/releases", json={"name": "gpuaas 0.1.0", "components": COMPONENTS})
    identities = await Identities.on(watched.service.log)
    asked = {
        "waiver_id": "waiver-1",
        "requirement_id": "main-job",
        "subject_sha256": SUBJECT,
        "profile": "dev",
        "reason": "The machine is being repaired.",
        "expires_at": in_a_day(),
    }
    await watched.send("POST", "/v1/waivers", json=asked, headers=await identities.operator())
    await watched.send("POST", "/v1/waivers/waiver-1/approval", headers=await identities.operator())
    assert (await watched.decide())["verdict"] == "pass"
    later(watched, timedelta(hours=25))
    await revoked_for(watched, "waiver-expired")


async def test_a_flipped_byte_that_the_scrub_finds_takes_the_pass_back_until_the_bytes_are_sent_again(
    watched: House,
) -> None:
    await passed(watched)
    watched.filed(sha256(RUN)).write_bytes(RUN[:-1] + b" ")
    await revoked_for(watched, "unreadable")
    await watched.store(RUN)
    await watched.read_back("run-1")
    assert (await watched.decide())["verdict"] == "pass"


async def test_lost_bytes_take_the_pass_back(watched: House) -> None:
    await passed(watched)
    watched.filed(sha256(RUN)).unlink()
    await revoked_for(watched, "missing-artefact")


async def test_a_run_that_gave_nothing_is_unknown_with_its_reason_and_the_claim_is_closed(watched: House) -> None:
    await watched.send("POST", "/v1/requirements", json=REQUIREMENT)
    await watched.send("POST", "/v1/releases", json={"name": "gpuaas 0.1.0", "components": COMPONENTS})
    await watched.open()
    ended = {"reason": "no network"}
    answer = (await watched.send("POST", "/v1/claims/run-1/abandonment", json=ended)).json()
    envelope = (await watched.send("GET", f"/v1/artefacts/{answer['statement_sha256']}")).json()
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    decided = await watched.decide()
    assert decided["verdict"] == "unknown"
    assert decided["reasons"][0]["why"] == "gave-nothing: run-1 was run and gave nothing: no network"
    assert (await watched.send("GET", "/v1/openings")).json()["items"] == []
    await watched.send("POST", "/v1/claims/run-2/abandonment", 404, json=ended)
    await watched.send("POST", "/v1/claims/run-1/abandonment", 422, json={"reason": ""})
