"""An epoch and a tenant's place in its map, taken to a laptop: what holds, and every way in which it does not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gpuaas.verify.epochs import verify_epoch
from gpuaas.verify.main import main
from gpuaas.verify.policy import read_policy, trusting
from gpuaas.verify.strict_json import canonical

LOG = "gpuaas.example/production"
MASTER = {"acme": b"\x01" * 32, "bolt": b"\x02" * 32, "coil": b"\x03" * 32}
Json = dict[str, Any]


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


class Keeper:
    """A log with three tenants that seals one epoch."""

    def __init__(self, folder: Path, tree: Any, signer: Any) -> None:
        self.folder, self.tree, self.signer = folder, tree, signer
        self.data: Json = {"epoch": 4, "first_position": "11", "last_position": "30", "leaf_count": 19, "gap_count": 1}
        self.notes = {
            tenant: str(signer.checkpoint(f"{LOG}/tenants/{tenant}", 7, hashlib.sha256(tenant.encode()).digest()))
            for tenant in MASTER
        }
        self.kind = "gpuaas.audit.epoch-sealed.v1"

    @property
    def vkey(self) -> str:
        return str(self.signer.vkey(LOG))

    def line(self, tenant: str) -> bytes:
        said = (tenant, self.notes[tenant])
        return b"".join(hmac.digest(MASTER[tenant], text.encode(), "sha256") for text in said)

    def document(self, tenant: str = "acme") -> Json:
        lines = sorted(self.line(each) for each in MASTER)
        covering, index = self.tree(lines), lines.index(self.line(tenant))
        data = {**self.data, "tree_count": 3, "map_root": covering.root().hex(), "platform_checkpoint": "-"}
        event: Json = {"id": "e-4", "type": self.kind, "time": "2026-03-01T00:00:00Z"}
        event |= {"subject": "epoch/platform/log", "tenantid": "platform", "data": data}
        payload = json.dumps(event).encode()
        entry = {"v": 1, "position": "31", "sha256": hashlib.sha256(payload).hexdigest()}
        entry |= {
            "subject": "events.audit.epoch.platform.log",
            **{name: event[name] for name in ("id", "type", "time")},
        }
        leaves = self.tree([b"before", canonical(entry), b"after"])
        return {
            "tenant_id": tenant,
            "epoch": data["epoch"],
            "last_position": data["last_position"],
            "map_root": data["map_root"],
            "map_size": 3,
            "map_index": index,
            "map_path": [step.hex() for step in covering.inclusion(index)],
            "secret": MASTER[tenant].hex(),
            "checkpoint": self.notes[tenant],
            "platform_checkpoint": self.signer.checkpoint(f"{LOG}/platform", 3, leaves.root()),
            "sealed": {
                "index": "1",
                "entry": entry,
                "payload": b64(payload),
                "proof": [b64(step) for step in leaves.inclusion(1)],
            },
        }

    def judge(self, document: Json, tenant: str | None = None, policy: Any = None) -> tuple[str, str]:
        (self.folder / "epoch.json").write_text(json.dumps(document))
        report = verify_epoch(self.folder / "epoch.json", policy or trusting(self.vkey), tenant)
        return report.verdict, report.reason


@pytest.fixture
def keeper(tmp_path: Path, naive_tree: Any, make_signer: Any) -> Keeper:
    return Keeper(tmp_path, naive_tree, make_signer())


def test_an_honest_epoch_holds_for_every_tenant(keeper: Keeper, capsys: pytest.CaptureFixture[str]) -> None:
    for tenant in MASTER:
        assert keeper.judge(keeper.document(tenant), tenant) == ("verified", "")
    assert main(["epoch", str(keeper.folder / "epoch.json"), "--key", keeper.vkey, "--tenant", "coil"]) == 0
    assert "positions 11 to 30 are 19 leaves and 1 gaps" in capsys.readouterr().out


def test_nothing_in_a_tenants_document_names_another_tenant(keeper: Keeper) -> None:
    told = json.dumps(keeper.document("acme"))
    for other in ("bolt", "coil"):
        assert other not in told
        assert keeper.line(other).hex() not in told
        assert MASTER[other].hex() not in told


def test_an_epoch_with_a_hole_is_unbalanced(keeper: Keeper) -> None:
    keeper.data["leaf_count"] = 18
    assert keeper.judge(keeper.document()) == ("refuted", "unbalanced")


def test_another_checkpoint_than_the_epoch_committed_to_is_not_in_its_map(keeper: Keeper) -> None:
    document = keeper.document()
    document["checkpoint"] = keeper.signer.checkpoint(f"{LOG}/tenants/acme", 8, b"\x09" * 32)
    assert keeper.judge(document) == ("refuted", "not-in-map")


Change = Callable[[Json], object]


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda told: told.update(map_root="00" * 32), ("refuted", "other-event")),
        (lambda told: told.update(epoch=5), ("refuted", "other-event")),
        (lambda told: told.update(map_size=4), ("refuted", "other-event")),
        (lambda told: told.update(map_index=7), ("refuted", "not-in-map")),
        (lambda told: told.update(secret="00" * 32), ("refuted", "not-in-map")),
        (lambda told: told.update(secret="0F" * 32), ("unusable", "malformed")),
        (lambda told: told.update(map_path=["00"]), ("unusable", "malformed")),
        (lambda told: told.update(more=1), ("unusable", "malformed")),
        (lambda told: told.update(tenant_id="bolt"), ("refuted", "wrong-tree")),
        (lambda told: told.update(platform_checkpoint=told["checkpoint"]), ("refuted", "wrong-tree")),
        (lambda told: told["sealed"].update(index="0"), ("refuted", "not-included")),
        (lambda told: told["sealed"].update(payload=b64(b"{}")), ("refuted", "other-bytes")),
    ],
)
def test_a_changed_document_is_refused(keeper: Keeper, change: Change, refusal: tuple[str, str]) -> None:
    document = keeper.document()
    change(document)
    assert keeper.judge(document) == refusal


def test_another_event_of_the_platform_is_no_epoch(keeper: Keeper) -> None:
    keeper.kind = "gpuaas.audit.trail-exported.v1"
    assert keeper.judge(keeper.document()) == ("refuted", "other-event")


def test_a_document_of_another_tenant_is_refused_when_one_is_named(keeper: Keeper) -> None:
    assert keeper.judge(keeper.document("bolt"), "acme") == ("refuted", "wrong-tree")


def test_a_quorum_is_demanded_of_the_platforms_head_which_covers_the_rest(keeper: Keeper, make_signer: Any) -> None:
    witness = make_signer(b"\x21" * 32)
    policy = read_policy(f"log {keeper.vkey}\nwitness w {witness.vkey('w.example/1', 4)}\nquorum w\n")
    document = keeper.document()
    assert keeper.judge(document, policy=policy) == ("refuted", "no-quorum")
    note = document["platform_checkpoint"]
    document["platform_checkpoint"] = note + witness.cosign(note.rpartition("\n\n")[0] + "\n", "w.example/1")
    assert keeper.judge(document, policy=policy) == ("verified", "")


def test_what_the_reader_holds_is_held_against_every_command(keeper: Keeper) -> None:
    newer = keeper.signer.checkpoint(f"{LOG}/platform", 9, b"\x05" * 32)
    assert keeper.judge(keeper.document(), policy=trusting(keeper.vkey).holding(newer)) == ("refuted", "stale")
    (keeper.folder / "held").write_text(newer)
    command = ["epoch", str(keeper.folder / "epoch.json"), "--key", keeper.vkey, "--held"]
    assert main([*command, str(keeper.folder / "held")]) == 1
    assert main([*command, str(keeper.folder / "nothing")]) == 2
