"""A running evidence service with a claimer and a judge. One law: what was written is read before the next question."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from gpuaas.common.service import Service
from gpuaas.contracts.evidence import Component
from gpuaas.evidence.domain.claim import OPENED_WITH
from gpuaas.evidence.domain.release import root_of

COMPONENTS = [{"name": "gpuaas.whl", "kind": "wheel", "sha256": hashlib.sha256(b"wheel").hexdigest(), "size_bytes": 5}]
SUBJECT = root_of([Component(**each) for each in COMPONENTS])
RUN = json.dumps({"totals": {"gpu_hours_error": 0, "jobs": 1000}, "verified": True}).encode()
JUNIT = b'<testsuite><testcase name="a"/><testcase name="b"><skipped/></testcase></testsuite>'


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def in_a_day() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


REQUIREMENT = {
    "requirement_id": "main-job",
    "kind": "release",
    "title": "The main job bills what it ran",
    "predicate": "gpu_hours_error == 0 && verified == true",
    "minimum_readback": "R2",
    "max_age_s": 86_400,
    "profiles": ["dev"],
}
ARTEFACT = {"name": "run.json", "sha256": sha256(RUN), "size_bytes": len(RUN), "media_type": "application/json"}
FACTS = [
    {"name": "gpu_hours_error", "value": "0", "artefact": "run.json", "pointer": "/totals/gpu_hours_error"},
    {"name": "verified", "value": "true", "artefact": "run.json", "pointer": "/verified"},
]


def a_claim(**changed: Any) -> dict[str, Any]:
    said = {
        "claim_id": "run-1",
        "requirement_id": "main-job",
        "subject_sha256": SUBJECT,
        "profile": "dev",
        "result": "passed",
        "procedure": "gpuaas demo",
        "scope": ["meter", "invoice"],
        "artefacts": [ARTEFACT],
        "facts": FACTS,
        "expires_at": in_a_day(),
    }
    return said | changed


@dataclass
class House:
    """A running service, a client of its door, and the headers of someone who may do everything."""

    service: Service
    client: httpx.AsyncClient
    headers: dict[str, str]
    state_dir: Path
    judge: dict[str, str]

    async def send(self, method: str, path: str, status: int = 0, **given: Any) -> httpx.Response:
        """Ask as the claimer, or as `headers` says; what was written is read."""
        by = given.pop("headers", self.headers) | {"GPUaaS-At-Least": self.headers["GPUaaS-At-Least"]}
        answer = await self.client.request(method, path, headers=by, **given)
        assert answer.status_code == (status or (200 if method == "GET" else 201)), answer.text
        if position := answer.headers.get("GPUaaS-Position"):
            self.headers["GPUaaS-At-Least"] = str(max(int(position), int(self.headers["GPUaaS-At-Least"])))
        return answer

    async def store(self, data: bytes) -> None:
        await self.send("PUT", f"/v1/artefacts/{sha256(data)}", content=data)

    async def read_back(self, claim_id: str, level: str = "R2") -> list[dict[str, Any]]:
        answer = await self.send("POST", f"/v1/claims/{claim_id}/readbacks", json={"level": level})
        found: list[dict[str, Any]] = answer.json()["readbacks"]
        return found

    async def decide(self, gate_id: str = "release") -> dict[str, Any]:
        asked = {"gate_id": gate_id, "subject_sha256": SUBJECT, "profile": "dev"}
        answer: dict[str, Any] = (await self.send("POST", "/v1/gates", json=asked, headers=self.judge)).json()
        return answer

    async def open(self, **changed: Any) -> None:
        said = a_claim(**changed)
        body = {name: said[name] for name in OPENED_WITH if name in said}
        await self.send("POST", f"/v1/claims/{said['claim_id']}/opening", json=body | {"closes_at": in_a_day()})

    async def submit(self, **changed: Any) -> dict[str, Any]:
        """Open and submit a claim; the answer."""
        await self.open(**changed)
        answer: dict[str, Any] = (await self.send("POST", "/v1/claims", json=a_claim(**changed))).json()
        return answer

    async def status(self) -> dict[str, Any]:
        path = f"/v1/releases/{SUBJECT}/status"
        answer: dict[str, Any] = (await self.send("GET", path, params={"profile": "dev"})).json()
        return answer

    def filed(self, data_sha256: str) -> Path:
        return self.state_dir / "artefacts" / "sha256" / data_sha256[:2] / data_sha256


async def claimed(house: House, **changed: Any) -> dict[str, Any]:
    """Requirement, artefact and claim, as a caller makes them; the answer to the claim."""
    await house.send("POST", "/v1/requirements", json=REQUIREMENT)
    await house.send("POST", "/v1/releases", json={"name": "gpuaas 0.1.0", "components": COMPONENTS})
    await house.store(RUN)
    return await house.submit(**changed)
