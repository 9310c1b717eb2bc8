"""The pool once more, as plainly as can be: dictionaries copied at every step. The oracle for the real one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gpuaas.common.events import Event
from gpuaas.contracts.allocations import ClaimGranted, ClaimReturned, PoolCapacityAdded, PoolCapacityWithdrawn


@dataclass(frozen=True)
class NaivePool:
    """Who holds which GPU, which GPUs are offered where, which machines are closed."""

    offered: dict[str, frozenset[str]] = field(default_factory=dict)
    rack: dict[str, tuple[str, str]] = field(default_factory=dict)
    model: dict[str, str] = field(default_factory=dict)
    withdrawn: frozenset[str] = frozenset()
    holder: dict[tuple[str, str], str] = field(default_factory=dict)

    def after(self, event: Event) -> NaivePool:
        match event:
            case PoolCapacityAdded() as added:
                return replace(
                    self,
                    offered={**self.offered, added.node_id: frozenset(added.device_ids)},
                    rack={**self.rack, added.node_id: (added.topology.pod, added.topology.rack)},
                    model={**self.model, added.node_id: added.gpu_model},
                    withdrawn=self.withdrawn - {added.node_id},
                )
            case PoolCapacityWithdrawn() as closed:
                return replace(self, withdrawn=self.withdrawn | {closed.node_id})
            case ClaimGranted() as granted:
                devices = [(member.node_id, device) for member in granted.members for device in member.device_ids]
                assert len(set(devices)) == len(devices)
                assert not any(device in self.holder for device in devices), "held twice"
                return replace(self, holder={**self.holder, **dict.fromkeys(devices, granted.allocation_id)})
            case ClaimReturned() as back:
                kept = {device: who for device, who in self.holder.items() if who != back.allocation_id}
                return replace(self, holder=kept)
        raise AssertionError(event)

    def free(self, node_id: str) -> frozenset[str]:
        if node_id in self.withdrawn:
            return frozenset()
        return frozenset(d for d in self.offered[node_id] if (node_id, d) not in self.holder)

    def open_nodes(self, model: str) -> list[str]:
        return [node for node in self.offered if node not in self.withdrawn and self.model[node] == model]
