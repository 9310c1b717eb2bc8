"""The histories that audit itself writes. One law: each stands under its own service and entity, once."""

from __future__ import annotations

from typing import Final

from gpuaas.audit.domain.data_subjects import DATA_SUBJECTS, DataSubject, DataSubjectCommand
from gpuaas.audit.domain.disclosures import ACCESSES, EXPORTS, RecordAccess, RecordExport
from gpuaas.audit.domain.divergences import DIVERGENCES, DivergenceState, ReportDivergence
from gpuaas.audit.domain.epochs import EPOCHS, Sealed, SealEpoch
from gpuaas.audit.domain.log_keys import LOG_KEYS, Announced, AnnounceKey
from gpuaas.common.commands import Cause, Entity
from gpuaas.common.events import Vocabulary
from gpuaas.common.ids import derived_id
from gpuaas.contracts.audit import (
    DivergenceFound,
    EpochSealed,
    ErasureCertified,
    ErasureOrdered,
    LegalHoldLifted,
    LegalHoldPlaced,
    LogKeyAnnounced,
    OperatorAccessRecorded,
    TrailExported,
)

SERVICE: Final = "audit"
EPOCH: Final[Entity[Sealed, SealEpoch]] = Entity(SERVICE, "epoch", EPOCHS, Vocabulary(EpochSealed))
DIVERGENCE: Final[Entity[DivergenceState, ReportDivergence]] = Entity(
    SERVICE, "divergence", DIVERGENCES, Vocabulary(DivergenceFound)
)
LOG_KEY: Final[Entity[Announced, AnnounceKey]] = Entity(SERVICE, "log-key", LOG_KEYS, Vocabulary(LogKeyAnnounced))
EXPORT: Final[Entity[bool, RecordExport]] = Entity(SERVICE, "export", EXPORTS, Vocabulary(TrailExported))
ACCESS: Final[Entity[bool, RecordAccess]] = Entity(
    SERVICE, "operator-access", ACCESSES, Vocabulary(OperatorAccessRecorded)
)
DATA_SUBJECT: Final[Entity[DataSubject, DataSubjectCommand]] = Entity(
    SERVICE,
    "data-subject",
    DATA_SUBJECTS,
    Vocabulary(LegalHoldPlaced, LegalHoldLifted, ErasureOrdered, ErasureCertified),
)


def own_cause(step: str, *facts: str) -> Cause:
    """The cause of what audit does by itself: the same facts, the same cause."""
    return Cause(id=derived_id(f"audit-{step}", *facts), actor=SERVICE, actor_kind="service", step=step)
