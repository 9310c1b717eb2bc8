"""Shared by the tests of inventory. One law: the helpers beside this file are imported by their own names."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
