"""Erasure certificates: an honest one, and every way a dishonest one is told apart."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gpuaas.verify.erasures import verify_erasure
from gpuaas.verify.main import main
from gpuaas.verify.policy import trusting

LOG = "gpuaas.example/demo"
Json = dict[str, Any]


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def sha(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


def jcs(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Person:
    """A person who was registered, held, let go, erased; change what was logged before asking for the paper."""

    def __init__(self, make_signer: Any, make_tree: Any) -> None:
        self.make_signer, self.make_tree = make_signer, make_tree
        self.signer = make_signer()
        self.logged: list[Json] = []
        self.said("iam", "user", "user-registered", {"user_id": "mira"}, sealed="Ym94", sealedby="iam/mira")
        self.said("nodes", "node", "node-retired", {"node_id": "n1"}, entity_id="n1")
        self.said("audit", "data-subject", "legal-hold-placed", {"hold_id": "h1"})
        self.said("audit", "data-subject", "legal-hold-lifted", {"hold_id": "h1"})
        self.said("audit", "data-subject", "erasure-ordered", {"erasure_id": "er-1", "basis": "request"})
        self.said("iam", "user", "personal-data-erased", {"erasure_id": "er-1", "sealed_by": "iam/mira"})
        self.statement = ["gpuaas-erasure/v1", LOG, "mira", "er-1", "id-6", "1", "0"]
        self.said("audit", "data-subject", "erasure-certified", self.certified())

    def certified(self) -> Json:
        text = "".join(f"{line}\n" for line in self.statement)
        data: Json = {"subject_id": "mira", "erasure_id": "er-1", "erased_event_id": "id-6"}
        return data | {
            "sealed_events": 1,
            "clear_events": 0,
            "statement": f"{text}\n{self.signer.line(text, LOG)}",
        }

    def said(self, service: str, entity: str, fact: str, data: Json, entity_id: str = "mira", **more: str) -> Json:
        before = [each for each in self.logged if each["subject"] == f"{entity}/platform/{entity_id}"]
        event = {
            "specversion": "1.0",
            "id": f"id-{len(self.logged) + 1}",
            "type": f"gpuaas.{service}.{fact}.v1",
            "subject": f"{entity}/platform/{entity_id}",
            "time": "2026-03-03T00:00:00.000000Z",
            "tenantid": "platform",
            "sequence": f"{len(before) + 1:010d}",
            **more,
            "data": data,
        }
        self.logged.append(event)
        return event

    def paper(self) -> Json:
        rows = []
        for position, event in enumerate(self.logged, 1):
            payload = json.dumps(event).encode()
            service, entity = event["type"].split(".")[1], event["subject"].split("/")
            entry = {"v": 1, "position": str(position), "sha256": sha(payload).hex()}
            entry |= {"subject": f"events.{service}.{entity[0]}.platform.{entity[2]}"}
            entry |= {name: event[name] for name in ("type", "id", "time")}
            rows.append({"entry": entry, "payload": b64(payload)})
        tree = self.make_tree([jcs(row["entry"]) for row in rows])
        for index, row in enumerate(rows):
            row |= {"index": str(index), "proof": [b64(step) for step in tree.inclusion(index)]}
        named = list(zip(self.logged, rows, strict=True))
        return {
            "format": "gpuaas-erasure/v1",
            "subject_id": "mira",
            "checkpoints": {"platform": self.signer.checkpoint(f"{LOG}/platform", len(rows), tree.root())},
            "orders": [row for event, row in named if event["subject"] == "data-subject/platform/mira"],
            "person": [row for event, row in named if event["subject"] == "user/platform/mira"],
        }


@pytest.fixture
def person(make_signer: Any, naive_tree: Any) -> Person:
    return Person(make_signer, naive_tree)


def judged(person: Person, paper: Json, folder: Path) -> Any:
    file = folder / "mira.erasure.json"
    file.write_text(json.dumps(paper), "utf-8")
    return verify_erasure(file, trusting(person.signer.vkey(LOG)))


def test_an_honest_certificate_is_verified(person: Person, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = judged(person, person.paper(), tmp_path)
    assert report.verdict == "verified", report.as_text()
    assert report.facts["events sealed"] == "1"
    assert main(["erasure", str(tmp_path / "mira.erasure.json"), "--key", person.signer.vkey(LOG)]) == 0
    assert "none stood when er-1 was ordered" in capsys.readouterr().out


def _still_held(person: Person) -> None:
    person.logged[3]["data"]["hold_id"] = "h2"


def _never_ordered(person: Person) -> None:
    person.logged[4]["type"] = "gpuaas.audit.legal-hold-lifted.v1"
    person.logged[4]["data"]["hold_id"] = "h1"


def _never_destroyed(person: Person) -> None:
    person.logged[5]["type"] = "gpuaas.iam.user-renamed.v1"


def _destroyed_for_another(person: Person) -> None:
    person.logged[5]["data"]["erasure_id"] = "er-0"


def _another_count(person: Person) -> None:
    person.logged[6]["data"]["sealed_events"] = 2


def _another_statement(person: Person) -> None:
    person.statement[3] = "er-2"
    person.logged[6]["data"] = person.certified()


def _statement_by_a_stranger(person: Person) -> None:
    person.signer, mine = person.make_signer(b"\x09" * 32), person.signer
    person.logged[6]["data"] = person.certified()
    person.signer = mine


def _not_sealed_at_all(person: Person) -> None:
    del person.logged[0]["sealed"]


def _a_gap_in_the_history(person: Person) -> None:
    person.logged[3]["sequence"] = "0000000003"


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (_still_held, "held"),
        (_never_ordered, "not-erased"),
        (_never_destroyed, "not-erased"),
        (_destroyed_for_another, "other-event"),
        (_another_count, "incomplete"),
        (_another_statement, "other-event"),
        (_statement_by_a_stranger, "unsigned"),
        (_not_sealed_at_all, "other-event"),
        (_a_gap_in_the_history, "incomplete"),
    ],
)
def test_a_certificate_that_the_log_does_not_bear_out_is_refuted(
    person: Person, lie: Callable[[Person], None], reason: str, tmp_path: Path
) -> None:
    lie(person)
    report = judged(person, person.paper(), tmp_path)
    assert (report.verdict, report.reason) == ("refuted", reason), report.as_text()


def _without_the_hold(paper: Json) -> None:
    del paper["orders"][0]


def _without_the_registration(paper: Json) -> None:
    del paper["person"][0]


def _other_bytes(paper: Json) -> None:
    row = paper["person"][0]
    row["payload"] = b64(base64.b64decode(row["payload"]).replace(b"Ym94", b"Ym95"))


def _twice(paper: Json) -> None:
    paper["person"].insert(0, paper["person"][0])


def _of_another(paper: Json) -> None:
    paper["subject_id"] = "noor"


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (_without_the_hold, "incomplete"),
        (_without_the_registration, "incomplete"),
        (_other_bytes, "other-bytes"),
        (_twice, "wrong-order"),
        (_of_another, "incomplete"),
    ],
)
def test_a_certificate_that_was_tampered_with_is_refuted(
    person: Person, lie: Callable[[Json], None], reason: str, tmp_path: Path
) -> None:
    paper = person.paper()
    lie(paper)
    report = judged(person, paper, tmp_path)
    assert (report.verdict, report.reason) == ("refuted", reason), report.as_text()


def test_a_certificate_of_another_installation_is_refused(person: Person, tmp_path: Path) -> None:
    file = tmp_path / "paper.json"
    file.write_text(json.dumps(person.paper()), "utf-8")
    assert verify_erasure(file, trusting(person.signer.vkey("gpuaas.example/production"))).reason == "unknown-origin"
