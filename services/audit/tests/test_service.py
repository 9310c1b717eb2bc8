"""The whole service on the real stack: what its door gives is proved by the verifier, and given to few."""

from __future__ import annotations

import asyncio
import hmac
import io
import json
import tarfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from gpuaas.audit.app import build
from gpuaas.audit.settings import AuditSettings
from gpuaas.common.service import Service
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.verify.bundles import verify_bundle
from gpuaas.verify.epochs import verify_epoch
from gpuaas.verify.exports import verify_export
from gpuaas.verify.mirrors import tile_path, verify_mirror
from gpuaas.verify.policy import Policy, read_policy
from gpuaas.verify.rows import verify_growth, verify_rows
from gpuaas.verify.tree import check_inclusion, leaf_hash

Headers = dict[str, str]


class Running:
    """A running audit service with a billed tenant `acme`, and someone who may read its trail."""

    def __init__(self, service: Service, client: httpx.AsyncClient, identities: Identities, story: Any) -> None:
        self.service, self.client, self.identities, self.story = service, client, identities, story
        self.policy: Policy
        self.member: Headers = {}

    async def open(self) -> Running:
        await self.story.whole()
        self.member = await self.identities.member("acme")
        self.policy = read_policy((await self.client.get("/v1/key")).json()["policy"])
        await self.sealed()
        return self

    async def get(self, path: str, headers: Headers | None = None, **params: Any) -> httpx.Response:
        return await self.client.get(path, params=params, headers=self.member if headers is None else headers)

    async def sealed(self) -> None:
        """Wait until everything said so far is under a signed checkpoint."""
        headers = self.member | {"GPUaaS-At-Least": str(await self.service.log.last_position())}

        async def under() -> bool:
            rows = (await self.get("/v1/tenants/acme/trail", headers, proof=1, limit=1)).json()["items"]
            return bool(rows and rows[0]["proof"])

        await eventually(under)


@pytest.fixture
async def audit(stack: TestStack, tmp_path: Path, make_story: Any) -> AsyncIterator[Running]:
    async with fresh_settings(
        stack, AuditSettings, tmp_path, audit_seal_interval_s=0.05, audit_watch_interval_s=0.2
    ) as settings:
        service = build(settings)
        async with running(service) as client:
            identities = await Identities.on(service.log)
            yield await Running(service, client, identities, make_story(service.log)).open()


async def test_an_invoice_is_taken_to_a_laptop_and_proved_there(audit: Running, tmp_path: Path) -> None:
    async def bundle() -> httpx.Response:
        return await audit.get("/v1/tenants/acme/bundles/invoices/inv-1")

    path = tmp_path / "inv-1.json"

    async def proved() -> bool:
        # A witness that was slow on a busy machine cosigns a later head; until then the quorum is not met.
        answer = await bundle()
        path.write_bytes(answer.content)
        return answer.status_code == 200 and verify_bundle(path, audit.policy, "acme").verdict == "verified"

    await eventually(proved, within_s=60)
    answer = await bundle()
    report = verify_bundle(path, audit.policy, "acme")
    assert (report.verdict, report.detail) == ("verified", "")
    assert report.facts["total"] == "39.99 EUR"
    assert len(answer.json()["allocation_events"]) == 4
    assert (await audit.get("/v1/tenants/acme/bundles/invoices/inv-2")).status_code == 404


async def test_usage_is_split_over_prices_runs_and_invoices_and_still_proved(audit: Running, tmp_path: Path) -> None:
    story = audit.story
    cut = (await audit.get("/v1/tenants/acme/trail", subject="events.billing.invoice.acme.inv-1")).json()
    assert cut["items"]
    start = story.usages[0].started_at
    await story.use("late", start, 2.0)
    await story.prices(2, "3.00", start + timedelta(hours=1))
    await story.run("r2")
    first = story.line(1, ["late"], 8 * 3_600_000, "2.4995", "20.00")
    second = story.line(2, ["late"], 8 * 3_600_000, "3.00", "24.00", version=2)
    await story.invoice("inv-2", "r2", first, second)
    await eventually(lambda: _is_ok(audit.get("/v1/tenants/acme/bundles/invoices/inv-2")))
    path = tmp_path / "inv-2.json"
    path.write_bytes((await audit.get("/v1/tenants/acme/bundles/invoices/inv-2")).content)
    report = verify_bundle(path, audit.policy)
    assert (report.verdict, report.detail) == ("verified", "")
    assert len(json.loads(path.read_text())["earlier_invoices"]) == 1

    await story.credit("cn-1", "inv-2", "l-2", "4.00")

    async def followed() -> bool:
        path.write_bytes((await audit.get("/v1/tenants/acme/bundles/invoices/inv-2")).content)
        return verify_bundle(path, audit.policy).facts.get("credited") == "4.00 EUR"

    await eventually(followed)
    report = verify_bundle(path, audit.policy)
    assert (report.verdict, report.facts["owed"]) == ("verified", "40.00 EUR")
    first_one = json.loads((await audit.get("/v1/tenants/acme/bundles/invoices/inv-1")).content)
    assert [len(first_one[name]) for name in ("later_invoices", "followups")] == [1, 1]


