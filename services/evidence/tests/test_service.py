"""Evidence on the real broker, database and door. One law: what was claimed is believed only after it was read back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from evidence_house import (
    ARTEFACT,
    COMPONENTS,
    FACTS,
    JUNIT,
    REQUIREMENT,
    RUN,
    SUBJECT,
    House,
    a_claim,
    claimed,
    in_a_day,
    sha256,
)
from gpuaas.common.errors import Misconfigured
from gpuaas.common.projections import digest
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually, running
from gpuaas.contracts.evidence import GateDecided
from gpuaas.evidence.app import build
from gpuaas.evidence.domain.gate import check_decision
from gpuaas.evidence.domain.inputs import Inputs
from gpuaas.evidence.settings import EvidenceSettings


async def test_a_run_is_recorded_read_back_and_passes_the_gate(house: House) -> None:
    claim = await claimed(house)
    [found] = await house.read_back("run-1")
    assert (found["level"], found["outcome"]) == ("R2", "confirmed")
    decided = await house.decide()
    assert decided["verdict"] == "pass", decided
    assert decided["claim_ids"] == ["run-1"]
    assert [reason["requirement_id"] for reason in decided["reasons"]] == ["main-job", "negative-controls"]
    assert decided["reasons"][0]["why"].startswith("shown: run-1 confirmed at R2")
    own = {"gate_id": "release", "subject_sha256": SUBJECT, "profile": "dev"}
    refused = await house.send("POST", "/v1/gates", 409, json=own)
    assert "not-independent" in refused.json()["detail"]
    shown = (await house.send("GET", "/v1/claims/run-1")).json()
    assert (shown["status"], shown["level"]) == ("confirmed", "R2")
    assert shown["statement_sha256"] == claim["statement_sha256"]
    assert (await house.status())["verdict"] == "pass"


async def test_a_claim_is_read_back_without_being_asked(house: House) -> None:
    await claimed(house)

    async def confirmed() -> bool:
        return bool((await house.send("GET", "/v1/claims/run-1")).json()["level"] == "R2")

    await eventually(confirmed)


async def test_a_decision_can_be_taken_again_from_its_stored_inputs(house: House) -> None:
    await claimed(house)
    await house.read_back("run-1")
    answer = await house.decide()
    stored = await house.send("GET", f"/v1/artefacts/{answer['inputs_sha256']}")
    assert sha256(stored.content) == answer["inputs_sha256"]
    said = {name: answer[name] for name in GateDecided.model_fields if name in answer}
    decision = GateDecided.model_validate(said | {"gate_id": "release", "subject_sha256": SUBJECT, "profile": "dev"})
    check_decision(decision, Inputs.decode(stored.content), SUBJECT, "dev")


async def test_the_statement_of_a_claim_is_an_artefact_signed_with_a_published_key(house: House) -> None:
    claim = await claimed(house)
    envelope = (await house.send("GET", f"/v1/artefacts/{claim['statement_sha256']}")).json()
    [key] = (await house.send("GET", "/v1/signing-keys")).json()["items"]
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert [one["keyid"] for one in envelope["signatures"]] == [key["key_id"]]


async def test_a_claim_that_the_bytes_contradict_closes_the_gate(house: House) -> None:
    wrong = [FACTS[0] | {"pointer": "/totals/jobs"}, FACTS[1]]
    await claimed(house, facts=wrong)

    async def contradicted() -> bool:
        return bool((await house.send("GET", "/v1/claims/run-1")).json()["status"] == "contradicted")

    await eventually(contradicted)
    decided = await house.decide()
    assert decided["verdict"] == "fail"
    assert "gpu_hours_error is '1000' in run.json, not '0' as claimed" in decided["reasons"][0]["why"]
    again = await house.send("POST", "/v1/claims/run-1/readbacks", 409, json={"level": "R1"})
    assert "contradicted at R2" in again.json()["detail"]


async def test_bad_news_makes_a_passed_gate_decide_again(house: House) -> None:
    await claimed(house)
    await house.read_back("run-1")
    assert (await house.decide())["verdict"] == "pass"
    await house.submit(claim_id="run-2", result="failed")

    async def closed() -> bool:
        page = (await house.send("GET", "/v1/gates", params={"gate_id": "release"})).json()
        return [item["verdict"] for item in page["items"]] == ["fail", "pass"]

    await eventually(closed)
    assert (await house.status())["decisions"][0]["verdict"] == "fail"


async def test_skipped_tests_counted_as_passed_are_a_contradiction(house: House) -> None:
    report = {"name": "junit.xml", "sha256": sha256(JUNIT), "size_bytes": len(JUNIT)}
    await house.store(JUNIT)
    fact = {"name": "passed", "value": "2", "artefact": "junit.xml", "pointer": "/passed"}
    artefacts = [report | {"media_type": "application/x-junit+xml"}]
    await claimed(house, artefacts=artefacts, facts=[fact])

    async def contradicted() -> bool:
        shown = (await house.send("GET", "/v1/claims/run-1")).json()
        return [one["detail"] for one in shown["readbacks"]] == ["passed is '1' in junit.xml, not '2' as claimed"]

    await eventually(contradicted)


async def test_a_lost_and_a_damaged_artefact_leave_it_unknown_until_it_is_back(house: House) -> None:
    await claimed(house)
    await house.read_back("run-1")
    house.filed(sha256(RUN)).unlink()
    [found] = await house.read_back("run-1")
    assert (found["level"], found["outcome"]) == ("R1", "unreadable")
    decided = await house.decide()
    assert decided["verdict"] == "unknown"
    assert decided["reasons"][0]["why"].startswith("missing-artefact")
    await house.store(RUN)
    house.filed(sha256(RUN)).write_bytes(RUN[:-1] + b" ")
    [found] = await house.read_back("run-1")
    assert (found["outcome"], "damaged" in found["detail"]) == ("unreadable", True)
    assert (await house.decide())["reasons"][0]["why"].startswith("unreadable")
    await house.send("GET", f"/v1/artefacts/{sha256(RUN)}", 500)
    await house.store(RUN)
    await house.read_back("run-1")
    assert (await house.decide())["verdict"] == "pass"


async def test_a_damaged_statement_is_no_proof(house: House) -> None:
    claim = await claimed(house)
    await house.read_back("run-1")
    place = house.filed(claim["statement_sha256"])
    place.write_bytes(place.read_bytes().replace(b"keyid", b"keyId"))
    assert (await house.decide())["reasons"][0]["why"].startswith("statement-missing")


async def test_a_new_version_of_a_requirement_needs_a_new_claim(house: House) -> None:
    await claimed(house)
    await house.read_back("run-1")
    stricter = REQUIREMENT | {"max_age_s": 60}
    answer = (await house.send("POST", "/v1/requirements", json=stricter)).json()
    assert answer["version"] == 2
    assert (await house.send("POST", "/v1/requirements", json=stricter)).json()["version"] == 2
    assert (await house.decide())["reasons"][0]["why"].startswith("older-requirement")
    versions = (await house.send("GET", "/v1/requirements/main-job")).json()["versions"]
    assert [each["version"] for each in versions] == [2, 1]


async def test_nothing_required_and_nothing_claimed_is_not_a_pass(house: House) -> None:
    assert (await house.decide())["reasons"][0]["why"].startswith("no-requirement")
    await house.send("POST", "/v1/requirements", json=REQUIREMENT)
    assert (await house.decide())["reasons"][0]["why"].startswith("no-claim")
    await house.store(RUN)
    await house.send("POST", "/v1/claims", json=a_claim(subject_sha256="ab" * 32))
    assert (await house.decide())["reasons"][0]["why"].startswith("wrong-subject")


async def test_bad_input_is_refused_with_what_to_do(house: House) -> None:
    await house.send("POST", "/v1/claims", 404, json=a_claim())
    await house.send("POST", "/v1/requirements", json=REQUIREMENT)
    absent = await house.send("POST", "/v1/claims", 409, json=a_claim())
    assert f"PUT /v1/artefacts/{sha256(RUN)}" in absent.json()["detail"]
    await house.store(RUN)
    await house.send("POST", "/v1/claims", 409, json=a_claim(artefacts=[ARTEFACT | {"size_bytes": 1}]))
    await house.send("POST", "/v1/claims", 422, json=a_claim(artefacts=[]))
    await house.send("POST", "/v1/claims", 422, json=a_claim(artefacts=[ARTEFACT | {"nmae": "x"}]))
    await house.send("POST", "/v1/claims", 422, json=a_claim(expires_at="2020-01-01T00:00:00.000000Z"))
    await house.send("POST", "/v1/requirements", 422, json=REQUIREMENT | {"predicate": "true"})
    await house.send("POST", "/v1/claims/none/readbacks", 404, json={"level": "R1"})
    await house.send("POST", "/v1/claims/none/readbacks", 422, json={"level": "R5"})
    await house.send("GET", "/v1/claims/none", 404)
    await house.send("PUT", f"/v1/artefacts/{sha256(b'other')}", 422, content=RUN)
    await house.send("PUT", f"/v1/artefacts/{sha256(b'')}", 422, content=b"")
    await house.send("PUT", "/v1/artefacts/..%2f..%2fetc", 404, content=b"x")
    await house.send("PUT", f"/v1/artefacts/{'A' * 64}", 422, content=b"x")
    await house.send("GET", f"/v1/artefacts/{sha256(b'other')}", 404)


async def test_an_artefact_is_streamed_both_ways_and_bounded(house: House) -> None:
    large = bytes(range(256)) * 15_000

    async def pieces(data: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(data), 60_000):
            yield data[start : start + 60_000]

    await house.send("PUT", f"/v1/artefacts/{sha256(large)}", content=pieces(large))
    fetched = await house.send("GET", f"/v1/artefacts/{sha256(large)}")
    assert fetched.content == large
    assert fetched.headers["etag"] == f'"{sha256(large)}"'
    too_large = large + b"x" * 200_000
    await house.send("PUT", f"/v1/artefacts/{sha256(too_large)}", 413, content=pieces(too_large))
    await house.send("PUT", f"/v1/artefacts/{sha256(too_large)}", 413, content=too_large)


async def test_a_repeated_request_is_answered_and_not_done_again(house: House) -> None:
    await claimed(house)
    await house.read_back("run-1")
    asked = {"gate_id": "release", "subject_sha256": SUBJECT, "profile": "dev"}
    keyed = house.judge | {"Idempotency-Key": "decide-1", "GPUaaS-At-Least": house.headers["GPUaaS-At-Least"]}
    first = (await house.client.post("/v1/gates", json=asked, headers=keyed)).json()
    again = (await house.client.post("/v1/gates", json=asked, headers=keyed)).json()
    assert again == first | {"repeated": True}
    keyed = house.headers | {"Idempotency-Key": "claim-2"}
    second = a_claim(claim_id="run-2")
    answers = [(await house.client.post("/v1/claims", json=second, headers=keyed)).json() for _ in range(2)]
    assert answers[1] == answers[0] | {"repeated": True}
    await house.send("POST", "/v1/claims", 409, json=second)


async def test_lists_are_given_page_by_page(house: House) -> None:
    await claimed(house)
    for number in range(2, 6):
        await house.submit(claim_id=f"run-{number}")
        await house.send("POST", "/v1/requirements", json=REQUIREMENT | {"requirement_id": f"more-{number}"})
        await house.decide(f"gate-{number}")
    for path, key, total in (("claims", "claim_id", 5), ("requirements", "requirement_id", 5), ("gates", "gate_id", 4)):
        names: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (
                await house.send("GET", f"/v1/{path}", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
            ).json()
            names += [item[key] for item in page["items"]]
            cursor = page["next_cursor"]
        assert len(names) == len(set(names)) == total


async def rebuilt_the_same(house: House, name: str) -> None:
    projector = house.service._projectors[name]
    await projector.reached(await house.service.log.last_position(), 5)
    before = await digest(house.service.database, projector.projection)
    async with asyncio.timeout(60):
        await projector.rebuild()
    assert await digest(house.service.database, projector.projection) == before


async def test_a_rebuild_of_each_read_model_gives_identical_tables(house: House) -> None:
    await claimed(house)
    await house.submit(claim_id="run-2", facts=[FACTS[0] | {"value": "7"}])

    async def both_read_back() -> bool:
        page = (await house.send("GET", "/v1/claims")).json()
        return [item["status"] for item in page["items"]] == ["contradicted", "confirmed"]

    await eventually(both_read_back)
    await house.read_back("run-1")
    await rebuilt_the_same(house, "claims_v3")
    await house.send("POST", "/v1/requirements", json=REQUIREMENT | {"max_age_s": 5})
    await rebuilt_the_same(house, "requirements_v1")
    await house.decide()
    await rebuilt_the_same(house, "gates_v2")
    assert len((await house.send("GET", "/v1/claims/run-1")).json()["readbacks"]) == 2


async def test_a_reader_of_evidence_can_look_and_not_touch(house: House) -> None:
    await claimed(house)
    identities = await Identities.on(house.service.log)
    auditor = await identities.operator("evidence.*.read")
    assert (await house.client.get("/v1/claims", headers=auditor)).status_code == 200
    assert (await house.client.get(f"/v1/artefacts/{sha256(RUN)}", headers=auditor)).status_code == 200
    asked = {"gate_id": "release", "subject_sha256": SUBJECT, "profile": "dev"}
    assert (await house.client.post("/v1/gates", json=asked, headers=auditor)).status_code == 403
    refused = await house.client.put(f"/v1/artefacts/{sha256(b'x')}", content=b"x", headers=auditor)
    assert refused.status_code == 403
    assert (await house.client.get("/v1/claims")).status_code == 401


async def test_a_restart_signs_with_the_same_key(settings: EvidenceSettings) -> None:
    keys = []
    for _ in range(2):
        service = build(settings)
        async with running(service) as client:
            headers = await (await Identities.on(service.log)).operator()
            keys.append((await client.get("/v1/signing-keys", headers=headers)).json())
    assert keys[0] == keys[1]


def test_production_does_not_start_without_a_key_that_somebody_provided(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="makes none"):
        build(EvidenceSettings(profile="production", state_dir=tmp_path))
    with pytest.raises(Misconfigured, match="64 hex digits"):
        build(EvidenceSettings(state_dir=tmp_path, evidence_trusted_keys="abc"))


async def test_what_is_submitted_must_be_what_was_opened_and_a_claim_without_opening_is_no_proof(house: House) -> None:
    await claimed(house)
    await house.open(claim_id="run-2")
    changed = await house.send("POST", "/v1/claims", 409, json=a_claim(claim_id="run-2", scope=["meter"]))
    assert "scope is not what the claim was opened with" in changed.json()["detail"]
    [waiting] = (await house.send("GET", "/v1/openings")).json()["items"]
    assert waiting["claim_id"] == "run-2"
    stranger = {**REQUIREMENT, "requirement_id": "other"}
    await house.send("POST", "/v1/requirements", json=stranger)
    await house.send("POST", "/v1/claims", json=a_claim(claim_id="run-3", requirement_id="other"))
    reasons = {reason["requirement_id"]: reason["why"] for reason in (await house.decide())["reasons"]}
    assert reasons["other"].startswith("scope-not-fixed")


async def test_a_waiver_takes_two_people_who_claimed_nothing_and_its_withdrawal_revokes(house: House) -> None:
    await house.send("POST", "/v1/requirements", json=REQUIREMENT)
    await house.send("POST", "/v1/releases", json={"name": "gpuaas 0.1.0", "components": COMPONENTS})
    identities = await Identities.on(house.service.log)
    first, second = await identities.operator(), await identities.operator()
    asked = {
        "waiver_id": "waiver-1",
        "requirement_id": "main-job",
        "subject_sha256": SUBJECT,
        "profile": "dev",
        "reason": "The machine is being repaired.",
        "expires_at": in_a_day(),
    }
    await house.send("POST", "/v1/waivers", json=asked, headers=first)
    alone = await house.send("POST", "/v1/waivers/waiver-1/approval", 409, headers=first)
    assert "one-person" in alone.json()["detail"]
    assert (await house.decide())["reasons"][0]["why"].startswith("waiver-one-person")
    await house.send("POST", "/v1/waivers/waiver-1/approval", headers=second)
    decided = await house.decide()
    assert (decided["verdict"], decided["reasons"][0]["waiver_id"]) == ("pass", "waiver-1")
    assert (await house.status())["requirements"][0]["standing"] == "waived"
    await house.send("POST", "/v1/waivers/waiver-1/withdrawal", json={"reason": "It is back."}, headers=second)

    async def revoked() -> bool:
        return [one["gate_id"] for one in (await house.status())["revocations"]] == ["release"]

    await eventually(revoked)


async def test_a_release_is_found_by_its_name_and_every_record_has_its_signed_statement(house: House) -> None:
    await claimed(house)
    [release] = (await house.send("GET", "/v1/releases")).json()["items"]
    assert (release["root_sha256"], release["release_id"]) == (SUBJECT, SUBJECT[:40])
    assert (await house.send("GET", "/v1/releases/gpuaas 0.1.0")).json()["root_sha256"] == SUBJECT
    decided = await house.decide()
    for stored in (release["statement_sha256"], decided["statement_sha256"]):
        envelope = (await house.send("GET", f"/v1/artefacts/{stored}")).json()
        assert envelope["payloadType"] == "application/vnd.in-toto+json"
    [run, *_] = (await house.send("GET", "/v1/control-runs")).json()["items"]
    assert run["not_refused"] == 0


async def test_live_state_says_what_is_absent(house: House) -> None:
    told = (await house.send("GET", "/v1/live-state")).json()
    assert told["totals"]["services"] == 0
    assert told["rights"]["evidence.gate.decide"]["holders"] >= 2
