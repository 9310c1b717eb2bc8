"""People sign in through a certified OpenID provider that nobody here wrote; `make oidc` installs it and runs this."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
import pytest_asyncio
from gpuaas.common.embedded.process import free_port
from gpuaas.common.testing.stack import TestStack
from gpuaas.iam.routes.provider_sign_in import challenge_of
from iam_door import Iam, is_problem, started
from oidc_lane import browse, installed, provider
from people import grant, person

LANE = installed()
pytestmark = [
    pytest.mark.oidc,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(LANE is None, reason="no oidc-provider here: `make oidc` installs it and runs this lane"),
]
PROGRAM = "http://127.0.0.1:49152/back"
"""Where a program listens; nobody does in this test, the browser stops before it."""


@dataclass
class World:
    iam: Iam
    issuer: str

    async def configure(self, provider_id: str, **more: Any) -> None:
        body = {"display_name": "Acme", "issuer": self.issuer, "client_id": "gpuaas", "reason": "a test"}
        body |= {"email_domains": ["acme-research.example"], "new_people": "register"} | more
        await self.iam.done("PUT", f"/v1/identity-providers/{provider_id}", json=body)

    async def came_back(self, provider_id: str, login: str) -> tuple[dict[str, str], str]:
        """What the program is told once `login` has signed in at the provider, and its verifier."""
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
        asked = {
            "provider": provider_id,
            "response_type": "code",
            "client_id": "gpuaas on atlas",
            "redirect_uri": PROGRAM,
            "state": state,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
        }
        base = str(self.iam.client.base_url).rstrip("/")
        async with httpx.AsyncClient(timeout=30) as browser:
            url = await browse(browser, f"{base}/v1/oauth/authorize?{urlencode(asked)}", login, PROGRAM)
        told = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert (told["state"], told["iss"]) == (state, base)
        return told, verifier

    async def signed_in(self, provider_id: str, login: str) -> dict[str, Any]:
        told, verifier = await self.came_back(provider_id, login)
        answer = await redeemed(self.iam, told["code"], verifier)
        assert answer.status_code == 200, answer.text
        session: dict[str, Any] = answer.json()
        return session


async def redeemed(iam: Iam, code: str, verifier: str) -> httpx.Response:
    return await grant(iam, grant_type="authorization_code", code=code, code_verifier=verifier, redirect_uri=PROGRAM)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    assert LANE is not None
    home, secret = tmp_path_factory.mktemp("oidc"), secrets.token_hex(16)
    kept = home / "client-secrets.json"
    kept.write_text(json.dumps({"closed": secret}))
    kept.chmod(0o600)
    async with started(stack, home / "iam", iam_provider_secrets_file=kept) as iam:
        back = f"{str(iam.client.base_url).rstrip('/')}/v1/oauth/callback"
        with provider(LANE, home / "out.log", free_port(), f"{back}/corporate", f"{back}/closed", secret) as issuer:
            found = World(iam, issuer)
            await found.configure("corporate")
            await found.configure("closed", client_id="gpuaas-closed")
            yield found


@pytest.mark.parametrize("provider_id", ["corporate", "closed"])
async def test_somebody_new_signs_in_and_is_the_same_person_the_next_time(world: World, provider_id: str) -> None:
    session = await world.signed_in(provider_id, f"mira-{provider_id}")
    me = await world.iam.done("GET", "/v1/me", session["access_token"])
    assert me["principal"]["id"] == session["user_id"]
    [row] = (await world.iam.done("GET", "/v1/me/sessions", session["access_token"]))["items"]
    assert (row["method"], row["provider"], row["client"]) == ("provider", provider_id, "gpuaas on atlas")
    people = {each["principal_id"]: each for each in (await world.iam.done("GET", "/v1/users?limit=500"))["items"]}
    assert people[session["user_id"]]["email"] == f"mira-{provider_id}@acme-research.example"
    again = await world.signed_in(provider_id, f"mira-{provider_id}")
    assert again["user_id"] == session["user_id"]
    assert again["session_id"] != session["session_id"]


async def test_an_equal_address_is_nobody_elses_identity(world: World) -> None:
    kim = await person(world.iam, "kim@acme-research.example", password=None)
    session = await world.signed_in("corporate", "kim")
    assert session["user_id"] != kim.id


async def test_an_address_that_is_not_verified_lets_nobody_in(world: World) -> None:
    told, _ = await world.came_back("corporate", "unverified-lou")
    assert (told["error"], "code" in told) == ("access_denied", False)


async def test_a_code_works_once_and_a_copy_ends_the_session(world: World) -> None:
    told, verifier = await world.came_back("corporate", "noor")
    session = (await redeemed(world.iam, told["code"], verifier)).json()
    assert is_problem(await redeemed(world.iam, told["code"], verifier), 400)["error"] == "invalid_grant"
    is_problem(await world.iam.ask("GET", "/v1/me", session["access_token"]), 401)


async def test_a_code_without_its_verifier_is_worth_nothing(world: World) -> None:
    told, verifier = await world.came_back("corporate", "noor")
    is_problem(await redeemed(world.iam, told["code"], secrets.token_urlsafe(48)), 400)
    is_problem(await redeemed(world.iam, told["code"], verifier), 400)


async def test_who_may_links_an_identity_to_somebody_who_is_known(world: World) -> None:
    await world.configure("corporate", new_people="refuse")
    ines = await person(world.iam, password=None)
    told, _ = await world.came_back("corporate", "ines")
    assert told["error"] == "access_denied"
    path = f"/v1/users/{ines.id}/identities"
    made = await world.iam.done("POST", path, json={"provider_id": "corporate", "subject": "ines"})
    session = await world.signed_in("corporate", "ines")
    assert session["user_id"] == ines.id
    twice = {"provider_id": "corporate", "subject": "ines"}
    other = await person(world.iam, password=None)
    is_problem(await world.iam.ask("POST", f"/v1/users/{other.id}/identities", json=twice), 409)
    await world.iam.done("POST", f"{path}/{made['id']}/unlink", json={"reason": "left"})
    is_problem(await world.iam.ask("GET", "/v1/me", session["access_token"]), 401)
    assert (await world.came_back("corporate", "ines"))[0]["error"] == "access_denied"
    [row] = (await world.iam.done("GET", path))["items"]
    assert row["unlinked_at"] is not None
    await world.configure("corporate")


async def test_nothing_the_provider_said_is_in_the_log_in_plain(world: World) -> None:
    await world.signed_in("corporate", "selma-secret-subject")
    last = await world.iam.service.log.last_position()
    recorded = [await world.iam.service.log.at(position) for position in range(1, last + 1)]
    assert b"selma" not in b"".join(each.payload for each in recorded if each is not None)


async def test_a_removed_provider_lets_nobody_in(world: World, tmp_path: Path) -> None:
    await world.configure("short-lived")
    await world.iam.done("POST", "/v1/identity-providers/short-lived/remove", json={"reason": "a test"})
    base = str(world.iam.client.base_url).rstrip("/")
    asked = {"provider": "short-lived", "redirect_uri": PROGRAM, "response_type": "code", "state": "s"}
    asked |= {"code_challenge": "a" * 43, "code_challenge_method": "S256"}
    answer = await world.iam.client.get(f"{base}/v1/oauth/authorize?{urlencode(asked)}")
    assert (answer.status_code, "error=invalid_request" in answer.headers["location"]) == (303, True)


async def test_the_command_line_signs_in_through_the_browser(world: World, tmp_path: Path) -> None:
    base = str(world.iam.client.base_url).rstrip("/")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GPUAAS_")}
    environment |= {"GPUAAS_SERVICES": json.dumps({"iam": base}), "GPUAAS_STATE_DIR": str(tmp_path)}
    program = "import sys; from gpuaas.cli.main import main; sys.argv = ['gpuaas', *sys.argv[1:]]; main()"
    words = ("login", "--provider", "corporate", "--no-browser", "--json")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *words, env=environment, stdout=pipe, stderr=pipe
    )
    assert process.stderr is not None
    await process.stderr.readline()
    address = (await process.stderr.readline()).decode().strip()
    program_listens = parse_qs(urlsplit(address).query)["redirect_uri"][0]
    async with httpx.AsyncClient(timeout=30) as browser:
        url = await browse(browser, address, "ada", program_listens)
        other = await browser.get(f"{program_listens}?code=x&state=guessed")
        page = await browser.get(url)
    out, err = await process.communicate()
    assert process.returncode == 0, err
    assert (other.status_code, page.status_code, "You are signed in" in page.text) == (404, 200, True)
    kept = json.loads((tmp_path / "secrets/session.json").read_text())
    assert json.loads(out) == {"user_id": kept["user_id"], "session_id": kept["session_id"]}
    me = await world.iam.done("GET", "/v1/me", kept["access_token"])
    assert me["principal"]["id"] == kept["user_id"]
