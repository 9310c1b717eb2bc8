"""A trail taken home: whole or in part, and what a server that leaves out, repeats or mixes is told."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from gpuaas.verify.exports import verify_export
from gpuaas.verify.main import main
from gpuaas.verify.policy import trusting
from gpuaas.verify.strict_json import canonical

LOG = "gpuaas.example/production"
Tar = Callable[..., Path]


class Trail:
    """Five leaves of the tenant acme."""

    def __init__(self, tree: Any, signer: Any) -> None:
        self.payloads = [json.dumps({"type": "t", "id": n, "time": "2026-03-01T00:00:00Z"}).encode() for n in "abcde"]
        self.entries = [
            {"v": 1, "position": str(at + 1), "sha256": hashlib.sha256(payload).hexdigest()}
            | {"subject": f"events.a.b.acme.{at}", "type": "t", "id": "abcde"[at], "time": "2026-03-01T00:00:00Z"}
            for at, payload in enumerate(self.payloads)
        ]
        self.tree = tree([canonical(entry) for entry in self.entries])
        self.signer = signer
        self.vkey = str(signer.vkey(LOG))
        self.head = str(signer.checkpoint(f"{LOG}/tenants/acme", 5, self.tree.root()))

    def row(self, at: int) -> dict[str, Any]:
        path = [base64.b64encode(step).decode() for step in self.tree.inclusion(at)]
        proof = "\n".join(["c2sp.org/tlog-proof@v1", f"index {at}", *path]) + "\n\n" + self.head
        return {"entry": self.entries[at], "payload": base64.b64encode(self.payloads[at]).decode(), "proof": proof}


@pytest.fixture
def trail(naive_tree: Any, make_signer: Any) -> Trail:
    return Trail(naive_tree, make_signer())


@pytest.fixture
def tarball(tmp_path: Path, trail: Trail) -> Tar:
    def made(indices: Sequence[int], head: str | None = None, first: str = "checkpoint", kind: str = "rows-") -> Path:
        file = tmp_path / "trail.tar"
        parts = [("policy", b"log nobody's\n"), (first, (head or trail.head).encode())]
        for number in range(0, len(indices), 2):
            rows = [trail.row(at) for at in indices[number : number + 2]]
            parts.append((f"{kind}{number:06d}.json", json.dumps({"items": rows}).encode()))
        with tarfile.open(file, "w") as tar:
            for name, content in parts:
                about = tarfile.TarInfo(name)
                about.size = len(content)
                tar.addfile(about, io.BytesIO(content))
        return file

    return made


def judged(trail: Trail, file: Path, whole: bool = True) -> tuple[str, str]:
    report = verify_export(file, trusting(trail.vkey), whole)
    return report.verdict, report.reason


def test_a_whole_trail_is_said_to_be_whole(trail: Trail, tarball: Tar, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tarball(range(5))), "--key", trail.vkey, "--whole"]) == 0
    assert "all 5 leaves of the signed tree: nothing is left out" in capsys.readouterr().out


@pytest.mark.parametrize("indices", [[0, 1, 3, 4], [1, 2, 3, 4], [0, 1, 2, 3], []])
def test_a_trail_that_lacks_a_leaf_is_a_part_and_not_whole(trail: Trail, tarball: Tar, indices: list[int]) -> None:
    assert judged(trail, tarball(indices), whole=False) == ("verified", "")
    assert judged(trail, tarball(indices)) == ("refuted", "left-out")


@pytest.mark.parametrize("indices", [[0, 1, 1, 2, 3, 4], [1, 0, 2, 3, 4], [0, 1, 2, 3, 3]])
def test_a_row_twice_or_out_of_order_does_not_make_up_for_one_that_lacks(
    trail: Trail, tarball: Tar, indices: list[int]
) -> None:
    assert judged(trail, tarball(indices), whole=False) == ("refuted", "wrong-order")


def test_rows_under_another_head_than_the_exports_are_refused(trail: Trail, tarball: Tar) -> None:
    other = trail.signer.checkpoint(f"{LOG}/tenants/acme", 6, b"\x01" * 32)
    assert judged(trail, tarball(range(5), head=other)) == ("refuted", "wrong-tree")


def test_the_policy_inside_is_not_believed(trail: Trail, tarball: Tar, make_signer: Any) -> None:
    stranger = trusting(make_signer(b"\x09" * 32).vkey(LOG))
    assert verify_export(tarball(range(5)), stranger).reason == "unsigned"


def test_what_is_no_export_is_unusable(trail: Trail, tarball: Tar, tmp_path: Path) -> None:
    assert judged(trail, tarball(range(5), first="other")) == ("unusable", "malformed")
    assert judged(trail, tarball(range(5), kind="cols-")) == ("unusable", "malformed")
    assert judged(trail, tmp_path / "nowhere.tar") == ("unusable", "unreadable")
    (tmp_path / "noise").write_bytes(b"noise" * 1_000)
    assert judged(trail, tmp_path / "noise") == ("unusable", "unreadable")
    cut = tarball(range(5)).read_bytes()[:3_000]
    (tmp_path / "cut.tar").write_bytes(cut)
    assert judged(trail, tmp_path / "cut.tar") == ("unusable", "unreadable")
