"""What the command line reads in audit's database is there. One law: a table that gets a new name gets it here too."""

from __future__ import annotations

import inspect
import re

from gpuaas.audit.projections.audit_trail import PAYLOADS, TRAIL
from gpuaas.cli import audit_copy


def test_audits_copy_is_read_from_the_tables_that_audit_keeps_now() -> None:
    named = set(re.findall(r"live\.(\w+)", inspect.getsource(audit_copy)))
    assert named == {TRAIL.name, PAYLOADS.name}
