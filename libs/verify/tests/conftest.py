"""A small honest log for the verifier's tests, built naively. One law: it shares no code with what it is judged by."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

VECTORS = Path(__file__).parent / "vectors"
Json = dict[str, Any]


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def sha(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


def jcs(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class NaiveTree:
    """RFC 6962 §2.1 as it is written there, recursion and all."""

    def __init__(self, entries: list[bytes]) -> None:
        self.leaves = [sha(b"\x00" + entry) for entry in entries]

    def root(self, start: int = 0, end: int | None = None) -> bytes:
        end = len(self.leaves) if end is None else end
        if end == start:
            return sha(b"")
        if end - start == 1:
            return self.leaves[start]
        k = _split(end - start)
        return sha(b"\x01" + self.root(start, start + k) + self.root(start + k, end))

    def inclusion(self, index: int, start: int = 0, end: int | None = None) -> list[bytes]:
        end = len(self.leaves) if end is None else end
        if end - start <= 1:
            return []
        k = _split(end - start)
        if index < k:
            return [*self.inclusion(index, start, start + k), self.root(start + k, end)]
        return [*self.inclusion(index - k, start + k, end), self.root(start, start + k)]

    def consistency(self, old: int, new: int) -> list[bytes]:
        return self._subproof(old, 0, new, True)

    def _subproof(self, m: int, start: int, end: int, whole: bool) -> list[bytes]:
        if m == end - start:
            return [] if whole else [self.root(start, end)]
        k = _split(end - start)
        if m <= k:
            return [*self._subproof(m, start, start + k, whole), self.root(start + k, end)]
        return [*self._subproof(m - k, start + k, end, False), self.root(start, start + k)]


def _split(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)


class Signer:
    """An Ed25519 key and what it says under a name."""

    def __init__(self, seed: bytes = b"\x07" * 32) -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self.private.public_key().public_bytes_raw()

    def key_id(self, name: str, kind: int = 1) -> bytes:
        return sha(name.encode() + b"\n" + bytes([kind]) + self.public)[:4]

    def vkey(self, name: str, kind: int = 1) -> str:
        return f"{name}+{self.key_id(name, kind).hex()}+{b64(bytes([kind]) + self.public)}"

    def line(self, text: str, name: str) -> str:
        return f"— {name} {b64(self.key_id(name) + self.private.sign(text.encode()))}\n"

    def cosign(self, text: str, name: str, moment: int = 1_700_000_000) -> str:
        signed = self.private.sign(f"cosignature/v1\ntime {moment}\n{text}".encode())
        return f"— {name} {b64(self.key_id(name, 4) + moment.to_bytes(8, 'big') + signed)}\n"

    def checkpoint(self, origin: str, size: int, root: bytes) -> str:
        text = f"{origin}\n{size}\n{b64(root)}\n"
        return f"{text}\n{self.line(text, origin)}"


class World:
    """A log with one billed tenant, and the bundle that proves its invoice. Change `events` before asking for it."""

    def __init__(self, log: str = "gpuaas.example/demo", tenant: str = "acme", signer: Signer | None = None) -> None:
        self.log, self.tenant, self.signer = log, tenant, signer or Signer()
        self.events: dict[str, Json] = {}
        self.order: list[str] = []
        self._book()
        self._usage("u1", "2026-03-01T00:00:00.000400Z", "2026-03-01T01:30:00.000100Z", 8)
        self._usage("u2", "2026-03-02T00:00:00Z", "2026-03-02T00:00:01.999Z", 1)
        self._run()
        self._invoice()

    @property
    def vkey(self) -> str:
        return self.signer.vkey(self.log)

    def add(self, name: str, kind: str, entity: str, owner: str, entity_id: str, data: Json) -> Json:
        service = kind.split(".")[0]
        event = {
            "specversion": "1.0",
            "id": f"id-{name}",
            "type": f"gpuaas.{kind}.v1",
            "subject": f"{entity}/{owner}/{entity_id}",
            "time": "2026-03-03T00:00:00.000000Z",
            "tenantid": owner,
            "data": data,
        }
        self.events[name] = event
        self.order.append(name)
        event["_nats"] = f"events.{service}.{entity}.{owner}.{entity_id}"
        return event

    def _book(self) -> None:
        data = {"price_book_id": "list", "version": 3, "currency": "EUR", "effective_from": "2026-01-01T00:00:00Z"}
        data["prices"] = [{"gpu_model": "h100", "unit": "gpu-hour", "amount": "2.4995"}]
        self.add("book", "billing.price-book-published", "price-book", "platform", "list", data)

    def _usage(self, usage_id: str, start: str, end: str, count: int) -> None:
        about = {"tenant_id": self.tenant, "project_id": "ml", "allocation_id": f"a-{usage_id}", "gpu_model": "h100"}
        about["gpu_count"] = count  # type: ignore[assignment]
        for name, member, moment in (("started", "started_at", start), ("released", "ended_at", end)):
            self.add(
                f"{name}-{usage_id}",
                f"allocations.allocation-{name}",
                "allocation",
                self.tenant,
                f"a-{usage_id}",
                {**about, member: moment},
            )
        gpu_ms = count * {"u1": 5_400_000, "u2": 1_999}[usage_id]
        links = {"start_event_id": f"id-started-{usage_id}", "end_event_id": f"id-released-{usage_id}"}
        data = {**about, **links, "usage_id": usage_id, "started_at": start, "ended_at": end, "gpu_ms": str(gpu_ms)}
        self.add(usage_id, "billing.usage-metered", "usage", self.tenant, f"a-{usage_id}", data)

    def _run(self) -> None:
        data = {"run_id": "r1", "period_start": "2026-03-01T00:00:00Z", "period_end": "2026-04-01T00:00:00Z"}
        self.add("run", "billing.billing-run-started", "billing-run", "platform", "r1", data)

    def _invoice(self) -> None:
        line = {
            "line_id": "l1",
            "project_id": "ml",
            "gpu_model": "h100",
            "gpu_ms": "43201999",
            "unit": "gpu-hour",
            "unit_price": "2.4995",
            "price_book_id": "list",
            "price_book_version": 3,
            "amount": "30.00",
            "usage_count": 2,
            "usage_sha256": sha(b"u1\nu2").hex(),
        }
        data: Json = {"invoice_id": "inv-1", "run_id": "r1", "number": "2026-000001", "tenant_id": self.tenant}
        data |= {"currency": "EUR", "period_start": "2026-03-01T00:00:00Z", "period_end": "2026-04-01T00:00:00Z"}
        data |= {"lines": [line], "total": "30.00"}
        self.add("invoice", "billing.invoice-finalized", "invoice", self.tenant, "inv-1", data)
        self.seal_content()

    def seal_content(self) -> None:
        data = self.events["invoice"]["data"]
        data.pop("content_sha256", None)
        data["content_sha256"] = sha(jcs(data)).hex()

    def line(self) -> Json:
        line: Json = self.events["invoice"]["data"]["lines"][0]
        return line

    def bundle(self) -> Json:
        """The bundle an honest service would hand out for these events. The run read all that stands before it."""
        self.events["run"]["data"].setdefault("log_position", str(10 + self.order.index("run")))
        rows = {name: self._row(position, name) for position, name in enumerate(self.order, 11)}
        trees = {
            tree: [row for row in rows.values() if row["tree"] == tree]
            for tree in (f"tenants/{self.tenant}", "platform")
        }
        notes = {}
        for tree, members in trees.items():
            naive = NaiveTree([jcs(row["entry"]) for row in members])
            for index, row in enumerate(members):
                row["index"] = str(index)
                row["proof"] = [b64(step) for step in naive.inclusion(index)]
            notes[tree] = self.signer.checkpoint(f"{self.log}/{tree}", len(members), naive.root())
        leaves = {name: {k: v for k, v in row.items() if k != "tree"} for name, row in rows.items()}
        self._leaves = leaves
        chosen: Callable[[str], list[Json]] = lambda start: [v for k, v in leaves.items() if k.startswith(start)]  # noqa: E731
        agreed = {"price_agreements": chosen("agreement"), "price_agreement_ends": chosen("no-longer")}
        return {
            "format": "gpuaas-bundle/v1",
            "tenant_id": self.tenant,
            "checkpoints": notes,
            "invoice": leaves["invoice"],
            "run": leaves["run"],
            "lines": {"l1": [name for name in self.order if name.startswith("u")]},
            "usages": chosen("u"),
            "allocation_events": [*chosen("started"), *chosen("released")],
            "price_books": chosen("book"),
            "earlier_invoices": chosen("earlier"),
            **(agreed if agreed["price_agreements"] else {}),
        }

    def bundle_with(self, **sections: list[str]) -> Json:
        """The same with the events of these names in further sections."""
        whole, leaves = self.bundle(), self._leaves
        return whole | {section: [leaves[name] for name in names] for section, names in sections.items()}

    def _row(self, position: int, name: str) -> Json:
        event = dict(self.events[name])
        subject = event.pop("_nats")
        payload = json.dumps(event).encode()
        entry = {"v": 1, "position": str(position), "subject": subject, "sha256": sha(payload).hex()}
        entry |= {member: event[member] for member in ("type", "id", "time")}
        owner = subject.split(".")[3]
        tree = "platform" if owner == "platform" else f"tenants/{owner}"
        return {"tree": tree, "entry": entry, "payload": b64(payload)}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make_world() -> type[World]:
    return World


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
def make_signer() -> type[Signer]:
    return Signer


@pytest.fixture(scope="session")
def naive_tree() -> type[NaiveTree]:
    return NaiveTree


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Any]:
    return lambda name: json.loads((VECTORS / name).read_text())
