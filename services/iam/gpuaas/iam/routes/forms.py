"""Forms, and refusals as OAuth names them. One law: a field that stands twice is no field (RFC 6749 §3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import Request
from gpuaas.common.errors import GpuaasError

FIELDS_MAX: Final = 20
_FORM: Final = "application/x-www-form-urlencoded"


class OAuthRefused(GpuaasError):
    """A refusal as RFC 6749 §5.2, RFC 8628 §3.5 and RFC 8693 §2.2.2 name it, in the member `error`."""

    status = 400
    code = "oauth-refused"

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(detail, error=error, error_description=detail)


def form(*required: str, **described: str) -> dict[str, Any]:
    """What OpenAPI says of a form with these fields."""
    properties = {name: {"type": "string", "description": text, "maxLength": 4_096} for name, text in described.items()}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"requestBody": {"required": True, "content": {_FORM: {"schema": schema}}}}


async def fields(request: Request) -> Mapping[str, str]:
    """The fields of a form. Raises OAuthRefused: it is none, or names one twice."""
    try:
        pairs = parse_qsl((await request.body()).decode("ascii"), max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as odd:
        raise OAuthRefused("invalid_request", f"send a form ({_FORM})") from odd
    found = dict(pairs)
    if len(found) < len(pairs):
        raise OAuthRefused("invalid_request", "a field is named twice; name each once")
    return found
