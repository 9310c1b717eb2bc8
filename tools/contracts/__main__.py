"""`python -m tools.contracts generate|check`: contracts from schemas. One law: run from the repository's root."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.contracts.artefacts import drift, write

if __name__ == "__main__":
    if sys.argv[1] == "generate":
        print(*write(Path.cwd()), sep="\n")
    else:
        sys.exit(str(drift(Path.cwd())) if drift(Path.cwd()) else 0)