async def test_an_invoice_that_does_not_follow_from_the_log_gets_no_bundle(audit: Running) -> None:
    story = audit.story
    await story.run("r3")
    await story.invoice("inv-3", "r3", story.line(1, ["a1", "ghost"], 1, "2.4995", "0.00"))
    answer = await audit.get("/v1/tenants/acme/bundles/invoices/inv-3", audit.member | _at(await _last(audit)))
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:gpuaas:rejected")
    assert "cannot be proved" in answer.json()["detail"]


async def test_rows_come_with_proofs_and_pages(audit: Running, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    seen: list[int] = []
    cursor: str | None = None
    while True:
        more = {"cursor": cursor} if cursor else {}
        answer = await audit.get("/v1/tenants/acme/trail", None, proof=1, limit=3, order="oldest", **more)
        assert answer.status_code == 200, answer.text
        path.write_bytes(answer.content)
        report = verify_rows(path, audit.policy)
        assert (report.verdict, report.detail) == ("verified", "")
        seen += [item["position"] for item in answer.json()["items"]]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(set(seen))
    assert len(seen) >= 9


async def test_a_tree_is_mirrored_by_a_tile_client_and_is_whole(audit: Running, tmp_path: Path) -> None:
    note = await audit.get("/v1/tenants/acme/checkpoint")
    assert note.headers["content-type"] == "text/plain; charset=utf-8"
    assert "no-cache" in note.headers["cache-control"]
    size = int(note.text.split("\n")[1])
    (tmp_path / "checkpoint").write_text(note.text)
    for base in ("tile/0", "tile/entries"):
        path = f"{base}/{tile_path(0, size)}"
        answer = await audit.get(f"/v1/tenants/acme/{path}")
        assert answer.status_code == 200, answer.text
        assert "immutable" in answer.headers["cache-control"]
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(answer.content)
    report = verify_mirror(tmp_path, audit.policy)
    assert (report.verdict, report.detail) == ("verified", "")
    assert [check.name for check in report.checks] == ["checkpoint", "tree", "entries"]
    for path in (
        f"tile/0/{tile_path(0, size + 1)}",
        "tile/0/000",
        "tile/0/0",
        "tile/1/000.p/1",
        "tile/entries/001.p/1",
    ):
        assert (await audit.get(f"/v1/tenants/acme/{path}")).status_code == 404


async def test_an_older_checkpoint_is_shown_to_be_continued(audit: Running, tmp_path: Path) -> None:
    (tmp_path / "old").write_text((await audit.get("/v1/tenants/acme/checkpoint")).text)
    await audit.story.use("more", audit.story.usages[0].started_at, 1)
    await audit.sealed()
    (tmp_path / "new").write_text((await audit.get("/v1/tenants/acme/checkpoint")).text)
    old, new = (int((tmp_path / name).read_text().split("\n")[1]) for name in ("old", "new"))
    assert old < new
    proof = await audit.get("/v1/tenants/acme/growth", old=old, new=new)
    (tmp_path / "proof").write_text(proof.text)
    report = verify_growth(tmp_path / "old", tmp_path / "new", tmp_path / "proof", audit.policy)
    assert (report.verdict, report.detail) == ("verified", "")
    assert (await audit.get("/v1/tenants/acme/growth", old=new, new=old)).status_code == 422


async def test_the_newest_epoch_commits_to_a_tenant_without_naming_it(audit: Running, tmp_path: Path) -> None:
    async def mapped() -> bool:
        return (await audit.get("/v1/tenants/acme/epoch")).status_code == 200

    await eventually(mapped)
    told = (await audit.get("/v1/tenants/acme/epoch")).json()
    secret = bytes.fromhex(told["secret"])
    line = hmac.digest(secret, b"acme", "sha256") + hmac.digest(secret, told["checkpoint"].encode(), "sha256")
    path = [bytes.fromhex(step) for step in told["map_path"]]
    check_inclusion(leaf_hash(line), told["map_index"], told["map_size"], path, bytes.fromhex(told["map_root"]))

    async def verified() -> bool:
        """With the quorum, which a slow witness may bring a moment later."""
        newest = await audit.get("/v1/tenants/acme/epoch")
        (tmp_path / "epoch.json").write_text(newest.text)
        return verify_epoch(tmp_path / "epoch.json", audit.policy, "acme").verdict == "verified"

    await eventually(verified)
    assert "bolt" not in json.dumps(told)


async def test_a_trail_is_hidden_from_other_tenants_and_shown_to_operators(audit: Running) -> None:
    stranger = await audit.identities.member("bolt")
    weak = await audit.identities.member("acme", None, "billing.invoice.read")
    operator = await audit.identities.operator()
    paths = ["trail", "checkpoint", "tile/0/000.p/1", "epoch", "bundles/invoices/inv-1"]
    for path in paths:
        assert (await audit.get(f"/v1/tenants/acme/{path}", stranger)).status_code == 404, path
        assert (await audit.get(f"/v1/tenants/acme/{path}", {})).status_code == 401, path
        assert (await audit.get(f"/v1/tenants/acme/{path}", weak)).status_code == 403, path
    for path in ("/v1/trail", "/v1/platform/checkpoint", "/v1/platform/tile/0/000.p/1"):
        assert (await audit.get(path, audit.member)).status_code in (403, 404), path
        assert (await audit.get(path, operator)).status_code == 200, path
    own = (await audit.get("/v1/tenants/acme/trail", limit=500)).json()["items"]
    assert {item["tenant_id"] for item in own} == {"acme"}
    everything = (await audit.get("/v1/trail", operator, limit=500)).json()["items"]
    assert {None, "acme"} <= {item["tenant_id"] for item in everything}


async def test_bytes_that_are_no_event_are_in_the_trail_and_stop_nothing(audit: Running, tmp_path: Path) -> None:
    rogue = ["events.rogue.thing.acme.x1", "events.rogue.thing.acme.x2"]
    for subject, payload in zip(rogue, (b"\xff not an event", b'{"type":1}'), strict=True):
        await audit.service.broker.connection.request(subject, payload)
    await audit.sealed()
    for subject in rogue:
        answer = await audit.get("/v1/tenants/acme/trail", subject=subject, proof=1)
        [item] = answer.json()["items"]
        assert (item["type"], item["event_id"], item["happened_at"]) == (None, None, None)
        (tmp_path / "row.json").write_bytes(answer.content)
        assert verify_rows(tmp_path / "row.json", audit.policy).verdict == "verified"


async def test_tampered_evidence_is_found_wherever_it_is_touched(audit: Running, tmp_path: Path) -> None:
    await eventually(lambda: _is_ok(audit.get("/v1/tenants/acme/bundles/invoices/inv-1")))
    honest = (await audit.get("/v1/tenants/acme/bundles/invoices/inv-1")).json()
    path = tmp_path / "bundle.json"
    leaves = [("invoice", None), ("run", None), *((name, 0) for name in ("usages", "allocation_events", "price_books"))]
    for section, number in leaves:
        for change in ("payload", "index", "proof"):
            bundle = json.loads(json.dumps(honest))
            leaf = bundle[section] if number is None else bundle[section][number]
            other = honest["usages"][1]
            leaf[change] = other[change] if leaf[change] != other[change] else []
            path.write_text(json.dumps(bundle))
            assert verify_bundle(path, audit.policy).verdict != "verified", (section, change)


async def test_a_bad_question_is_answered_with_a_problem(audit: Running) -> None:
    for params in ({"order": "sideways"}, {"since": "yesterday"}, {"limit": 501}, {"cursor": "nonsense"}):
        answer = await audit.get("/v1/tenants/acme/trail", **params)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), params


