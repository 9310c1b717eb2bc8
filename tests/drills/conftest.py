"""Which drills run when. One law: `make drills` runs all; a test run only those that take less than a minute."""

from __future__ import annotations

import os

import pytest

ALL: str = "GPUAAS_DRILLS"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the long ones out, by name, unless they are asked for."""
    if os.environ.get(ALL) == "all":
        return
    for item in items:
        if item.get_closest_marker("long") is not None:
            item.add_marker(pytest.mark.skip(reason="long: `make drills` runs it"))
