"""Whole trees as files, trail rows and growth: honest ones verify, changed ones do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gpuaas.verify.main import main
from gpuaas.verify.mirrors import tile_path, verify_mirror
from gpuaas.verify.policy import trusting
from gpuaas.verify.rows import verify_growth, verify_rows

ORIGIN = "gpuaas.example/demo/tenants/acme"
LOG = "gpuaas.example/demo"


def mirror(folder: Path, entries: list[bytes], tree: Any, signer: Any) -> None:
    """Lay a tree out as tlog-tiles, leaf level only."""
    folder.mkdir(exist_ok=True)
    (folder / "checkpoint").write_text(signer.checkpoint(ORIGIN, len(entries), tree.root()))
    for index in range(0, len(entries), 256):
        part = slice(index, index + 256)
        path = tile_path(index // 256, len(entries[part]))
        for base, content in (
            ("0", b"".join(tree.leaves[part])),
            ("entries", b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries[part])),
        ):
            file = folder / "tile" / base / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def test_tile_paths_are_spelled_as_the_specification_says() -> None:
    assert tile_path(1234067) == "x001/x234/067"
    assert tile_path(0) == "000"
    assert tile_path(1, 44) == "001.p/44"


def test_a_mirrored_tree_is_recomputed_and_a_changed_one_refuted(tmp_path: Path, signer: Any, naive_tree: Any) -> None:
    entries = [f"entry {number}".encode() for number in range(300)]
    tree = naive_tree(entries)
    policy = trusting(signer.vkey(LOG))
    mirror(tmp_path / "m", entries, tree, signer)
    report = verify_mirror(tmp_path / "m", policy)
    assert (report.verdict, report.detail) == ("verified", "")
    assert [check.name for check in report.checks] == ["checkpoint", "tree", "entries"]
    tile = tmp_path / "m" / "tile" / "0" / "001.p" / "44"
    honest = tile.read_bytes()
    tile.write_bytes(honest[:-32])
    assert verify_mirror(tmp_path / "m", policy).reason == "wrong-tile"
    tile.write_bytes(honest[:-1] + b"\x00")
    assert verify_mirror(tmp_path / "m", policy).reason == "wrong-entry"
    (tmp_path / "m" / "tile" / "entries" / "001.p" / "44").unlink()
    assert verify_mirror(tmp_path / "m", policy).reason == "wrong-root"
    tile.unlink()
    assert verify_mirror(tmp_path / "m", policy).verdict == "unusable"


def test_growth_is_proved_and_a_rollback_or_fork_refuted(tmp_path: Path, signer: Any, naive_tree: Any) -> None:
    entries = [f"{number}".encode() for number in range(11)]
    tree = naive_tree(entries)
    policy = trusting(signer.vkey(LOG))
    forked = naive_tree([*entries[:3], b"other", *entries[4:]])
    files = {
        "old": signer.checkpoint(ORIGIN, 6, tree.root(0, 6)),
        "new": signer.checkpoint(ORIGIN, 11, tree.root()),
        "fork": signer.checkpoint(ORIGIN, 11, forked.root()),
        "else": signer.checkpoint(f"{LOG}/platform", 11, tree.root()),
        "proof": "\n".join(_b64(step) for step in tree.consistency(6, 11)) + "\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)

    def grown(old: str, new: str) -> str:
        return verify_growth(tmp_path / old, tmp_path / new, tmp_path / "proof", policy).reason

    assert grown("old", "new") == ""
    assert grown("new", "old") == "shrunk"
    assert grown("old", "fork") == "inconsistent"
    assert grown("old", "else") == "wrong-tree"
    arguments = [str(tmp_path / name) for name in ("old", "new", "proof")]
    assert main(["growth", *arguments, "--key", signer.vkey(LOG)]) == 0


@pytest.fixture
def rows(world: Any) -> dict[str, Any]:
    bundle = world.bundle()
    note = bundle["checkpoints"]["tenants/acme"]
    items = []
    for leaf in bundle["usages"]:
        head = "".join(f"{line}\n" for line in ["c2sp.org/tlog-proof@v1", f"index {leaf['index']}", *leaf["proof"]])
        items.append({"entry": leaf["entry"], "payload": leaf["payload"], "proof": f"{head}\n{note}", "actor": "kim"})
    return {"items": items, "next_cursor": None}


def test_rows_are_proved_one_by_one_or_together(tmp_path: Path, world: Any, rows: Any) -> None:
    policy = trusting(world.vkey)
    for document in (rows, rows["items"][0]):
        (tmp_path / "rows.json").write_text(json.dumps(document))
        assert verify_rows(tmp_path / "rows.json", policy).verdict == "verified"
    rows["items"][0]["entry"]["position"] = "12345"
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    assert verify_rows(tmp_path / "rows.json", policy).reason == "not-included"
    (tmp_path / "rows.json").write_text('{"items": []}')
    assert verify_rows(tmp_path / "rows.json", policy).verdict == "unusable"


def _b64(value: bytes) -> str:
    import base64

    return base64.b64encode(value).decode()
