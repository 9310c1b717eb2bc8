"""An epoch, and a tenant's place in it. One law: the epoch is a leaf of the platform's tree, so its balance is signed.

The document is what the audit service answers for `/v1/tenants/{tenant_id}/epoch`. The map's line of a tree is
`HMAC-SHA-256(secret, tree) || HMAC-SHA-256(secret, checkpoint)`, the sorted lines are the leaves of an RFC 6962 tree,
and each tenant knows its own secret only: it finds its line, and learns nothing of others but how many they are.
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from pathlib import Path

from gpuaas.verify.bundles import load
from gpuaas.verify.encodings import HASH_BYTES
from gpuaas.verify.fields import Fields
from gpuaas.verify.leaves import ProvedEvent, prove, read_event, read_leaf
from gpuaas.verify.policy import PLATFORM_TREE, Head, Policy, tenant_tree
from gpuaas.verify.refusals import Refuted, Unusable
from gpuaas.verify.reports import Report
from gpuaas.verify.strict_json import parse_object
from gpuaas.verify.tree import check_inclusion, leaf_hash

_SEALED = "gpuaas.audit.epoch-sealed.v1"
_MEMBERS = (
    "tenant_id",
    "epoch",
    "last_position",
    "map_root",
    "map_size",
    "map_index",
    "map_path",
    "secret",
    "checkpoint",
    "platform_checkpoint",
    "sealed",
)


def verify_epoch(path: str | Path, policy: Policy, tenant_id: str | None = None) -> Report:
    """Whether an epoch that the platform's tree holds is balanced and commits to the tenant's checkpoint.

    Args:
        tenant_id: refuse a document of any other tenant.
    """
    report = Report(what=f"epoch {Path(path).name}")
    with report.deciding():
        document = Fields(parse_object(load(path), "the document"), "the document").only(*_MEMBERS)
        if tenant_id is not None and document.text("tenant_id") != tenant_id:
            raise Refuted("wrong-tree", f"it is about {document.text('tenant_id')[:80]!r}, not about {tenant_id!r}")
        platform = policy.accept(document.text("platform_checkpoint"))
        leaf = read_leaf(document.raw.get("sealed"), "the epoch")
        if platform.tree != PLATFORM_TREE or leaf.tree != PLATFORM_TREE:
            raise Refuted("wrong-tree", "epochs stand in the platform's tree")
        prove(leaf, platform)
        epoch = read_event(leaf)
        report.held("inclusion", f"the epoch is in {platform.checkpoint.origin}, {platform.checkpoint.size:,} leaves")
        _check_balance(epoch, document, report)
        _check_place(document, policy, platform, report)
    return report


def _check_balance(epoch: ProvedEvent, document: Fields, report: Report) -> None:
    data = epoch.data
    if (epoch.type, epoch.entity) != (_SEALED, "epoch"):
        raise Refuted("other-event", f"{epoch.type} is no sealed epoch")
    first, last = data.int64("first_position"), data.int64("last_position")
    leaves, gaps = data.integer("leaf_count"), data.integer("gap_count")
    if first < 1 or leaves < 0 or gaps < 0 or leaves + gaps != last - first + 1:
        raise Refuted("unbalanced", f"positions {first} to {last} are not {leaves} leaves and {gaps} gaps")
    said = [data.integer("epoch"), last, data.text("map_root"), data.integer("tree_count")]
    shown = [document.integer("epoch"), document.int64("last_position"), document.text("map_root")]
    if said != [*shown, document.integer("map_size")]:
        raise Refuted("other-event", "the document does not say what the sealed epoch says")
    report.held("balance", f"positions {first:,} to {last:,} are {leaves:,} leaves and {gaps:,} gaps, none is missing")
    report.facts |= {"epoch": str(said[0]), "last position": str(last), "trees": str(said[3])}


def _check_place(document: Fields, policy: Policy, platform: Head, report: Report) -> None:
    """The tenant's checkpoint is under the epoch's map. Who cosigned the platform's head has cosigned this with it."""
    note, tenant_id = document.text("checkpoint"), document.text("tenant_id")
    head = replace(policy, quorum="none").accept(note)
    if head.tree != tenant_tree(tenant_id) or head.log.name != platform.log.name:
        raise Refuted("wrong-tree", f"the checkpoint of {head.checkpoint.origin} is not one of {tenant_id[:80]}")
    secret, root = (_hashed(document.text(name), name) for name in ("secret", "map_root"))
    line = b"".join(hmac.digest(secret, text.encode(), "sha256") for text in (tenant_id, note))
    path = [_hashed(step, "map_path") for step in document.items("map_path")]
    try:
        check_inclusion(leaf_hash(line), document.integer("map_index"), document.integer("map_size"), path, root)
    except Refuted as wrong:
        raise Refuted("not-in-map", f"the epoch does not commit to this checkpoint of {tenant_id[:80]}") from wrong
    report.held("map", f"the epoch commits to {head.checkpoint.origin} with {head.checkpoint.size:,} leaves")
    report.facts |= {"origin": head.checkpoint.origin, "size": str(head.checkpoint.size)}


def _hashed(text: object, what: str) -> bytes:
    """32 bytes in lower-case hex."""
    if isinstance(text, str) and len(text) == 2 * HASH_BYTES and not set(text) - set("0123456789abcdef"):
        return bytes.fromhex(text)
    raise Unusable("malformed", f"{what} is not {HASH_BYTES} bytes in lower-case hex")