async def test_the_log_changed_under_the_trail_is_said_on_the_log(audit: Running) -> None:
    await audit.service.database.pool.execute(
        "UPDATE audit_trail_v2 SET payload_sha256 = $1 WHERE position = 3", bytes(32)
    )

    async def said() -> bool:
        return bool(await audit.service.log.history("events.audit.divergence.platform.rewritten-3"))

    await eventually(said)
    operator = await audit.identities.operator()
    kind = "gpuaas.audit.divergence-found.v1"
    await eventually(lambda: _has_items(audit.get("/v1/trail", operator, type=kind)))


async def test_a_copy_of_a_trail_is_whole_and_is_recorded_in_it(audit: Running) -> None:
    rows = (await audit.get("/v1/tenants/acme/trail", limit=500, order="oldest")).json()["items"]
    for number, kind in enumerate(("jsonl", "csv", "ocsf")):
        answer = await audit.get("/v1/tenants/acme/export", format=kind)
        assert answer.status_code == 200, answer.text
        lines = answer.text.splitlines()[1 if kind == "csv" else 0 :]
        assert len(lines) == len(rows) + number
        if kind == "jsonl":
            assert [json.loads(line)["position"] for line in lines] == [row["position"] for row in rows]
        if kind == "ocsf":
            assert [json.loads(line)["metadata"]["sequence"] for line in lines][: len(rows)] == [
                row["position"] for row in rows
            ]
        await audit.sealed()
    kind = "gpuaas.audit.trail-exported.v1"
    said = (await audit.get("/v1/tenants/acme/trail", type=kind)).json()["items"]
    assert len(said) == 3


