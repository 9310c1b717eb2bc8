"""The roles that ship, against what there is to do. One law: what is a tenant's to do, some role of theirs gives."""

from __future__ import annotations

from itertools import pairwise

from gpuaas.common.scopes import Role
from gpuaas.iam.domain.built_in_roles import BUILT_IN

from tools.openapi.describing import documents
from tools.openapi.permissions import registry

PLATFORMS = {
    "iam.tenant.suspend",
    "iam.tenant.resume",
    "iam.tenant.close",
    "iam.support-session.start",
    "iam.tenant-ceiling.set",
    "iam.tenant-ceiling.remove",
    "billing.credit.grant",
    "billing.credit.void",
    "billing.correction.issue",
    "billing.credit-note.issue",
    "billing.invoice.void",
    "billing.payment.record",
    "billing.price-agreement.end",
    "billing.price-agreement.make",
    "billing.spending.order",
    "billing.tax-profile.set",
    "billing.usage-report.make",
    "iam.directory.read",
    "iam.directory.provision",
    "iam.session.revoke",
}
"""What is done to a tenant by the platform or by a directory, and never by its people."""
LADDER = ("viewer", "member", "project-admin", "tenant-admin")


def permissions_in_tenants() -> set[str]:
    return {
        permission
        for opened in registry(documents()).values()
        for permission, operations in opened.items()
        if "." in permission and any("{tenant_id}" in each for each in operations)
    }


def test_a_tenants_administrator_may_do_all_there_is_to_do_in_a_tenant_but_the_platforms_part() -> None:
    held = Role("tenant-admin", 1, BUILT_IN["tenant-admin"].permissions)
    asked = permissions_in_tenants()
    assert "allocations.workload.execute" in asked
    own = {"billing.budget.set", "billing.budget.withdraw", "billing.invoice-party.set"}
    assert all(held.permits(each) for each in own)
    assert {each for each in asked if not held.permits(each)} == PLATFORMS


def test_each_of_the_tenants_roles_holds_all_of_the_one_before_it() -> None:
    for less, more in pairwise(LADDER):
        wide = Role(more, 1, BUILT_IN[more].permissions)
        assert all(glob in wide.permissions for glob in BUILT_IN[less].permissions), (less, more)


def test_a_member_works_on_what_they_asked_for() -> None:
    member = Role("member", 1, BUILT_IN["member"].permissions)
    for permission in ("allocation.request", "allocation.release", "workload.execute", "workload-log.read"):
        assert member.permits(f"allocations.{permission}")
    assert not member.permits("iam.binding.create")
