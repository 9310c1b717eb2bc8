"""Profiles: layered, told apart, and never unsafe without a sentence."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from gpuaas.cli.main import main
from gpuaas.cli.profile import NAMES, ServicePart, differences, layered, load, unsafe
from gpuaas.common.errors import Misconfigured
from gpuaas.common.settings import Settings, login_of


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_is_valid_safe_and_says_only_what_differs(name: str) -> None:
    found = layered(name)
    assert unsafe(found.profile) == []
    assert found.repeated == ()
    assert found.profile.name == name


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("production", "time.may_run_fast=true", "real time"),
        ("production", "log.sync=2m", "power cut"),
        ("production", "log.servers=1", "one disk"),
        ("staging", "database.fsync=false", "power cut"),
        ("production", "service.cors_origins=*", "any web page"),
        ("demo", "service.cors_origins=https://portal.example,*", "any web page"),
        ("production", "service.cors_origins=http://portal.example", "https"),
        ("production", "secrets.source=made-here", "own secrets"),
        ("staging", "secrets.tls=false", "in clear"),
        ("production", "service.log_level=DEBUG", "logs"),
        ("staging", "run.instances=1", "roll-out"),
        ("production", "run.image_tag=latest", "which build"),
        ("staging", "service.drain_s=0", "cuts requests off"),
        ("kind", "time.may_run_fast=true", "real time"),
    ],
)
def test_an_unsafe_combination_is_refused_in_a_sentence(name: str, given: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        load(name, [given])


@pytest.mark.parametrize("given", ["log.servers=2", "log.colour=blue", "nonsense", "servers=3", "log.sync=sometimes"])
def test_what_is_not_in_the_schema_is_refused(given: str) -> None:
    with pytest.raises(Misconfigured):
        load("dev", [given])


def test_each_value_says_which_layer_it_comes_from() -> None:
    origins = layered("staging", ["run.instances=3"]).origins
    assert origins["run.instances"] == "--set"
    assert origins["log.file_store_mib"] == "staging"
    assert origins["log.sync"] == "production"
    assert origins["service.requests_per_s"] == "schema"


def test_staging_differs_from_production_in_size_and_never_in_a_promise() -> None:
    found = differences(load("staging"), load("production"))
    assert set(found) <= {"service.simulated_machines_allowed", "log.file_store_mib", "run.spread_zones"}


def test_the_schema_and_the_services_agree_on_their_defaults() -> None:
    told = Settings()
    shared = set(ServicePart.model_fields) & set(Settings.model_fields)
    assert len(shared) >= 7
    assert {name: getattr(told, name) for name in shared} == {name: getattr(ServicePart(), name) for name in shared}


def test_a_service_is_told_its_profile_and_what_differs() -> None:
    assert load("dev").service_environment() == {"GPUAAS_PROFILE": "dev"}
    told = load("staging").service_environment()
    assert told == {
        "GPUAAS_PROFILE": "staging",
        "GPUAAS_DRAIN_S": "20.0",
        "GPUAAS_SIMULATED_MACHINES_ALLOWED": "true",
    }


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"NATS_URL": "nats://iam:changeme123@nats:4222"}, "password for iam"),
        ({"POSTGRES_DSN": "postgresql://postgres:postgres@db/x"}, "password for postgres"),
        ({"NATS_URL": "nats://iam:k3o9x@nats:4222"}, "short password"),
        ({"CORS_ORIGINS": "*"}, "CORS_ORIGINS"),
        ({"CLOCK_PACE": "0/2026-01-01T00:00:00+00:00/60"}, "real time"),
    ],
)
def test_a_service_itself_refuses_what_is_unsafe_in_production(environment: dict[str, str], said: str) -> None:
    variables = {f"GPUAAS_{name}": value for name, value in environment.items()}
    with pytest.raises(Misconfigured, match=said):
        Settings.from_environment(variables | {"GPUAAS_PROFILE": "production"})
    if "CLOCK_PACE" not in environment:
        Settings.from_environment(variables | {"GPUAAS_PROFILE": "dev"})


def test_a_made_password_is_accepted_in_production() -> None:
    Settings.from_environment(
        {
            "GPUAAS_PROFILE": "production",
            "GPUAAS_NATS_URL": "nats://iam:Zk3o9xV1qLr8Tn5wYb2c@a:4222,nats://iam:Zk3o9xV1qLr8Tn5wYb2c@b:4222",
            "GPUAAS_NATS_CA_FILE": "ca.crt",
        }
    )


def test_the_command_line_shows_compares_and_checks() -> None:
    run = CliRunner()
    shown = run.invoke(main, ["profile", "show", "production", "--json"])
    assert json.loads(shown.output)["log.sync"] == {"value": "always", "from": "production"}
    compared = run.invoke(main, ["profile", "diff", "dev", "demo", "--json"])
    assert compared.exit_code == 1
    assert json.loads(compared.output) == {"database.fsync": {"dev": True, "demo": False}}
    assert run.invoke(main, ["profile", "check"]).exit_code == 0
    broken = run.invoke(main, ["profile", "check", "production", "--set", "log.servers=1", "--json"])
    assert broken.exit_code == 1
    assert "one disk" in json.loads(broken.output)["production"][0]


def test_a_password_stands_beside_the_brokers_addresses_not_in_one_of_them() -> None:
    login = login_of("nats://iam:p%40ss@a:4222, tls://iam:p%40ss@b:4222")
    assert login.servers == ["nats://a:4222", "tls://b:4222"]
    assert (login.user, login.password) == ("iam", "p@ss")
    assert "p@ss" not in repr(login)
    assert login_of("nats://127.0.0.1:4222").user is None