async def test_a_tarball_is_verified_offline_under_its_own_policy_with_quorum(audit: Running, tmp_path: Path) -> None:
    answer = await audit.get("/v1/tenants/acme/export", format="tar")
    assert answer.status_code == 200, answer.text
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        for member in tar.getmembers():
            file = tar.extractfile(member)
            assert file is not None, member.name
            (tmp_path / member.name).write_bytes(file.read())
    policy = read_policy((tmp_path / "policy").read_text())
    assert (policy.quorum, len(policy.witnesses)) == ("witnesses", 2)
    assert policy.accept((tmp_path / "checkpoint").read_text()).tree == "tenants/acme"
    report = verify_rows(tmp_path / "rows-000001.json", policy)
    assert (report.verdict, report.detail) == ("verified", "")
    (tmp_path / "trail.tar").write_bytes(answer.content)
    whole = verify_export(tmp_path / "trail.tar", policy, whole=True)
    assert (whole.verdict, whole.detail, whole.checks[-1].name) == ("verified", "", "whole")
    part = await audit.get("/v1/tenants/acme/export", format="tar", type="gpuaas.billing.usage-metered.v1")
    (tmp_path / "part.tar").write_bytes(part.content)
    assert verify_export(tmp_path / "part.tar", policy).checks[-1].name == "inclusion"
    assert verify_export(tmp_path / "part.tar", policy, whole=True).reason == "left-out"


async def test_a_part_of_the_trail_shows_that_nothing_asked_for_was_left_out(audit: Running, tmp_path: Path) -> None:
    policy = read_policy((await audit.get("/v1/key")).json()["policy"])
    usage = "gpuaas.billing.usage-metered.v1"
    [first, *_] = (await audit.get("/v1/tenants/acme/trail", type=usage, order="oldest")).json()["items"]
    _, _, kind, _, usage_id = first["subject"].split(".")
    questions: tuple[dict[str, Any], ...] = (
        {"type": usage},
        {"resource": f"{kind}/{usage_id}"},
        {"subject": first["subject"], "resource": f"{kind}/{usage_id}"},
        {"since": first["time"], "until": "2200-01-01T00:00:00Z"},
        {"after_position": str(first["position"])},
        {"event": first["event_id"]},
        {},
    )
    for asked in questions:
        answer = await audit.get("/v1/tenants/acme/export", format="tar", complete="1", **asked)
        (tmp_path / "part.tar").write_bytes(answer.content)
        report = verify_export(tmp_path / "part.tar", policy, complete=True)
        assert (report.verdict, report.detail) == ("verified", ""), asked
        assert int(report.facts["rows"]) > 0, asked
    by_bytes: tuple[dict[str, Any], ...] = ({"actor": "ada"}, {"project": "vision"}, {"outcome": "failure"})
    for refused in (*by_bytes, {"format": "csv"}, {"since": "2026-03-01T00:00:00"}):
        given: dict[str, Any] = {"format": "tar", "complete": "1", **refused}
        answer = await audit.get("/v1/tenants/acme/export", **given)
        assert answer.status_code == 422, answer.text


async def test_an_operators_look_stands_in_the_tenants_own_tree_once_an_hour(audit: Running) -> None:
    operator = await audit.identities.operator()
    for _ in range(5):
        assert (await audit.get("/v1/tenants/acme/trail", operator)).status_code == 200
    kind = "gpuaas.audit.operator-access-recorded.v1"
    await eventually(lambda: _has_items(audit.get("/v1/tenants/acme/trail", type=kind)))
    looks = (await audit.get("/v1/tenants/acme/trail", type=kind)).json()["items"]
    assert {look["tenant_id"] for look in looks} == {"acme"}
    assert len(looks) <= 2, "one, or two where the hour turned meanwhile"
    assert (await audit.get("/v1/tenants/acme/checkpoint", operator)).status_code == 200
    await audit.service.accesses.tell()
    kind = "gpuaas.audit.operator-access-used.v1"
    await eventually(lambda: _has_items(audit.get("/v1/tenants/acme/trail", type=kind)))
    [counted] = (await audit.get("/v1/tenants/acme/trail", type=kind, proof=1)).json()["items"]
    recorded = await audit.service.log.at(counted["position"])
    assert recorded is not None
    uses = json.loads(bytes(recorded.envelope().data))["uses"]
    assert [each["permission"] for each in uses] == ["audit.tree.read"], "what stands there already is not counted too"
    assert (await audit.get("/v1/tenants/ghost/trail", operator)).status_code == 404


