"""What says that a person was forgotten. One law: it shows events, unchanged, and claims nothing that they do not.

Formats: the statement is a signed note of the log's key, `gpuaas-erasure/v1`; the certificate is the document that
`gpuaas-verify erasure` judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gpuaas.audit.domain.bundles import Evidence, tree_name
from gpuaas.audit.domain.checkpoints import LogKey

FORMAT: Final = "gpuaas-erasure/v1"


@dataclass(frozen=True, slots=True)
class Erasure:
    """The events that a certificate rests on.

    Attributes:
        subject_id: whose data it was.
        orders: the whole history of holds and orders for the person.
        person: the person's own history at the data's owner, and every other event that the destroyed key had sealed.
    """

    subject_id: str
    orders: Sequence[Evidence]
    person: Sequence[Evidence]

    def all(self) -> list[Evidence]:
        return [*self.orders, *self.person]

    def document(self, proved: Sequence[Evidence], checkpoints: Mapping[str, str]) -> dict[str, Any]:
        """The certificate; `proved` is `all()` with proofs, `checkpoints` are signed notes by tree."""
        leaves = [each.leaf() for each in proved]
        return {
            "format": FORMAT,
            "subject_id": self.subject_id,
            "checkpoints": {tree_name(tree): note for tree, note in checkpoints.items()},
            "orders": leaves[: len(self.orders)],
            "person": leaves[len(self.orders) :],
        }


def statement(key: LogKey, subject_id: str, erasure_id: str, erased_event_id: str, sealed: int, clear: int) -> str:
    """The signed note: whose data, which order, which event says that the key is gone, and what it had sealed."""
    lines = (FORMAT, key.log, subject_id, erasure_id, erased_event_id, str(sealed), str(clear))
    text = "".join(f"{line}\n" for line in lines)
    return f"{text}\n{key.line(text, key.log)}"
