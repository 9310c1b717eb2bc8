"""A witness elsewhere, over HTTP. One law: few seconds, few bytes, and its words are not believed here."""

from __future__ import annotations

import asyncio
import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Final

from gpuaas.audit.domain.witnessing import Answer
from gpuaas.common.errors import Unavailable

ANSWER_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class HttpWitness:
    """One witness by its submission prefix (`url`)."""

    name: str
    public_key: bytes
    url: str
    timeout_s: float

    async def add_checkpoint(self, body: bytes) -> Answer:
        return await asyncio.to_thread(self._post, body)

    def _post(self, body: bytes) -> Answer:
        request = urllib.request.Request(f"{self.url.rstrip('/')}/add-checkpoint", body, method="POST")
        request.add_header("Content-Type", "text/plain; charset=utf-8")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as answer:
                return Answer(answer.status, answer.read(ANSWER_BYTES_MAX).decode("utf-8", "replace"))
        except urllib.error.HTTPError as declined:
            with declined:
                return Answer(declined.code, declined.read(ANSWER_BYTES_MAX).decode("utf-8", "replace"))
        except (OSError, http.client.HTTPException) as lost:
            raise Unavailable(f"the witness {self.name} does not answer: {lost}") from lost
