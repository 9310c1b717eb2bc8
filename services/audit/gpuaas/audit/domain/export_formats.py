"""Trail rows as files for others: JSON lines, CSV, OCSF, tar. One law: a row in, bytes out; nothing waits for the end.

OCSF: class API Activity (6003) of version 1.3.0, https://schema.ocsf.io. A row that is no readable event has
empty fields.
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

CSV_COLUMNS: Final = (
    "position",
    "tree",
    "leaf_index",
    "time",
    "type",
    "subject",
    "event_id",
    "actor",
    "actor_kind",
    "on_behalf_of",
    "project_id",
    "correlation_id",
    "causation_id",
    "outcome",
    "payload_sha256",
)
MEDIA_TYPES: Final = {
    "jsonl": "application/jsonl",
    "csv": "text/csv; charset=utf-8",
    "ocsf": "application/jsonl",
    "tar": "application/x-tar",
}
TAR_END: Final = bytes(1_024)
OCSF_VERSION: Final = "1.3.0"
_OTHER: Final = 99
_USER_TYPES: Final = {None: (0, "Unknown"), "user": (1, "User"), "service": (3, "System")}
_CLASS: Final = 6003


def json_line(row: Mapping[str, Any]) -> bytes:
    """One row as a line of JSON."""
    return json.dumps(row, ensure_ascii=False, default=_plain).encode() + b"\n"


def csv_head() -> bytes:
    """The line of column names."""
    return csv_line(dict(zip(CSV_COLUMNS, CSV_COLUMNS, strict=True)))


def csv_line(row: Mapping[str, Any]) -> bytes:
    """One row as a line of CSV (RFC 4180); text that a spreadsheet would run as a formula gets an apostrophe."""
    line = io.StringIO()
    csv.writer(line).writerow([_harmless(row[name]) for name in CSV_COLUMNS])
    return line.getvalue().encode()


def ocsf_line(row: Mapping[str, Any], log: str) -> bytes:
    """One row as an OCSF API Activity event. What a row does not say is left out."""
    happened: datetime = row["happened_at"] or row["recorded_at"]
    parts = row["subject"].split(".")
    kind, caption = _USER_TYPES.get(row["actor_kind"], (_OTHER, row["actor_kind"]))
    metadata = {
        "version": OCSF_VERSION,
        "uid": row["event_id"] or str(row["position"]),
        "sequence": row["position"],
        "tenant_uid": row["tree"],
        "correlation_uid": row["correlation_id"],
        "logged_time": int(row["recorded_at"].timestamp() * 1_000),
        "product": {"name": "GPUaaS", "vendor_name": "GPUaaS"},
        "log_name": log,
        "event_code": row["type"],
    }
    resource = {"uid": row["subject"], "namespace": row["project_id"]}
    document = {
        "activity_id": _OTHER,
        "activity_name": row["type"] or "unreadable",
        "category_uid": 6,
        "class_uid": _CLASS,
        "type_uid": _CLASS * 100 + _OTHER,
        "severity_id": 1,
        "status_id": {"success": 1, "failure": 2}.get(row["outcome"], 0),
        "time": int(happened.timestamp() * 1_000),
        "metadata": _told(metadata),
        "actor": {"user": {"uid": row["actor"] or "unknown", "type_id": kind, "type": caption}},
        "api": {"operation": row["type"] or "unreadable", "service": {"name": parts[1] if len(parts) == 5 else "?"}},
        "src_endpoint": {"name": "unknown"},
        "resources": [_told(resource)],
        "unmapped": {"leaf_index": row["leaf_index"], "payload_sha256": row["payload_sha256"]},
    }
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def _told(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def tar_member(name: str, content: bytes, moment_s: int) -> bytes:
    """One file of a tarball: header, bytes and padding."""
    about = tarfile.TarInfo(name)
    about.size, about.mtime, about.mode = len(content), moment_s, 0o644
    return about.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % 512)


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
