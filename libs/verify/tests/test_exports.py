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
    def made(
        indices: Sequence[int],
        head: str | None = None,
        first: str = "checkpoint",
        kind: str = "rows-",
        before: Sequence[tuple[str, bytes]] = (),
    ) -> Path:
        file = tmp_path / "trail.tar"
        parts = [("policy", b"log nobody's\n"), (first, (head or trail.head).encode()), *before]
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


# -- a part, and all of what was asked for --------------------------------------------------------------------------

SUBJECT = "events.a.b.acme"


def framed(entries: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in map(canonical, entries))


def asking(trail: Trail, entries: Sequence[dict[str, Any]] | None = None, **asked: Any) -> list[tuple[str, bytes]]:
    given = trail.entries if entries is None else entries
    parts = [("entries-000001", framed(given[:3])), ("entries-000002", framed(given[3:]))]
    return [("asked.json", json.dumps(asked).encode()), *parts]


ANSWERS = [
    ({"subjects": [f"{SUBJECT}.1", f"{SUBJECT}.3"]}, [1, 3]),
    ({"event": "c"}, [2]),
    ({"type": "t", "after_position": "3"}, [3, 4]),
    ({"type": "other"}, []),
    ({"since": "2026-03-01T00:00:00Z", "until": "2026-03-01T00:00:00.000001Z"}, [0, 1, 2, 3, 4]),
    ({"until": "2026-03-01T01:00:00+01:00"}, []),
    ({}, [0, 1, 2, 3, 4]),
]


@pytest.mark.parametrize(("asked", "indices"), ANSWERS)
def test_an_answer_that_carries_the_trees_entries_is_shown_to_be_complete(
    trail: Trail, tarball: Tar, asked: dict[str, Any], indices: list[int]
) -> None:
    file = tarball(indices, before=asking(trail, **asked))
    report = verify_export(file, trusting(trail.vkey), complete=True)
    assert (report.verdict, report.detail) == ("verified", "")
    assert "complete" in [check.name for check in report.checks]


@pytest.mark.parametrize(
    ("indices", "reason"),
    [([1], "left-out"), ([3], "left-out"), ([], "left-out"), ([1, 2, 3], "not-asked"), ([0, 1], "not-asked")],
)
def test_an_answer_that_lacks_a_row_or_has_one_too_many_is_refused(
    trail: Trail, tarball: Tar, indices: list[int], reason: str
) -> None:
    asked: dict[str, Any] = {"subjects": [f"{SUBJECT}.1", f"{SUBJECT}.3"]}
    assert judged(trail, tarball(indices, before=asking(trail, **asked)), whole=False) == ("refuted", reason)


def test_entries_that_are_not_the_trees_show_nothing(trail: Trail, tarball: Tar) -> None:
    other = [trail.entries[0] | {"type": "u"}, *trail.entries[1:]]
    for entries in (other, trail.entries[:4], trail.entries[1:]):
        file = tarball([1, 2, 3, 4], before=asking(trail, entries, type="t"))
        assert judged(trail, file, whole=False) == ("refuted", "wrong-root")


def test_a_part_without_entries_is_true_and_not_shown_to_be_complete(
    trail: Trail, tarball: Tar, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(tarball([1, 3])), "--key", trail.vkey]) == 0
    assert main(["export", str(tarball([1, 3])), "--key", trail.vkey, "--complete"]) == 1
    assert "not-shown" in capsys.readouterr().out
    assert main(["export", str(tarball(range(5))), "--key", trail.vkey, "--complete"]) == 0, "a whole one is complete"


def test_a_question_that_no_leaf_can_answer_is_unusable(trail: Trail, tarball: Tar) -> None:
    for asked in ({"actor": "ada"}, {"subjects": "x"}, {"since": "yesterday"}, {"after_position": 3}):
        assert judged(trail, tarball([1], before=asking(trail, **asked)))[0] == "unusable"
    entries, rows = asking(trail, type="t"), ("rows-0.json", b'{"items": []}')
    for before in (entries[1:], [*entries[:1], *entries], [entries[0], ("entries-1", b"\x00\x09{}"), rows]):
        assert judged(trail, tarball([1], before=before)) == ("unusable", "malformed")
