"""Whether a waiver counts. One law: whatever is wrong with one makes it count for nothing, each by its own name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gpuaas.evidence.domain.inputs import ClaimOnFile, Inputs, RequirementOnFile, WaiverOnFile, demand_of
from gpuaas.evidence.domain.waiver import may_waive

PEOPLE_MIN: Final = 2


def waivers_for(required: RequirementOnFile, inputs: Inputs) -> list[WaiverOnFile]:
    """The waivers of this requirement for the subject and profile that are judged, in log order."""
    return [
        one
        for one in sorted(inputs.waivers, key=lambda one: one.position)
        if one.requested.requirement_id == required.published.requirement_id
        and one.requested.subject_sha256 == inputs.subject_sha256
        and one.requested.profile == inputs.profile
    ]


def flaw(waiver: WaiverOnFile, required: RequirementOnFile, about: Sequence[ClaimOnFile], inputs: Inputs) -> str | None:
    """The one word for which `waiver` does not count; None when it does.

    Args:
        about: the claims about the requirement and subject that are judged.
    """
    said = waiver.requested
    kinds = {said.requested_by_kind, *(one.approved_by_kind for one in waiver.approvals)}
    checks = {
        "waiver-not-allowed": not demand_of(required.published, inputs.profile).waivable,
        "waiver-withdrawn": waiver.withdrawn,
        "waiver-older-requirement": said.requirement_version != required.published.version,
        "waiver-expired": said.expires_at <= inputs.now,
        "waiver-from-the-future": said.requested_at > inputs.now,
        "waiver-one-person": len(waiver.people) < PEOPLE_MIN,
        "waiver-self-approved": bool(waiver.people & {one.submitted_by for one in about}),
        "waiver-not-people": not all(may_waive(kind, inputs.profile) for kind in kinds),
    }
    return next((word for word, found in checks.items() if found), None)
