"""The session of a person on this machine. One law: one file for its owner only, renewed by one process at a time.

A refresh token works once: two commands that renew with the same one would end the session, so each holds the file's
lock while it renews, and first looks whether another has just done so.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import httpx
from gpuaas.common.embedded.secrets_file import write_private
from gpuaas.common.errors import Misconfigured

RENEW_BEFORE_S: Final = 60.0


class SignedOut(Misconfigured):
    """The session is over."""

    code = "signed-out"


@dataclass(frozen=True, slots=True)
class Session:
    """What iam gave last. `expires_at`: Unix time at which the access token ends."""

    session_id: str
    user_id: str
    access_token: str
    refresh_token: str
    expires_at: float

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """The session in an answer of iam's."""
        ends = time.time() + float(told["expires_in"])
        return cls(told["session_id"], told["user_id"], told["access_token"], told["refresh_token"], ends)


class SessionFile:
    """Where the session is kept: `<state>/secrets/session.json`, mode 0600."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "secrets" / "session.json"

    def read(self) -> Session | None:
        """The session, or None: nobody is signed in here."""
        try:
            return Session(**json.loads(self.path.read_text("utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as broken:
            raise Misconfigured(f"{self.path} cannot be read ({broken}); run `gpuaas logout`, then sign in") from broken

    def write(self, session: Session) -> None:
        """Keep it instead of the last."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self.path, json.dumps(asdict(session)) + "\n")

    def forget(self) -> None:
        """Nobody is signed in here any more."""
        self.path.unlink(missing_ok=True)

    async def token(self, http: httpx.AsyncClient, iam: str) -> tuple[str, float]:
        """A token that lives for a while, and the seconds it does; renewed at `iam` when its end is near.

        Raises:
            SignedOut: the session is over.
        """
        async with self._alone():
            session = self.read()
            if session is None:
                raise SignedOut("nobody is signed in here; run `gpuaas login`")
            if (left := session.expires_at - time.time()) > RENEW_BEFORE_S:
                return session.access_token, left
            form = {"grant_type": "refresh_token", "refresh_token": session.refresh_token}
            answer = await http.post(f"{iam}/v1/oauth/token", data=form)
            if answer.status_code == 400:
                self.forget()
                raise SignedOut("your session is over; run `gpuaas login`")
            answer.raise_for_status()
            renewed = Session.of(answer.json())
            self.write(renewed)
            return renewed.access_token, renewed.expires_at - time.time()

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            yield
        finally:
            with contextlib.suppress(OSError):
                os.close(lock)
