"""The locked APIs: what lies there is what the services answer to. One law: every route says who may, in a closed word.

Breaches are planted in copies; each must be seen.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from gpuaas.common.service import Service
from gpuaas.common.settings import Settings
from gpuaas.iam.domain.built_in_roles import BUILT_IN

from tools.openapi import __main__ as command
from tools.openapi.artefacts import API, PAGE, artefacts, drift, write
from tools.openapi.describing import Document, documents, operations, text_of
from tools.openapi.permissions import KEY, registry, wrong_permissions

ROOT = Path(__file__).resolve().parents[2]
Found = Mapping[str, Document]


@pytest.fixture(scope="module")
def found() -> Found:
    """Every service's document, built from its routes."""
    return documents()


def planted(found: Found, service: str, key: str, permission: str | None) -> dict[str, Any]:
    """The documents with another `x-permission` on one operation."""
    changed: dict[str, Any] = deepcopy(dict(found))
    method, path = key.split(" ")
    operation = changed[service]["paths"][path][method.lower()]
    if permission is None:
        del operation[KEY]
    else:
        operation[KEY] = permission
    return changed


def test_what_is_committed_is_what_the_routes_say(found: Found) -> None:
    assert drift(ROOT, found) == []
    assert wrong_permissions(found) == []


def test_describing_twice_gives_the_same_bytes(found: Found) -> None:
    again = {name: text_of(document) for name, document in documents().items()}
    assert again == {name: text_of(document) for name, document in found.items()}


def test_describing_needs_no_server_no_environment_and_leaves_nothing_behind(tmp_path: Path) -> None:
    asked = (
        "from tools.openapi.describing import documents, text_of; print(''.join(map(text_of, documents().values())))"
    )
    elsewhere = {
        "PYTHONPATH": str(ROOT),
        "GPUAAS_HTTP_PORT": "1",
        "GPUAAS_PROFILE": "production",
        "HOME": str(tmp_path),
    }
    said = subprocess.run(
        [sys.executable, "-c", asked],
        cwd=tmp_path,
        env=elsewhere | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert said.strip() == "".join((ROOT / API / f"{name}.openapi.json").read_text() for name in documents()).strip()
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_drift_is_seen_and_mended(found: Found, tmp_path: Path) -> None:
    assert set(write(tmp_path, found)) == set(artefacts(found))
    assert drift(tmp_path, found) == []
    edited, gone, left_over = API / "iam.openapi.json", PAGE, API / "retired.openapi.json"
    text = (tmp_path / edited).read_text("utf-8")
    (tmp_path / edited).write_text(text.replace('"version": "1"', '"version": "2"'))
    (tmp_path / gone).unlink()
    (tmp_path / left_over).write_text("{}")
    assert drift(tmp_path, found) == [edited, gone, left_over]
    assert write(tmp_path, found) == [edited, gone, left_over]
    assert drift(tmp_path, found) == []


@pytest.mark.parametrize(
    ("key", "permission", "said"),
    [
        ("POST /v1/tenants", None, "no x-permission"),
        ("POST /v1/tenants", "iam.tenant", "is not a permission"),
        ("POST /v1/tenants", "Public", "is not a permission"),
        ("POST /v1/tenants", "everybody", "is not a permission"),
        ("POST /v1/tenants", "billing.tenant.create", "belongs to billing"),
        ("POST /v1/tenants", "iam.tenant.read", "is for a change"),
        ("GET /v1/tenants", "iam.tenant.list", "is for a question"),
    ],
)
def test_a_wrong_permission_is_told(found: Found, key: str, permission: str | None, said: str) -> None:
    [told] = wrong_permissions(planted(found, "iam", key, permission))
    assert told.startswith(f"iam: {key}: ")
    assert said in told


def test_the_command_fails_on_drift_and_on_a_missing_permission(
    found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "documents", lambda: found)
    assert command.main(["check"], tmp_path) == 1
    assert "schemas/api/iam.openapi.json: not what the routes say" in capsys.readouterr().err
    assert command.main(["generate"], tmp_path) == 0
    assert command.main(["check"], tmp_path) == 0
    unsaid = planted(found, "audit", "GET /v1/trail", None)
    monkeypatch.setattr(command, "documents", lambda: unsaid)
    command.main(["generate"], tmp_path)
    capsys.readouterr()
    assert command.main(["check"], tmp_path) == 1
    assert (
        capsys.readouterr().err
        == "audit: GET /v1/trail: no x-permission; give the route a permit(...), or mark it @public\n"
    )


def test_a_service_with_a_route_that_nobody_guards_is_not_described() -> None:
    service = Service("planted", Settings())
    routes = APIRouter()

    @routes.get("/v1/open-by-mistake")
    async def open_by_mistake() -> None: ...

    service.serve(routes)
    with pytest.raises(ValueError, match="open-by-mistake"):
        service.document()


def test_nothing_is_public_without_being_on_this_list(found: Found) -> None:
    public = {f"{service} {key}" for service, by in registry(found).items() for key in by.get("public", ())}
    assert public == {
        "iam GET /v1/oauth/authorize",
        "iam GET /v1/oauth/callback/{provider_id}",
        "iam GET /v1/sign-in-options",
        "iam GET /v1/device",
        "iam GET /v1/device/providers/{provider_id}",
        "iam POST /v1/device/answer",
        "iam POST /v1/device/sign-in",
        "iam POST /v1/oauth/device",
        "iam POST /v1/oauth/exchange",
        "iam POST /v1/oauth/token",
        "iam POST /v1/passwords",
        "iam POST /v1/sessions",
        "iam POST /v1/tokens",
        "iam GET /v1/keys.json",
        "audit GET /v1/key",
        "inventory GET /v1/gpu-models",
        "inventory GET /v1/gpu-models/{gpu_model}",
        "inventory GET /v1/partitionings",
        "inventory GET /v1/skus",
    }


def test_the_page_names_every_permission_with_its_routes_and_roles(found: Found) -> None:
    page = (ROOT / PAGE).read_text("utf-8")
    lines = page.splitlines()
    for by_permission in registry(found).values():
        for permission, keys in by_permission.items():
            assert any(
                line.startswith(f"| `{permission}` |") and all(f"`{key}`" in line for key in keys) for line in lines
            )
    assert all(f"| `{name}` | {role.description} |" in page for name, role in BUILT_IN.items())
    [requested] = [line for line in lines if line.startswith("| `allocations.allocation.request` |")]
    assert requested.endswith("| `member`, `project-admin`, `tenant-admin`, `operator` |")


def test_every_permission_is_held_by_a_built_in_role(found: Found) -> None:
    page = (ROOT / PAGE).read_text("utf-8")
    assert "*none*" not in page


def test_failures_are_problems_and_signing_in_is_a_security_scheme(found: Found) -> None:
    for document in found.values():
        for _, _, operation in operations(document):
            assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
            of_its_own = [body for status, body in operation["responses"].items() if status.startswith(("4", "5"))]
            assert all(list(body["content"]) == ["text/html"] for body in of_its_own), "only a page shows its own"
            allowed: list[Any] = [None, [{}, {"bearer": []}]] if operation[KEY] == "public" else [[{"bearer": []}]]
            assert operation.get("security") in allowed
            assert "authorization" not in {each["name"].lower() for each in operation.get("parameters", [])}
        text = json.dumps(document)
        assert "HTTPValidationError" not in text
        assert set(document["components"]["securitySchemes"]) == {"bearer"}
