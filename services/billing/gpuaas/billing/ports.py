"""What billing needs of the process it runs in. One law: a small Protocol for each need."""

from __future__ import annotations

from typing import Protocol


class Standing(Protocol):
    """How far this service's own readers have come; waiting is bounded by the implementation."""

    async def metered(self, position: int) -> None:
        """Return when every release up to `position` has been metered, so that its usage record is in the log.

        Raises:
            Unavailable: not in time, or metering has stopped.
        """
        ...

    async def folded(self, position: int) -> None:
        """Return when every read model has seen `position`.

        Raises:
            Unavailable: not in time, or one has stopped.
        """
        ...
