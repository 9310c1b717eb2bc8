"""How retired event versions read today. One law: pure functions from the data of one version to the data of the next.

The one module of this package that is written by hand. An entry belongs to every file `<name>.v<n+1>.json` in
`schemas/events`; `python -m tools.contracts check` refuses a new version without one, and proves each on all examples
of the version it retires. A reader hands the table to its vocabulary: `Vocabulary(..., upcasters=UPCASTERS)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gpuaas.common.events import Upcaster

UPCASTERS: Mapping[str, tuple[Upcaster, str]] = MappingProxyType({})
"""Retired type name → (function to the next version's data, next type name). Empty while every event is a v1."""
