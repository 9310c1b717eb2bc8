"""Procedures as programs on this machine. One law: nothing runs that is not on the list, and never through a shell.

The list is a JSON file: `{"<procedure id>": {"command": ["program", "{subject}", "{out}"], "timeout_s": 60,
"makes": {"<artefact name>": "<file in {out}>"}}}`. `{subject}` is the subject's digest, `{out}` an empty folder.
A program gets `PATH` and nothing else of this process's environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

from gpuaas.common.errors import Misconfigured
from gpuaas.common.events import first_complaint
from gpuaas.evidence.ports import NotRun
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

ARTEFACT_BYTES_MAX: Final = 32 * 1024 * 1024
PROCEDURES_MAX: Final = 256
TIMEOUT_MAX_S: Final = 3_600


class Procedure(BaseModel):
    """One line of the list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: Annotated[tuple[str, ...], Field(min_length=1, max_length=64)]
    timeout_s: Annotated[float, Field(gt=0, le=TIMEOUT_MAX_S)]
    makes: Annotated[dict[str, Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")]], Field(min_length=1)]


class LocalCommands:
    """Runs what is on the list, one at a time, in an empty folder.

    Args:
        path: the list; None: nothing may be run.
    """

    def __init__(self, path: Path | None) -> None:
        self._procedures = {} if path is None else _read(path)
        self._turn = asyncio.Lock()

    def known(self) -> frozenset[str]:
        return frozenset(self._procedures)

    async def run(self, procedure_id: str, subject_sha256: str) -> Mapping[str, bytes]:
        if (procedure := self._procedures.get(procedure_id)) is None:
            raise NotRun(f"the procedure {procedure_id} is not on this service's list; nothing was run")
        async with self._turn:
            with tempfile.TemporaryDirectory(prefix="gpuaas-procedure-") as out:
                places = {"{subject}": subject_sha256, "{out}": out}
                words = [places.get(word, word) for word in procedure.command]
                await _run(words, Path(out), procedure.timeout_s)
                return {name: await asyncio.to_thread(_made, Path(out), file) for name, file in procedure.makes.items()}


async def _run(words: list[str], out: Path, timeout_s: float) -> None:
    try:
        program = await asyncio.create_subprocess_exec(
            *words,
            cwd=out,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as failed:
        raise NotRun(f"{words[0]} cannot be started: {failed.strerror}") from failed
    try:
        async with asyncio.timeout(timeout_s):
            status = await program.wait()
    except TimeoutError:
        raise NotRun(f"{words[0]} ran longer than {timeout_s:g} s and was ended") from None
    finally:
        # Whatever it left running ends with it.
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        await program.wait()
    if status != 0:
        raise NotRun(f"{words[0]} ended with status {status}")


def _made(out: Path, file: str) -> bytes:
    try:
        descriptor = os.open(out / file, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as failed:
        raise NotRun(f"the procedure did not make {file}: {failed.strerror}") from failed
    with os.fdopen(descriptor, "rb") as opened:
        content = opened.read(ARTEFACT_BYTES_MAX + 1)
    if len(content) > ARTEFACT_BYTES_MAX:
        raise NotRun(f"the procedure made more than {ARTEFACT_BYTES_MAX} bytes in {file}")
    return content


def _read(path: Path) -> dict[str, Procedure]:
    try:
        found = TypeAdapter(dict[str, Procedure]).validate_python(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as broken:
        said = first_complaint(broken) if isinstance(broken, ValidationError) else str(broken)
        raise Misconfigured(f"the list of procedures {path} cannot be used: {said}") from broken
    if len(found) > PROCEDURES_MAX:
        raise Misconfigured(f"{path} lists more than {PROCEDURES_MAX} procedures")
    return found
