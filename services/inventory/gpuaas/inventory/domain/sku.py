"""Kinds of machines that can be ordered: SKUs with their bills of materials. One law: a version never changes.

What a machine of a SKU holds is what its version says for ever; a better bill of materials is the next version. A
retired version takes no new plans, and the plans made with it stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.ids import is_name
from gpuaas.contracts.inventory import BillPart, SkuPublished, SkuVersionRetired

VERSIONS_MAX: Final = 1_000
REASON_MAX: Final = 500
VOCABULARY: Final = Vocabulary(SkuPublished, SkuVersionRetired)
NvlinkScope: TypeAlias = Literal["none", "machine", "rack"]


@dataclass(frozen=True, slots=True)
class Bill:
    """What one version of a SKU says; equal bills are one version.

    Attributes:
        gpu_count: GPUs in one machine.
        nvlink_scope: how far one NVLink domain reaches.
        parts: the bill of materials of one machine.
    """

    title: str
    gpu_model: str
    gpu_count: int
    nvlink_scope: NvlinkScope
    parts: tuple[BillPart, ...]


@dataclass(frozen=True, slots=True)
class Sku:
    """All versions of one SKU, the first one first; `retired` holds the numbers of those that take no new plans."""

    bills: tuple[Bill, ...] = ()
    retired: frozenset[int] = frozenset()

    def bill(self, version: int) -> Bill | None:
        return self.bills[version - 1] if 1 <= version <= len(self.bills) else None

    @property
    def newest(self) -> int | None:
        """The newest version that still takes plans."""
        return next((v for v in range(len(self.bills), 0, -1) if v not in self.retired), None)


@dataclass(frozen=True, slots=True)
class PublishSku:
    """The next version; nothing when the newest says the same. `model_known`: the catalogue has its model."""

    sku_id: str
    bill: Bill
    model_known: bool


@dataclass(frozen=True, slots=True)
class RetireSkuVersion:
    sku_id: str
    version: int
    reason: str


SkuCommand: TypeAlias = PublishSku | RetireSkuVersion


def decide(command: SkuCommand, sku: Sku) -> Sequence[Event]:
    match command:
        case PublishSku() as order if sku.bills and sku.bills[-1] == order.bill and sku.newest == len(sku.bills):
            return []
        case PublishSku() as order:
            return _published(order, sku)
        case RetireSkuVersion() as order if sku.bill(order.version) is None:
            raise NotFound(f"{order.sku_id} has no version {order.version}; it has {len(sku.bills)}")
        case RetireSkuVersion() as order if order.version in sku.retired:
            return []
        case RetireSkuVersion() as order:
            if not 1 <= len(order.reason) <= REASON_MAX:
                raise Invalid(f"reason has {len(order.reason)} characters; say it in 1 to {REASON_MAX}")
            return [SkuVersionRetired(sku_id=order.sku_id, version=order.version, reason=order.reason)]
    raise Rejected(f"a SKU cannot {type(command).__name__}")


def _published(order: PublishSku, sku: Sku) -> list[Event]:
    bill = order.bill
    if not is_name(order.sku_id):
        raise Invalid(f"sku_id {order.sku_id!r} is not a name; use 1–63 of a–z, 0–9 and inner hyphens")
    if not order.model_known:
        raise Rejected(f"the catalogue has no GPU model {bill.gpu_model}; define it first, see GET /v1/gpu-models")
    if len(sku.bills) >= VERSIONS_MAX:
        raise Rejected(f"{order.sku_id} has {VERSIONS_MAX} versions, which is the most; publish another SKU")
    twice = [key for key, times in Counter((p.kind, p.part_number) for p in bill.parts).items() if times > 1]
    if twice:
        raise Invalid(f"{twice[0][0]} {twice[0][1]} is on two lines of the bill; give it one line and a count")
    listed = sum(part.count for part in bill.parts if part.kind == "gpu")
    if listed != bill.gpu_count:
        raise Invalid(f"the bill lists {listed} GPUs and gpu_count is {bill.gpu_count}; they are the same GPUs")
    return [
        SkuPublished(
            sku_id=order.sku_id,
            version=len(sku.bills) + 1,
            title=bill.title,
            gpu_model=bill.gpu_model,
            gpu_count=bill.gpu_count,
            nvlink_scope=bill.nvlink_scope,
            parts=bill.parts,
        )
    ]


def evolve(sku: Sku, event: Event) -> Sku:
    match event:
        case SkuPublished() as fact if fact.version == len(sku.bills) + 1:
            bill = Bill(
                title=fact.title,
                gpu_model=fact.gpu_model,
                gpu_count=fact.gpu_count,
                nvlink_scope=fact.nvlink_scope,
                parts=tuple(fact.parts),
            )
            return replace(sku, bills=(*sku.bills, bill))
        case SkuVersionRetired() as fact:
            return replace(sku, retired=sku.retired | {fact.version})
        case _:
            raise Unreadable(f"{event.TYPE} cannot follow in a SKU's history with {len(sku.bills)} versions")


SKU: Final[Decider[Sku, SkuCommand]] = Decider(initial=Sku(), decide=decide, evolve=evolve)
