"""Shared by the evidence tests. One law: the shared suite beside this file is imported by its own name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("store_contract", "claims_made")
