"""A server that lies to its reader: each lie is refused, and for its own reason."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gpuaas.verify.handovers import verify_handover
from gpuaas.verify.mirrors import verify_mirror
from gpuaas.verify.policy import read_policy, trusting
from gpuaas.verify.rows import verify_growth, verify_rows
from gpuaas.verify.strict_json import canonical

DEV, PRODUCTION = "gpuaas.example/dev", "gpuaas.example/production"
Reason = tuple[str, str]


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


class Server:
    """A log that keeps the tree of the tenant acme and says what it likes about it."""

    def __init__(self, folder: Path, tree: Any, signer: Any, log: str) -> None:
        self.folder, self.tree, self.signer, self.log = folder, tree, signer, log
        self.entries: list[bytes] = []
        self.payloads: list[bytes] = []

    @property
    def vkey(self) -> str:
        return str(self.signer.vkey(self.log))

    def say(self, words: str, tenant: str = "acme") -> Server:
        for word in words:
            payload = json.dumps({"type": "t", "id": word, "time": "2026-03-01T00:00:00Z"}).encode()
            entry = {"v": 1, "position": str(len(self.entries) + 1), "sha256": hashlib.sha256(payload).hexdigest()}
            entry |= {"subject": f"events.a.b.{tenant}.{word}", "id": word, "type": "t", "time": "2026-03-01T00:00:00Z"}
            self.entries.append(canonical(entry))
            self.payloads.append(payload)
        return self

    def head(self, size: int | None = None, root: bytes | None = None) -> str:
        kept = self.entries[:size]
        return str(self.signer.checkpoint(f"{self.log}/tenants/acme", len(kept), root or self.tree(kept).root()))

    def row(self, index: int, head: str | None = None) -> dict[str, Any]:
        path = self.tree(self.entries).inclusion(index)
        lines = ["c2sp.org/tlog-proof@v1", f"index {index}", *map(b64, path)]
        proof = "\n".join(lines) + "\n\n" + (head or self.head())
        return {"entry": json.loads(self.entries[index]), "payload": b64(self.payloads[index]), "proof": proof}

    def judge_row(self, row: dict[str, Any], policy: Any) -> Reason:
        (self.folder / "row.json").write_text(json.dumps(row))
        return _reason(verify_rows(self.folder / "row.json", policy))

    def judge_growth(self, old: str, new: str, proof: list[bytes]) -> Reason:
        for name, text in (("old", old), ("new", new), ("proof", "".join(f"{b64(step)}\n" for step in proof))):
            (self.folder / name).write_text(text)
        files = [self.folder / name for name in ("old", "new", "proof")]
        return _reason(verify_growth(files[0], files[1], files[2], trusting(self.vkey)))


def _reason(report: Any) -> Reason:
    return report.verdict, report.reason


@pytest.fixture
def serve(tmp_path: Path, naive_tree: Any, make_signer: Any) -> Callable[..., Server]:
    return lambda words, log=PRODUCTION, seed=7: Server(tmp_path, naive_tree, make_signer(bytes([seed]) * 32), log).say(
        words
    )


@pytest.fixture
def server(serve: Any) -> Server:
    honest: Server = serve("abcde")
    return honest


@pytest.fixture
def trust(server: Server) -> Any:
    return trusting(server.vkey)


def test_an_honest_server_is_believed(server: Server, trust: Any) -> None:
    assert server.judge_row(server.row(3), trust)[0] == "verified"
    path = server.tree(server.entries).consistency(3, 5)
    assert server.judge_growth(server.head(3), server.head(), path)[0] == "verified"


def test_a_fork_does_not_continue_what_the_reader_holds(server: Server, serve: Any) -> None:
    other = serve("abxyzu")
    path = other.tree(other.entries).consistency(5, 6)
    assert server.judge_growth(server.head(), other.head(), path) == ("refuted", "inconsistent")
    assert server.judge_growth(server.head(), other.head(5), []) == ("refuted", "inconsistent")


def test_a_fork_that_the_witnesses_did_not_see_has_no_quorum(server: Server, make_signer: Any) -> None:
    witnesses = [make_signer(bytes([each]) * 32) for each in (21, 22)]
    lines = [f"witness w{n} {key.vkey(f'w.example/{n}', 4)}" for n, key in enumerate(witnesses)]
    policy = read_policy("\n".join([f"log {server.vkey}", *lines, "group two all w0 w1", "quorum two", ""]))
    head = server.head()
    text = head.rpartition("\n\n")[0] + "\n"
    cosigned = head + "".join(key.cosign(text, f"w.example/{n}") for n, key in enumerate(witnesses))
    assert server.judge_row(server.row(1, cosigned), policy)[0] == "verified"
    half = head + witnesses[0].cosign(text, "w.example/0")
    assert server.judge_row(server.row(1, half), policy) == ("refuted", "no-quorum")
    moved = server.head(root=b"\x01" * 32) + cosigned[len(head) :]
    assert server.judge_row(server.row(1, moved), policy) == ("refuted", "bad-signature")


def test_a_truncated_tail_leaves_tiles_that_are_not_the_signed_tree(server: Server, trust: Any, tmp_path: Path) -> None:
    tile = tmp_path / "mirror" / "tile" / "0" / "000.p" / "5"
    tile.parent.mkdir(parents=True)
    (tmp_path / "mirror" / "checkpoint").write_text(server.head())
    leaves = server.tree(server.entries).leaves
    tile.write_bytes(b"".join(leaves[:4]))
    assert _reason(verify_mirror(tmp_path / "mirror", trust)) == ("refuted", "wrong-tile")
    tile.write_bytes(b"".join([*leaves[:4], leaves[3]]))
    assert _reason(verify_mirror(tmp_path / "mirror", trust)) == ("refuted", "wrong-root")


def test_a_log_rolled_back_by_a_restore_has_shrunk(server: Server) -> None:
    assert server.judge_growth(server.head(), server.head(3), []) == ("refuted", "shrunk")


def test_a_swapped_root_is_not_what_the_key_signed(server: Server, trust: Any) -> None:
    note = server.head()
    swapped = note.replace(note.split("\n")[2], b64(b"\x02" * 32))
    assert server.judge_row(server.row(2, swapped), trust) == ("refuted", "bad-signature")
    assert server.judge_row(server.row(2, server.head(root=b"\x02" * 32)), trust) == ("refuted", "not-included")


def test_a_valid_proof_under_an_older_head_than_the_reader_holds_is_stale(server: Server, trust: Any) -> None:
    stale = server.row(1)
    assert server.judge_row(stale, trust)[0] == "verified"
    server.say("fghi")
    assert server.judge_row(stale, trust.holding(server.head())) == ("refuted", "stale")
    assert server.judge_row(server.row(1), trust.holding(server.head()))[0] == "verified"


def test_a_fork_of_the_size_that_the_reader_holds_is_seen_without_a_proof(server: Server, serve: Any) -> None:
    other = serve("abxyz")
    holder = trusting(server.vkey).holding(server.head())
    assert server.judge_row(other.row(1), holder) == ("refuted", "inconsistent")
    assert server.judge_row(other.row(1), trusting(server.vkey))[0] == "verified", "one who holds nothing is fooled"


def test_each_of_the_seven_lies_has_a_reason_of_its_own(server: Server, serve: Any, trust: Any, tmp_path: Path) -> None:
    fork, dev = serve("abxyzu"), serve("ab", log=DEV)
    path = fork.tree(fork.entries).consistency(5, 6)
    tile = tmp_path / "mirror" / "tile" / "0" / "000.p" / "5"
    tile.parent.mkdir(parents=True)
    (tmp_path / "mirror" / "checkpoint").write_text(server.head())
    tile.write_bytes(b"".join(server.tree(server.entries).leaves[:4]))
    stale, swapped = server.row(1), server.head().replace(server.head().split("\n")[2], b64(b"\x02" * 32))
    told = {
        "fork": server.judge_growth(server.head(), fork.head(), path),
        "truncated tail": _reason(verify_mirror(tmp_path / "mirror", trust)),
        "rollback after a restore": server.judge_growth(server.head(), server.head(3), []),
        "swapped root": server.judge_row(server.row(2, swapped), trust),
        "dev proof as production": dev.judge_row(dev.row(0), trust),
    }
    server.say("f", tenant="bolt")
    told["mixed-tenant proof"] = server.judge_row(server.row(5), trust)
    told["stale valid proof"] = server.judge_row(stale, trust.holding(server.head()))
    assert {verdict for verdict, _ in told.values()} == {"refuted"}
    assert {lie: reason for lie, (_, reason) in told.items()} == {
        "fork": "inconsistent",
        "truncated tail": "wrong-tile",
        "rollback after a restore": "shrunk",
        "swapped root": "bad-signature",
        "stale valid proof": "stale",
        "mixed-tenant proof": "wrong-tree",
        "dev proof as production": "unknown-origin",
    }


def test_a_valid_proof_of_an_older_tree_does_not_hold_in_a_newer_one(server: Server, trust: Any) -> None:
    stale = server.row(1)
    server.say("fghi")
    stale["proof"] = stale["proof"].partition("\n\n")[0] + "\n\n" + server.head()
    assert server.judge_row(stale, trust) == ("refuted", "not-included")


def test_a_row_of_one_tenant_in_the_tree_of_another_is_refused(server: Server, trust: Any) -> None:
    server.say("f", tenant="bolt")
    assert server.judge_row(server.row(5), trust) == ("refuted", "wrong-tree")


def test_a_dev_proof_is_not_one_of_production(trust: Any, serve: Any) -> None:
    dev = serve("ab", log=DEV)
    assert dev.judge_row(dev.row(0), trust) == ("refuted", "unknown-origin")
    stranger = serve("ab", seed=9)
    assert stranger.judge_row(stranger.row(0), trust) == ("refuted", "unsigned")


def test_what_an_earlier_key_signed_stays_proved_beside_the_new_one(server: Server, serve: Any) -> None:
    newer = serve("abcdef", seed=8)
    both = trusting(server.vkey, newer.vkey)
    for each in (server, newer):
        assert each.judge_row(each.row(2), both)[0] == "verified"
    assert server.judge_row(server.row(2), trusting(newer.vkey)) == ("refuted", "unsigned")


def test_a_new_key_is_taken_from_the_one_before_and_from_nobody_else(
    trust: Any, make_signer: Any, tmp_path: Path
) -> None:
    old, new, thief = (make_signer(bytes([seed]) * 32) for seed in (7, 8, 9))
    text = f"gpuaas-log-key/v1\n{PRODUCTION}\n{new.vkey(PRODUCTION)}\n"
    note = tmp_path / "handover"

    def signed(*signers: Any) -> Reason:
        note.write_text(text + "\n" + "".join(signer.line(text, PRODUCTION) for signer in signers))
        return _reason(verify_handover(note, trust))

    assert signed(old, new)[0] == "verified"
    assert signed(thief, new) == ("refuted", "unsigned")
    assert signed(old) == ("refuted", "unsigned")
