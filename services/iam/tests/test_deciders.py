"""What iam's histories decide: given what was said, when asked, then this or a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Forbidden, GpuaasError, Invalid, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event
from gpuaas.common.scopes import Role
from gpuaas.contracts import iam
from gpuaas.iam.domain.api_key import API_KEY, IssueKey, RevokeKey
from gpuaas.iam.domain.binding import BINDING, BindRole, UnbindRole
from gpuaas.iam.domain.built_in_roles import BUILT_IN
from gpuaas.iam.domain.names import named, written
from gpuaas.iam.domain.permissions import beyond, covers
from gpuaas.iam.domain.project import PROJECT, CreateProject
from gpuaas.iam.domain.role import ROLE, DefineRole, InstallBuiltInRole
from gpuaas.iam.domain.service_account import SERVICE_ACCOUNT, CreateServiceAccount
from gpuaas.iam.domain.signing_key import SIGNING_KEY, PublishSigningKey
from gpuaas.iam.domain.tenant import TENANT, CreateTenant
from gpuaas.iam.domain.user import USER, RegisterUser
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
SHA = "ab" * 32

CREATE_ACME = CreateTenant(tenant_id="acme", display_name="Acme", billing_currency="EUR")
CREATE_VISION = CreateProject(tenant_id="acme", project_id="vision", display_name="Vision")
BIND = BindRole(
    binding_id="b-1",
    principal_id="robot",
    principal_kind="service-account",
    role="viewer",
    role_permissions=("iam.*.read",),
    held=frozenset({"iam.*.*"}),
    tenant_id="acme",
    project_id="vision",
    reason="a test",
    asked_at=NOW,
)
ISSUE = IssueKey(
    key_id="k-1",
    principal_id="robot",
    principal_kind="service-account",
    tenant_id="acme",
    secret_sha256=SHA,
    label="laptop",
    asked_at=NOW,
    expires_at=NOW + timedelta(days=30),
    beyond_issuer=(),
)
REVOKE = RevokeKey(principal_id="robot", principal_kind="service-account", reason="leaked")
PUBLISH = PublishSigningKey(key_id="s-1", public_key="A" * 43, valid_from=NOW, valid_until=NOW + timedelta(days=90))


def said(decider: Decider[Any, Any], *commands: Any) -> list[Event]:
    """Everything said when the commands are given one after another."""
    history: list[Event] = []
    for command in commands:
        history += decider.decide(command, decider.fold(history))
    return history


def refused(decider: Decider[Any, Any], kind: type[GpuaasError], *commands: Any) -> str:
    """The refusal of the last command after the others."""
    history = said(decider, *commands[:-1])
    with pytest.raises(kind) as caught:
        decider.decide(commands[-1], decider.fold(history))
    return caught.value.detail


def kinds(events: Sequence[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_each_thing_is_made_once() -> None:
    account = CreateServiceAccount(service_account_id="a", tenant_id="acme", project_id=None, display_name="x")
    user = RegisterUser(user_id="u", email="mira@example.com", display_name="Mira")
    for decider, command in (
        (TENANT, CREATE_ACME),
        (PROJECT, CREATE_VISION),
        (SERVICE_ACCOUNT, account),
        (USER, user),
    ):
        assert len(said(decider, command)) == 1
        refused(decider, Rejected, command, command)


def test_platform_is_no_tenant() -> None:
    assert "platform" in refused(TENANT, Invalid, replace(CREATE_ACME, tenant_id="platform"))


def test_a_currency_that_cannot_be_rounded_is_refused() -> None:
    refused(TENANT, Invalid, replace(CREATE_ACME, billing_currency="XXX"))


def test_a_name_is_kept_in_one_spelling() -> None:
    [made] = said(TENANT, replace(CREATE_ACME, display_name="  Cafe\u0301 京都 👩‍💻 "))
    assert isinstance(made, iam.TenantCreated)
    assert made.display_name == "Café 京都 👩‍💻"


@pytest.mark.parametrize("odd", ["\u0000", "\u001b", "\u007f", "\u0085", "\u202e", "\u2066", "\u200b", "\ufeff", "\n"])
def test_a_character_that_does_not_show_is_refused(odd: str) -> None:
    with pytest.raises(Invalid, match=f"U\\+{ord(odd):04X}"):
        written(f"a{odd}b", "name")


@pytest.mark.parametrize("email", ["", "mira", "@", "a@b@c", "mira@exa mple.com", "x" * 65 + "@example.com"])
def test_what_is_no_email_address_is_refused(email: str) -> None:
    refused(USER, Invalid, RegisterUser(user_id="u", email=email, display_name="Mira"))


def test_a_role_grows_by_versions_and_the_same_again_says_nothing() -> None:
    define = DefineRole(role="reader", description="Reads.", permissions=("iam.key.read",), held=frozenset({"*.*.*"}))
    more = replace(define, permissions=("iam.key.read", "iam.role.read"))
    history = said(ROLE, define, define, more)
    assert [event.version for event in history if isinstance(event, iam.RoleDefined)] == [1, 2]


def test_nobody_defines_a_role_beyond_what_they_hold() -> None:
    define = DefineRole(role="reader", description="Reads.", permissions=("iam.*.read",), held=frozenset())
    assert "iam.*.read" in refused(ROLE, Forbidden, define)
    refused(ROLE, Forbidden, replace(define, held=frozenset({"iam.key.read"})))
    assert said(ROLE, replace(define, held=frozenset({"*.*.read"})))


@pytest.mark.parametrize("glob", ["", "iam", "iam.key", "iam.key.read.x", "iam..read", "IAM.key.read", "iam.k*.read"])
def test_what_is_no_permission_is_refused(glob: str) -> None:
    define = DefineRole(role="odd", description="x", permissions=(glob,), held=frozenset({"*.*.*"}))
    refused(ROLE, Invalid, define)


def test_built_in_roles_are_not_redefined() -> None:
    define = DefineRole(role="viewer", description="x", permissions=("a.b.c",), held=frozenset({"*.*.*"}))
    refused(ROLE, Rejected, define)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_built_in_role_installs_once(name: str) -> None:
    assert kinds(said(ROLE, InstallBuiltInRole(role=name), InstallBuiltInRole(role=name))) == ["RoleDefined"]


def test_the_tenants_roles_grow_from_one_to_the_next() -> None:
    ladder = ["viewer", "member", "project-admin", "tenant-admin"]
    for less, more in pairwise(ladder):
        assert beyond(BUILT_IN[more].permissions, BUILT_IN[less].permissions) == []
        assert beyond(BUILT_IN[less].permissions, BUILT_IN[more].permissions)


def test_the_first_operators_roles_can_hand_out_every_role() -> None:
    held = BUILT_IN["operator"].permissions + BUILT_IN["security-admin"].permissions
    for role in BUILT_IN.values():
        assert beyond(held, role.permissions) == []


def test_no_tenant_role_holds_what_runs_the_platform() -> None:
    for name in ("viewer", "member", "project-admin", "tenant-admin"):
        role = Role(name, 1, BUILT_IN[name].permissions)
        for permission in ("iam.tenant.create", "iam.role.define", "nodes.node.register", "billing.run.start"):
            assert not role.permits(permission), (name, permission)


WORDS = st.sampled_from(["*", "iam", "key", "read"])
GLOBS = st.tuples(WORDS, WORDS, WORDS).map(".".join)
PERMISSIONS = st.tuples(*[st.sampled_from(["iam", "key", "read", "other"])] * 3).map(".".join)


@given(wide=GLOBS, narrow=GLOBS, permission=PERMISSIONS)
def test_what_covers_a_glob_permits_all_it_permits(wide: str, narrow: str, permission: str) -> None:
    if covers(wide, narrow) and Role("n", 1, (narrow,)).permits(permission):
        assert Role("w", 1, (wide,)).permits(permission)


def test_a_binding_is_made_and_ended_once() -> None:
    assert kinds(said(BINDING, BIND, UnbindRole(reason="left"))) == ["RoleBound", "RoleUnbound"]
    refused(BINDING, Rejected, BIND, BIND)
    refused(BINDING, Rejected, BIND, UnbindRole(reason="left"), UnbindRole(reason="left"))
    refused(BINDING, Rejected, BIND, UnbindRole(reason="left"), BIND)
    refused(BINDING, NotFound, UnbindRole(reason="left"))


def test_nobody_binds_what_they_do_not_hold() -> None:
    refused(BINDING, Forbidden, replace(BIND, held=frozenset()))
    refused(BINDING, Forbidden, replace(BIND, role_permissions=("*.*.read",)))


def test_a_project_ends_its_own_bindings_only() -> None:
    refused(BINDING, NotFound, BIND, UnbindRole(reason="x", project_id="speech"))
    refused(BINDING, NotFound, replace(BIND, project_id=None), UnbindRole(reason="x", project_id="vision"))
    assert said(BINDING, BIND, UnbindRole(reason="x", project_id="vision"))
    assert said(BINDING, BIND, UnbindRole(reason="x"))


def test_a_binding_that_would_be_over_is_refused() -> None:
    refused(BINDING, Invalid, replace(BIND, valid_until=NOW))
    refused(BINDING, Invalid, replace(BIND, reason=" "))
    refused(BINDING, Invalid, replace(BIND, tenant_id=None))


def test_a_key_is_issued_once_and_revoked_for_good() -> None:
    assert kinds(said(API_KEY, ISSUE, REVOKE, REVOKE)) == ["ApiKeyIssued", "ApiKeyRevoked"]
    refused(API_KEY, Rejected, ISSUE, ISSUE)
    refused(API_KEY, Rejected, ISSUE, REVOKE, ISSUE)
    refused(API_KEY, NotFound, REVOKE)


def test_a_key_is_revoked_through_its_own_principal() -> None:
    refused(API_KEY, NotFound, ISSUE, replace(REVOKE, principal_id="other"))
    refused(API_KEY, NotFound, ISSUE, replace(REVOKE, principal_kind="user"))


@pytest.mark.parametrize("life", [timedelta(0), timedelta(days=-1), timedelta(days=366, microseconds=1)])
def test_a_key_ends_within_a_year(life: timedelta) -> None:
    refused(API_KEY, Invalid, replace(ISSUE, expires_at=NOW + life))


def test_a_key_lends_no_more_than_its_issuer_holds() -> None:
    refused(API_KEY, Forbidden, replace(ISSUE, beyond_issuer=("nodes.*.*",)))


def test_a_digest_is_a_digest() -> None:
    refused(API_KEY, Invalid, replace(ISSUE, secret_sha256="gpk_dev_secret"))


def test_a_signing_key_is_published_once_and_never_replaced() -> None:
    assert kinds(said(SIGNING_KEY, PUBLISH, PUBLISH)) == ["SigningKeyPublished"]
    refused(SIGNING_KEY, Rejected, PUBLISH, replace(PUBLISH, public_key="B" * 43))
    refused(SIGNING_KEY, Invalid, replace(PUBLISH, valid_until=NOW))
    refused(SIGNING_KEY, Invalid, replace(PUBLISH, valid_until=NOW + timedelta(days=401)))


@pytest.mark.parametrize(
    "decider",
    [TENANT, PROJECT, USER, SERVICE_ACCOUNT, ROLE, BINDING, API_KEY, SIGNING_KEY],
    ids=lambda d: d.evolve.__module__,
)
def test_a_history_refuses_a_strangers_event(decider: Decider[Any, Any]) -> None:
    class Strange(Event):
        TYPE = "gpuaas.iam.strange.v1"

    with pytest.raises(Unreadable, match="strange"):
        decider.evolve(decider.initial, Strange())


@pytest.mark.parametrize(
    "name",
    [
        "Mira Lindqvist",
        "Мира Линдквист",
        "Μίρα",
        "田中 Mira",
        "Vision-видео",
        "O’Brien",
        "Zoë 2",
        "Αθήνα GPU",
        "データ処理",
    ],
)
def test_a_name_may_be_of_any_script(name: str) -> None:
    assert named(name, "display name") == name


@pytest.mark.parametrize("name", ["Аcme", "Acmе", "pаypal GmbH", "ΑCME", "Vision Vіsion", "аdmin@example.com", "Ꭺcme"])
def test_a_word_that_is_to_be_taken_for_another_is_no_name(name: str) -> None:
    with pytest.raises(Invalid, match="mixes"):
        named(name, "display name")
