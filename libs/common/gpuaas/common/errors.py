"""The ways a request can end badly. One law: every error says what to do next, in a sentence of the domain.

Each class carries its HTTP status and a stable `code`; the door turns them into RFC 9457 problems.
"""

from __future__ import annotations

from typing import ClassVar


class GpuaasError(Exception):
    """Root of every error this suite raises on purpose.

    Args:
        detail: one sentence for the reader: what was wrong and what to do next.
        **facts: extra members of the problem document; JSON-serialisable.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(self, detail: str, **facts: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


class Invalid(GpuaasError):
    """The request itself is malformed: no state could make it acceptable."""

    status = 422
    code = "invalid"


class Rejected(GpuaasError):
    """The domain says no in the present state; another state could make it a yes."""

    status = 409
    code = "rejected"


class Conflict(GpuaasError):
    """Someone else wrote this history first. Read again and decide again."""

    status = 409
    code = "conflict"


class NotFound(GpuaasError):
    """There is no such thing, or none that the caller may see."""

    status = 404
    code = "not-found"


class NoSuchMethod(GpuaasError):
    """The path is there, and does not take that method."""

    status = 405
    code = "method-not-allowed"


class Unauthenticated(GpuaasError):
    """The caller did not show who they are."""

    status = 401
    code = "unauthenticated"


class Forbidden(GpuaasError):
    """The caller is known and may not do this."""

    status = 403
    code = "forbidden"


class TooLarge(GpuaasError):
    """A limit on size was exceeded; the limit is in the detail."""

    status = 413
    code = "too-large"


class Unavailable(GpuaasError):
    """Not now: a dependency is away or a view is behind. Retry after `retry_after_s`."""

    status = 503
    code = "unavailable"

    def __init__(self, detail: str, *, retry_after_s: int = 1, **facts: object) -> None:
        super().__init__(detail, **facts)
        self.retry_after_s = retry_after_s


class Unreadable(GpuaasError):
    """Bytes from the log that this reader cannot understand. It stops the reader; it is never skipped."""

    code = "unreadable"


class NotPermitted(GpuaasError):
    """The broker refused this service's publish: its permissions do not cover the subject."""

    code = "not-permitted"


class Misconfigured(GpuaasError):
    """This process must not start as it is set up; the detail says which setting to change."""

    code = "misconfigured"
