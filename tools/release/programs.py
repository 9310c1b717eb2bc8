"""Programs run for a collector. One law: what goes on is shown, what it said is kept, and its time is bounded."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

TOLD_EVERY_S: Final = 30.0
LAST_WORDS_BYTES: Final = 16_384
SHOWN_CHARS_MAX: Final = 160

Tell = Callable[[str], None]
"""Told now and then how far a program is."""


class GaveNothing(Exception):
    """A tool could not do its work, so there is nothing to show; the text says why."""


async def run(
    words: Sequence[str],
    said: Path,
    timeout_s: float,
    tell: Tell,
    environment: Mapping[str, str] | None = None,
    printed: Path | None = None,
) -> int:
    """Run a program with its output in the file `said`; its exit status.

    Args:
        environment: more variables for it.
        printed: where its standard output goes instead.

    Raises:
        GaveNothing: it cannot be started, or ran longer than `timeout_s` and was ended with all it had started.
    """
    said.parent.mkdir(parents=True, exist_ok=True)
    for file in filter(None, (said, printed)):
        file.unlink(missing_ok=True)
    with said.open("ab") as output, (printed or said).open("ab") as answer:
        try:
            program = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=answer,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        except OSError as failed:
            raise GaveNothing(f"{words[0]} cannot be started: {failed.strerror}") from failed
    try:
        return await _ended(program, said, timeout_s, tell)
    finally:
        # Also when this is interrupted: whatever it left running ends with it.
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        await program.wait()


async def _ended(program: asyncio.subprocess.Process, said: Path, timeout_s: float, tell: Tell) -> int:
    began = monotonic()
    while (left_s := timeout_s - (monotonic() - began)) > 0:
        with suppress(TimeoutError):
            return await asyncio.wait_for(program.wait(), min(TOLD_EVERY_S, left_s))
        tell(f"{monotonic() - began:,.0f} s  {last_words(said)}")
    raise GaveNothing(f"it ran longer than {timeout_s:,.0f} s and was ended; last it said: {last_words(said)}")


def last_words(said: Path) -> str:
    """The last line with something in it."""
    with said.open("rb") as output:
        output.seek(max(0, said.stat().st_size - LAST_WORDS_BYTES))
        lines = output.read().decode("utf-8", "replace").splitlines()
    return next((line.strip()[:SHOWN_CHARS_MAX] for line in reversed(lines) if line.strip()), "nothing")
