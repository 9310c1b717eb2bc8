"""The Compose file: generated, complete, closed to other machines, free of secrets."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import yaml
from gpuaas.cli.compose import compose_text, write_secrets
from gpuaas.cli.service_table import SERVICES
from gpuaas.cli.state import running_endpoints

ROOT = Path(__file__).parents[3]


def document() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(compose_text())
    return parsed


def test_the_committed_file_is_what_the_table_says() -> None:
    assert (ROOT / "docker-compose.yml").read_text("utf-8") == compose_text()


def test_every_service_of_the_table_is_in_it_with_its_own_secrets() -> None:
    services = document()["services"]
    assert set(services) == {"nats", "postgres", "provisioner", *(entry.name for entry in SERVICES)}
    for entry in SERVICES:
        assert services[entry.name]["env_file"] == [f"./.state/compose/{entry.name}.env"]
        assert services[entry.name]["build"]["args"] == {"SERVICE": entry.name}


def test_no_port_is_open_to_another_machine() -> None:
    published = [port for service in document()["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_our_processes_have_no_privilege_and_no_writable_image() -> None:
    for entry in SERVICES:
        service = document()["services"][entry.name]
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
        assert "privileged" not in service


def test_yaml_reads_back_what_was_meant() -> None:
    iam = document()["services"]["iam"]
    assert iam["environment"]["GPUAAS_HTTP_PORT"] == "8101"
    assert iam["healthcheck"]["test"][:2] == ["CMD", "python"]
    assert document()["volumes"]["log"] == {}


def test_secrets_are_generated_private_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "compose"
    written = write_secrets(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())
    first = {path.name: path.read_text() for path in folder.iterdir()}
    write_secrets(folder)
    assert {path.name: path.read_text() for path in folder.iterdir()} == first
    assert {path.name for path in written} <= set(first)


def test_no_two_installations_share_a_secret_and_none_is_committed(tmp_path: Path) -> None:
    write_secrets(tmp_path / "a")
    write_secrets(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        if path.suffix in (".nats", ".postgres", ".password", ".key"):
            secret = path.read_text().strip()
            assert secret != (tmp_path / "b" / path.name).read_text().strip()
            assert secret not in compose_text()


def test_the_broker_knows_every_service_and_only_its_rights(tmp_path: Path) -> None:
    write_secrets(tmp_path)
    users = {
        user["user"]: user for user in json.loads((tmp_path / "nats.json").read_text())["accounts"]["CELL"]["users"]
    }
    assert {entry.name for entry in SERVICES} <= set(users)
    for entry in SERVICES:
        allowed = users[entry.name]["permissions"]["publish"]["allow"]
        assert f"events.{entry.name}.>" in allowed
        assert not any(
            subject.startswith(("events.>", "$JS.API.STREAM.CREATE", "$JS.API.STREAM.DELETE")) for subject in allowed
        )


def test_the_command_line_finds_a_composed_suite_by_its_folder(tmp_path: Path) -> None:
    write_secrets(tmp_path)
    found = running_endpoints(tmp_path)
    assert found.services["billing"] == "http://127.0.0.1:8105"
    assert found.nats_url_of("operator").startswith("nats://operator:")
