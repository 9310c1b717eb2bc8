"""What of the trail was shown to whom. One law: it is on the log before a byte leaves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.events import Event
from gpuaas.contracts.audit import ExportFormat, OperatorAccessRecorded, TrailExported


@dataclass(frozen=True, slots=True)
class RecordExport:
    """Order the record of a copy; `filters` are `name=value`."""

    export_id: str
    tenant_id: str
    format: ExportFormat
    up_to_position: int
    row_count: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecordAccess:
    """Order the record that an operator looked into a tenant's trail within an hour."""

    access_id: str
    tenant_id: str
    operator_id: str
    operator_kind: str
    permission: str
    hour: datetime


def decide_export(command: RecordExport, said: bool) -> list[Event]:
    """The record, once."""
    if said:
        return []
    return [
        TrailExported(
            export_id=command.export_id,
            tenant_id=command.tenant_id,
            format=command.format,
            up_to_position=command.up_to_position,
            row_count=command.row_count,
            filters=command.filters,
        )
    ]


def decide_access(command: RecordAccess, said: bool) -> list[Event]:
    """The record, once an hour: any number of looks is one."""
    if said:
        return []
    return [
        OperatorAccessRecorded(
            access_id=command.access_id,
            tenant_id=command.tenant_id,
            operator_id=command.operator_id,
            operator_kind=command.operator_kind,
            permission=command.permission,
            hour=command.hour,
        )
    ]


def evolve(_: bool, event: Event) -> bool:
    """Said."""
    match event:
        case TrailExported() | OperatorAccessRecorded():
            return True
        case _:
            raise AssertionError(f"{type(event).__name__} tells of no disclosure")


EXPORTS: Final[Decider[bool, RecordExport]] = Decider(initial=False, decide=decide_export, evolve=evolve)
ACCESSES: Final[Decider[bool, RecordAccess]] = Decider(initial=False, decide=decide_access, evolve=evolve)
