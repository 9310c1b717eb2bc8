"""A copy of the keys to personal data. One law: a file of its own, for it must end when an erasure must be complete.

One JSON line a person: [subject, content in base64]. A copy holds every person's key as of its moment; who restores an
old one brings keys back that were destroyed since, until iam starts and destroys what the log says is destroyed.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Final

from gpuaas.common.embedded.secrets_file import write_private
from gpuaas.common.errors import Misconfigured, Unreadable
from gpuaas.common.provision import KEY_KEEPERS
from gpuaas.common.vaults.jetstream import stream_of
from nats.aio.client import Client

ANSWER_S: Final = 10.0
NO_MESSAGE: Final = 10037


async def write_vault(connection: Client, path: Path) -> int:
    """Copy every service's keys into `path` (0600); how many people.

    Args:
        connection: signed in as the provisioner, for nobody else but the owner may read there.

    Raises:
        Misconfigured: the file exists.
    """
    if path.exists():
        raise Misconfigured(f"{path} exists; a copy is never written over another")
    lines: list[str] = []
    for service in KEY_KEEPERS:
        after = 0
        while (message := await _next(connection, service, after)) is not None:
            after = message["seq"]
            lines.append(json.dumps([message["subject"], message.get("data", "")]))
    write_private(path, "".join(f"{line}\n" for line in lines))
    return len(lines)


async def put_vault(connection: Client, path: Path) -> int:
    """Write the keys of a copy into empty vaults; how many people.

    Raises:
        Unreadable: the file is no such copy, or a person has a key there already.
    """
    count = 0
    for line in path.read_text("utf-8").splitlines():
        try:
            subject, content = json.loads(line)
            payload = base64.b64decode(content, validate=True)
        except ValueError as spoilt:
            raise Unreadable(f"{path} is no copy of a vault: {spoilt}") from spoilt
        answer = await _ask(connection, subject, payload)
        if "error" in answer:
            raise Unreadable(f"{subject}: {answer['error']['description']}; restore into an empty place")
        count += 1
    return count


async def _next(connection: Client, service: str, after: int) -> dict[str, Any] | None:
    wanted = json.dumps({"seq": after + 1, "next_by_subj": f"keys.{service}.*"}).encode()
    answer = await _ask(connection, f"$JS.API.STREAM.MSG.GET.{stream_of(service)}", wanted)
    if (error := answer.get("error")) is not None:
        if error.get("err_code") == NO_MESSAGE:
            return None
        raise Unreadable(f"the vault of {service} cannot be read: {error['description']}")
    message: dict[str, Any] = answer["message"]
    return message


async def _ask(connection: Client, subject: str, payload: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await connection.request(subject, payload, timeout=ANSWER_S)).data)
    return answer
