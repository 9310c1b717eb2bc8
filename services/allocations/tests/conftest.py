"""Shared by the tests of allocations. One law: the shared suites beside this file are imported by their own names."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
