"""A tree of the trail as files on a laptop. One law: it copies; whether the copy is the signed tree, the verifier says.

Layout: https://c2sp.org/tlog-tiles. A full tile never changes, so a copy that is there is not fetched again.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

from gpuaas.cli.client import Suite
from gpuaas.common.errors import Unreadable
from gpuaas.verify.mirrors import TILE_WIDTH, tile_path

SIDE_BY_SIDE: Final = 8
_KINDS: Final = ("0", "entries")


async def mirror_tree(suite: Suite, place: str, folder: Path) -> int:
    """Copy checkpoint, leaf tiles and entries below the URL path `place`; how many leaves the tree has.

    Raises:
        Unreadable: the checkpoint is none.
    """
    from rich.console import Console
    from rich.progress import Progress

    checkpoint = await suite.get_bytes("audit", f"{place}/checkpoint")
    try:
        size = int(checkpoint.split(b"\n")[1])
    except (IndexError, ValueError) as broken:
        raise Unreadable("the answer is no checkpoint") from broken
    free = asyncio.Semaphore(SIDE_BY_SIDE)
    wanted = [
        (kind, tile_path(index, min(TILE_WIDTH, size - index * TILE_WIDTH)))
        for index in range((size + TILE_WIDTH - 1) // TILE_WIDTH)
        for kind in _KINDS
    ]
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("tiles", total=len(wanted))

        async def one(kind: str, path: str) -> None:
            target = folder / "tile" / kind / path
            if not target.exists():
                async with free:
                    content = await suite.get_bytes("audit", f"{place}/tile/{kind}/{path}")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            progress.advance(bar)

        await asyncio.gather(*(one(kind, path) for kind, path in wanted))
    # Last, so that a copy that was broken off is not taken for a whole one.
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkpoint").write_bytes(checkpoint)
    return size
