"""What code runs here, as digests. One law: other bytes are another digest, and nothing but names and bytes goes in.

Taken once for a process, from the files that its packages were imported from; a file that changes later is not what
runs. Processes that are forked from one parent share what the parent has taken.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

SHARED: Final = ("gpuaas.common", "gpuaas.contracts")
"""What every service runs besides its own package."""
_MADE_HERE: Final = "__pycache__"


@lru_cache(maxsize=64)
def source_of(package: str) -> tuple[str, int] | None:
    """SHA-256 over all files of an importable package, by name, and their bytes together; None: no such package.

    The digest is that of `<path>\\0<SHA-256 of the file>` for every file, in order of the paths.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(spec.submodule_search_locations[0])
    whole, size_bytes = hashlib.sha256(), 0
    for path in sorted(file for file in root.rglob("*") if file.is_file() and _MADE_HERE not in file.parts):
        content = path.read_bytes()
        whole.update(f"{path.relative_to(root)}\0".encode())
        whole.update(hashlib.sha256(content).digest())
        size_bytes += len(content)
    return whole.hexdigest(), size_bytes


def sources_of(service: str) -> dict[str, str]:
    """Package → digest, of everything of ours that this service's process runs."""
    found = {package: source_of(package) for package in (*SHARED, f"gpuaas.{service}")}
    return {package: taken[0] for package, taken in found.items() if taken is not None}
