"""`gpuaas login`, `whoami`, `iam`, `logout` on a running iam. One law: the file is private, the session is real."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from gpuaas.cli.session import SessionFile
from gpuaas.common.apikeys import new_api_key
from gpuaas.common.testing.running import fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.iam.app import build
from gpuaas.iam.settings import IamSettings

PASSWORD = "correct horse battery staple"


@dataclass
class Here:
    """A machine that talks to a running iam, and its state folder."""

    url: str
    operator_key: str
    state: Path
    kept: tuple[str, ...] = ()

    def keep(self, *names: str) -> None:
        """Hand these variables of ours on to the commands."""
        self.kept = names

    async def start(self, *words: str, typed: str = "") -> asyncio.subprocess.Process:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GPUAAS_")}
        environment |= {name: os.environ[name] for name in self.kept}
        environment |= {"GPUAAS_SERVICES": json.dumps({"iam": self.url}), "GPUAAS_STATE_DIR": str(self.state)}
        program = "import sys; from gpuaas.cli.main import main; sys.argv = ['gpuaas', *sys.argv[1:]]; main()"
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, *words, env=environment, stdin=pipe, stdout=pipe, stderr=pipe
        )
        assert process.stdin is not None
        process.stdin.write(typed.encode())
        process.stdin.close()
        return process

    async def run(self, *words: str, typed: str = "") -> tuple[int, str]:
        """Exit status and all that was printed; standard output only where it succeeds."""
        process = await self.start(*words, typed=typed)
        out, err = await process.communicate()
        status = process.returncode or 0
        return status, out.decode() if status == 0 else (out + err).decode()

    async def person(self, email: str) -> str:
        """Somebody registered, with a password: their id."""
        async with httpx.AsyncClient(base_url=self.url) as http:
            token = (await http.post("/v1/tokens", json={"api_key": self.operator_key})).json()["access_token"]
            http.headers["Authorization"] = f"Bearer {token}"
            user = str((await http.post("/v1/users", json={"email": email, "display_name": "Mira"})).json()["id"])
            code = (await http.post(f"/v1/users/{user}/password-codes")).json()["code"]
            chosen = await http.post("/v1/passwords", json={"code": code, "password": PASSWORD})
            assert chosen.status_code == 200, chosen.text
        return user

    async def json(self, *words: str, typed: str = "") -> Any:
        status, printed = await self.run(*words, "--json", typed=typed)
        assert status == 0, printed
        return json.loads(printed)


@pytest.fixture
async def here(stack: TestStack, tmp_path: Path) -> AsyncIterator[Here]:
    first = new_api_key("dev", "first")
    given = {"iam_bootstrap_key_sha256": first.sha256, "iam_bootstrap_key_id": first.key_id}
    async with fresh_settings(stack, IamSettings, tmp_path, **given) as settings, running(build(settings)) as client:
        yield Here(str(client.base_url).rstrip("/"), first.text, tmp_path / "mine")


async def test_an_operator_sets_a_provider_up_and_says_who_is_who(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await here.person("mira@example.com")
    monkeypatch.setenv("GPUAAS_API_KEY", here.operator_key)
    here.keep("GPUAAS_API_KEY")
    said = ("--name", "Acme", "--issuer", "https://login.example.com", "--client-id", "gpuaas", "--reason", "a test")
    more = ("--email-domain", "example.com", "--require", "tid=ours", "--new-people", "register")
    await here.json("iam", "provider-set", "corporate", *said, *more)
    [row] = await here.json("iam", "providers")
    assert (row["email_domains"], row["required_claims"]) == (["example.com"], {"tid": "ours"})
    assert (await here.json("login", "--providers"))["providers"] == [
        {"provider_id": "corporate", "display_name": "Acme"}
    ]
    made = await here.json("iam", "identity-link", user, "corporate", "248289761001")
    [linked] = await here.json("iam", "identities", user)
    assert (linked["identity_id"], linked["unlinked_at"]) == (made["id"], None)
    await here.json("iam", "identity-unlink", user, made["id"], "--reason", "left")
    await here.json("iam", "provider-remove", "corporate", "--reason", "moved")
    assert await here.json("iam", "providers") == []


async def test_a_person_signs_in_lets_a_program_in_and_signs_out(here: Here) -> None:
    user = await here.person("mira@example.com")
    status, printed = await here.run("login", "--password", "--email", "mira@example.com", typed="a wrong one at all\n")
    assert (status, "do not fit together" in printed) == (1, True)
    status, printed = await here.run("login", "--password", "--email", "mira@example.com", typed=f"{PASSWORD}\n")
    assert status == 0, printed
    assert SessionFile(here.state).path.stat().st_mode & 0o777 == 0o600
    me = await here.json("whoami")
    assert me["principal"] == {"kind": "user", "id": user, "tenant_id": "platform"}
    await _another_machine_is_let_in(here, user)
    assert (await here.run("logout"))[1].strip() == "Signed out."
    assert not SessionFile(here.state).path.exists()
    status, printed = await here.run("whoami")
    assert status != 0
    assert "gpuaas login" in printed


async def _another_machine_is_let_in(here: Here, user_id: str) -> None:
    there = Here(here.url, "", here.state.with_name("other"))
    waiting = await there.start("login")
    assert waiting.stderr is not None
    shown = re.search(r"[A-Z]{4}-[A-Z]{4}", (await waiting.stderr.readline()).decode())
    assert shown is not None
    let_in = await here.json("iam", "approve", shown[0])
    assert let_in["approved"] is True
    await waiting.communicate()
    assert waiting.returncode == 0
    assert (await there.json("whoami"))["principal"]["id"] == user_id
    sessions = await here.json("iam", "sessions")
    assert sorted(each["method"] for each in sessions) == ["device", "password"]
    [device] = [each["session_id"] for each in sessions if each["method"] == "device"]
    await here.json("iam", "end-session", device)
    status, printed = await there.run("whoami")
    assert status == 1, printed
