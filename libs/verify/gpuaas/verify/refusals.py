"""The two ways evidence can fail. One law: nothing that is not proved is called verified.

`Refuted` (exit code 1): the evidence is readable and does not prove what it claims. `Unusable` (exit code 2): there is
nothing to judge, because it cannot be read or no trust was given. Each carries a stable `reason` for machines.
"""

from __future__ import annotations


class Refused(Exception):
    """Root of both.

    Args:
        reason: a stable kebab-case code, such as `not-included`.
        detail: one sentence for the reader.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Refuted(Refused):
    """The evidence contradicts its claim, or is not signed by anyone trusted."""


class Unusable(Refused):
    """The input cannot be read as evidence, or no trusted key was given."""
