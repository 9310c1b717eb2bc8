"""The roles the suite ships with. One law: data only; each of the tenants' four holds all of the one before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class BuiltInRole:
    """What a role is for, and its permission globs."""

    description: str
    permissions: tuple[str, ...]


_VIEWER: Final = (
    "iam.tenant.read",
    "iam.project.read",
    "allocations.*.read",
    "billing.usage.read",
    "nodes.notice.read",
)
_MEMBER: Final = (
    *_VIEWER,
    "allocations.allocation.request",
    "allocations.allocation.release",
    "allocations.workload.execute",
)
_PROJECT_ADMIN: Final = (
    *_MEMBER,
    "allocations.reservation.*",
    "iam.service-account.*",
    "iam.binding.*",
    "iam.invitation.*",
    "iam.key.*",
    "iam.role.read",
    "iam.tenant-role.read",
    "iam.workload.vouch",
)
_TENANT_ADMIN: Final = (
    *_PROJECT_ADMIN,
    "iam.project.create",
    "iam.project.close",
    "iam.project-share.*",
    "iam.received-share.*",
    "iam.group.*",
    "iam.tenant-role.*",
    "iam.duty-rule.*",
    "iam.support-policy.*",
    "iam.support-session.read",
    "iam.support-session.end",
    "iam.prohibition.*",
    "iam.tenant-ceiling.read",
    "iam.workload-trust.*",
    "iam.workload.*",
    "allocations.project-quota.set",
    "billing.*.read",
    "billing.budget.*",
    "billing.invoice-party.set",
    "audit.*.read",
    "nodes.notice.*",
)

BUILT_IN: Final[dict[str, BuiltInRole]] = {
    "viewer": BuiltInRole("Sees a tenant's or project's allocations and usage, changes nothing.", _VIEWER),
    "member": BuiltInRole("Asks for GPUs, works on them and gives them back.", _MEMBER),
    "project-admin": BuiltInRole(
        "Runs a project: its service accounts, keys and who may do what in it.", _PROJECT_ADMIN
    ),
    "tenant-admin": BuiltInRole(
        "Runs a tenant: its projects, its people's rights, its bills and its trail.", _TENANT_ADMIN
    ),
    "auditor": BuiltInRole("Reads everything in its scope, changes nothing.", ("*.*.read",)),
    "billing-admin": BuiltInRole(
        "Publishes prices, runs the billing and reads every bill.",
        ("billing.*.*", "iam.tenant.read", "iam.project.read"),
    ),
    "operator": BuiltInRole(
        "Runs the platform: machines, capacity, prices, tenants; reads everything.",
        (
            "iam.*.*",
            "nodes.*.*",
            "inventory.*.*",
            "allocations.*.*",
            "billing.*.*",
            "audit.*.*",
            "evidence.artefact.*",
            "evidence.claim.*",
            "*.*.read",
        ),
    ),
    "security-admin": BuiltInRole(
        "Decides who may do what and whether a release may go; runs no machines and no bills.",
        ("iam.*.*", "audit.*.*", "evidence.*.*", "*.*.read"),
    ),
}
"""By name. An account that must be able to hand out all of them holds `operator` and `security-admin`."""