async def test_who_follows_a_trail_is_given_the_next_row_when_it_comes(audit: Running) -> None:
    last = (await audit.get("/v1/tenants/acme/trail", limit=1)).json()["items"][0]["position"]
    params = {"after_position": last, "order": "oldest"}
    assert (await audit.get("/v1/tenants/acme/trail", wait_s=1, **params)).json()["items"] == []
    waiting = asyncio.create_task(audit.get("/v1/tenants/acme/trail", wait_s=20, **params))
    await asyncio.sleep(0.5)
    await audit.story.use("next", audit.story.usages[0].started_at, 1)
    items = (await waiting).json()["items"]
    assert items
    assert min(item["position"] for item in items) > last


async def test_a_look_at_everything_is_recorded_where_rows_were_shown_and_once(audit: Running) -> None:
    await audit.identities.member("bolt")
    await audit.identities.member("calm")
    kind = "gpuaas.audit.operator-access-recorded.v1"
    operator = await audit.identities.operator()

    for _ in range(3):
        page = await audit.get("/v1/trail", operator, type="gpuaas.iam.tenant-created.v1", limit=2)
        assert [row["tenant_id"] for row in page.json()["items"]] == ["calm", "bolt"]
    rows = (await audit.get("/v1/trail", operator | _at(await _last(audit)), type=kind, limit=500)).json()["items"]
    assert sorted(row["tree"] for row in rows) == ["bolt", "calm", "platform"]


async def test_an_examination_shows_balance_witnesses_and_both_versions_of_a_divergence(audit: Running) -> None:
    operator = await audit.identities.operator()

    async def examined() -> dict[str, Any]:
        told: dict[str, Any] = (await audit.get("/v1/examination", operator)).json()
        return told

    async def holds(name: str) -> bool:
        return bool((await examined())[name])

    await eventually(lambda: holds("epochs_examined"))
    healthy = await examined()
    assert [each["state"] for each in healthy["witnesses"]] == ["well", "well"]
    assert (healthy["unbalanced_epochs"], healthy["epochs_that_do_not_join"], healthy["divergences"]) == ([], [], [])
    await audit.service.database.pool.execute(
        "UPDATE audit_trail_v2 SET payload_sha256 = $1 WHERE position = 3", bytes(32)
    )
    await eventually(lambda: holds("divergences"))
    [found] = (await examined())["divergences"]
    assert (found["kind"], found["position"]) == ("rewritten", "3")
    assert found["log_holds"]
    assert found["trail_holds"]


async def _is_ok(answer: Any) -> bool:
    return bool((await answer).status_code == 200)


async def _has_items(answer: Any) -> bool:
    return bool((await answer).json()["items"])


async def _last(audit: Running) -> int:
    return await audit.service.log.last_position()


def _at(position: int) -> Headers:
    return {"GPUaaS-At-Least": str(position)}


async def test_a_tree_is_mirrored_by_the_command_line_and_verified(audit: Running, tmp_path: Path) -> None:
    """What `gpuaas audit mirror` copies is the whole signed tree to the offline verifier; again it fetches little."""
    from gpuaas.cli.mirroring import mirror_tree

    class Asking:
        asked = 0

        async def get_bytes(self, service: str, path: str) -> bytes:
            self.asked += 1
            answer = await audit.get(path)
            assert answer.status_code == 200, answer.text
            kept = "immutable" in answer.headers["cache-control"]
            assert kept is ("/tile/" in path), "a tile may be kept for good, a checkpoint never"
            return answer.content

    suite: Any = Asking()

    async def whole() -> bool:
        await mirror_tree(suite, "/v1/tenants/acme", tmp_path)
        return verify_mirror(tmp_path, audit.policy).verdict == "verified"

    await eventually(whole, within_s=30)
    before = suite.asked
    await mirror_tree(suite, "/v1/tenants/acme", tmp_path)
    assert suite.asked - before <= 3
