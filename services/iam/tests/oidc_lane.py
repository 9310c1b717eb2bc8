"""A real OpenID provider, installed by `make oidc-lane`, and a browser for it. One law: what is started is stopped."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urljoin

import httpx

START_S_MAX: Final = 30.0
STOP_S_MAX: Final = 5.0
HOPS_MAX: Final = 20
_FORM: Final = re.compile(r'<form[^>]* action="([^"]+)"')
_PROMPT: Final = re.compile(r'name="prompt" value="([a-z]+)"')


def installed() -> Path | None:
    """The lane's folder, or None: `make oidc-lane` installs it below the state directory."""
    root = Path(__file__).resolve().parents[3]
    lane = Path(os.environ.get("GPUAAS_STATE_DIR") or root / ".state") / "oidc"
    return lane if shutil.which("node") and (lane / "node_modules" / "oidc-provider").exists() else None


@contextmanager
def provider(lane: Path, told: Path, port: int, open_at: str, closed_at: str, secret: str) -> Iterator[str]:
    """The provider, for as long as the block; its issuer."""
    issuer = f"http://127.0.0.1:{port}"
    command = ["node", "provider.mjs", str(port), open_at, closed_at, secret]
    with told.open("wb") as out:
        process = subprocess.Popen(command, cwd=lane, stdout=out, stderr=out)
        try:
            _answers(f"{issuer}/.well-known/openid-configuration", process, told)
            yield issuer
        finally:
            process.terminate()
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(url: str, process: subprocess.Popen[bytes], told: Path) -> None:
    until = time.monotonic() + START_S_MAX
    while time.monotonic() < until:
        assert process.poll() is None, told.read_text()[-2_000:]
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer: {told.read_text()[-2_000:]}")


async def browse(browser: httpx.AsyncClient, url: str, login: str, until: str) -> str:
    """Follow `url` as a person would who signs in as `login` and agrees; the first address that begins with `until`."""
    answer = await browser.get(url)
    for _ in range(HOPS_MAX):
        if answer.is_redirect:
            url = urljoin(str(answer.url), answer.headers["location"])
            if url.startswith(until):
                return url
            answer = await browser.get(url)
            continue
        form, prompt = _FORM.search(answer.text), _PROMPT.search(answer.text)
        assert form, f"{answer.status_code} at {answer.url}: {answer.text[:500]}"
        given = {"prompt": prompt[1] if prompt else "consent", "login": login, "password": "any"}
        answer = await browser.post(urljoin(str(answer.url), form[1]), data=given)
    raise AssertionError("the browser was sent round in a circle")
