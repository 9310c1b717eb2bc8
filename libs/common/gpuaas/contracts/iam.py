"""Events of the service `iam`. Generated from schemas/events by `python -m tools.contracts generate`; do not edit."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gpuaas.common.events import Event, Part
from gpuaas.common.wire import Moment, Unique

ActingKind = Literal["user", "service-account", "workload"]
"""What acts with another's right: a person, a program, or a workload that is trusted."""

Currency = Annotated[str, Field(min_length=3, max_length=3, pattern=r"^[A-Z]{3}$")]
"""A currency by its three-letter ISO 4217 code."""

EndOfSession = Literal["signed-out", "revoked", "refresh-token-reused", "password-set"]
"""What ends a session before its time."""

EndOfWorkload = Literal["allocation-released", "revoked"]
"""What ends a workload."""

HolderKind = Literal["user", "service-account", "group"]
"""What a right can be given to or taken from: a person, a program with an account of its own, or a
group of them.
"""

Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A name that can be a token of a subject and of a host name: 1 to 63 of a-z, 0-9 and inner hyphens
(RFC 1123 label).
"""

NewPeople = Literal["refuse", "register"]
"""`refuse`: whoever runs the platform links identities first; `register`: a person is registered with
their verified e-mail address.
"""

OfferEnd = Literal["withdrawn", "declined"]
"""How an offer ended that was not accepted: who made it took it back, or who got it did not want it."""

Origin = Literal["registered", "ordered", "provisioned"]
"""`registered`: the person was registered by signing in; `ordered`: somebody who may linked it;
`provisioned`: a directory said so over SCIM.
"""

PrincipalKind = Literal["user", "service-account"]
"""What acts: a person, or a program with an account of its own."""

RefusalCause = Literal["no-credential", "not-valid", "over", "ended", "suspended", "no-right", "not-held", "rule", "nothing-there"]
"""Why something was refused."""

Sha256 = Annotated[str, Field(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest in lower-case hexadecimal."""

ShareEnder = Literal["owner", "receiver", "platform"]
"""Who ended a share: whose project it is, whom it was made to, or the platform."""

SignInMethod = Literal["password", "device", "provider"]
"""How a person shows who they are."""

SigningAlgorithm = Literal["Ed25519"]
"""The signature algorithm of a key."""

SupportPolicy = Literal["open", "sessions", "refused"]
"""How a tenant lets people of the platform at its own things."""

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
"""A day of the week."""


class AccessUse(Part):
    """Uses of one kind."""

    principal_kind: PrincipalKind
    """What kind of principal it was."""

    principal_id: Label
    """Who it was."""

    permission: Annotated[str, Field(min_length=5, max_length=128, pattern=r"^[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*$")]
    """What it takes: `service.resource.verb`."""

    project_id: Label | None = None
    """The project it was about; absent: the tenant itself."""

    count: Annotated[int, Field(strict=True, ge=1, le=2147483647)]
    """How often."""


class Hours(Part):
    """A time of the week, in a named time zone with its summer time."""

    time_zone: Annotated[str, Field(min_length=1, max_length=64)]
    """Its name in the IANA time zone database."""

    days: Annotated[tuple[Weekday, ...], Field(min_length=1, max_length=7)]
    """The days on which it begins."""

    begins: Annotated[str, Field(min_length=5, max_length=5, pattern=r"^[0-2][0-9]:[0-5][0-9]$")]
    """The first minute of it, HH:MM."""

    ends: Annotated[str, Field(min_length=5, max_length=5, pattern=r"^[0-2][0-9]:[0-5][0-9]$")]
    """The first minute after it, HH:MM, at most 24:00; before `begins` it is on the next day."""


class BindingCondition(Part):
    """On what a binding counts; all that is named must hold, and what a service cannot evaluate does
    not.
    """

    networks: Annotated[tuple[Annotated[str, Field(min_length=3, max_length=49)], ...], Field(min_length=1, max_length=32)] | None = None
    """Networks (CIDR) of which the request must come from one."""

    hours: Hours | None = None
    """The time of the week in which it counts."""

    signed_in_within_s: Annotated[int, Field(strict=True, ge=60, le=86400)] | None = None
    """The most seconds since the person behind the request showed who they are; a program's key never
    did.
    """


class Refusal(Part):
    """Refusals of one kind."""

    principal_kind: PrincipalKind | None = None
    """What kind of principal asked; absent: nobody who was believed."""

    principal_id: Label | None = None
    """Who asked; absent: nobody who was believed."""

    permission: Annotated[str, Field(min_length=5, max_length=128, pattern=r"^[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*$")] | None = None
    """What it takes: `service.resource.verb`."""

    project_id: Label | None = None
    """The project of the trail's tenant that was asked about; absent: the tenant itself, the platform,
    or nothing that who asked may know of.
    """

    why: RefusalCause
    """Why it was refused. Not believed: `no-credential`, `not-valid`, `over` (its time), `ended`
    (revoked, signed out), `suspended`. Believed: `no-right`, `not-held` (would hand on what they do
    not hold), `rule` (the thing itself does not allow it to them), `nothing-there` (no such place,
    or none they may know of).
    """

    count: Annotated[int, Field(strict=True, ge=1, le=2147483647)]
    """How many."""

    decision_id: Annotated[str, Field(min_length=4, max_length=1280, pattern=r"^[a-z][0-9]\.[A-Za-z0-9_-]+$")]
    """The newest decision among them, as the answer named it; iam explains it."""


class RequiredClaim(Part):
    """One claim and the only text it may have."""

    claim: Annotated[str, Field(min_length=1, max_length=60)]
    """The claim's name."""

    value: Annotated[str, Field(min_length=1, max_length=200)]
    """What it must say."""


class AccessesRefused(Event):
    """Accesses refused. Requests to iam that were refused because who asked was not believed or may
    not, counted over at most a minute so that nobody can fill the log. They stand in the trail of
    the tenant that was asked about; where who asked may not know of it, in that of the tenant they
    are at home in, else in the platform's.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.accesses-refused.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "access"
    SCHEMA: ClassVar[str] = "iam/accesses-refused.v1.json"

    tenant_id: Label
    """Whose trail this stands in; `platform` for the platform's."""

    first_at: Moment
    """The first of them (real time)."""

    last_at: Moment
    """The last of them (real time)."""

    refusals: Annotated[tuple[Refusal, ...], Field(min_length=1, max_length=50)]
    """What was refused, by who asked and for what."""

    others: Annotated[int, Field(strict=True, ge=0, le=2147483647)]
    """How many more were refused that no row names, because there were too many kinds of them."""


class OperatorAccessUsed(Event):
    """Operator access used. Somebody asked iam about, or changed, what is a tenant's, by a right that
    they hold on the platform and not in the tenant. Counted over at most a minute; it stands in the
    tenant's own trail.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.operator-access-used.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "access"
    SCHEMA: ClassVar[str] = "iam/operator-access-used.v1.json"

    tenant_id: Label
    """The tenant whose things were accessed."""

    first_at: Moment
    """The first time (real time)."""

    last_at: Moment
    """The last time (real time)."""

    uses: Annotated[tuple[AccessUse, ...], Field(min_length=1, max_length=50)]
    """What was used, by whom and for what."""

    others: Annotated[int, Field(strict=True, ge=0, le=2147483647)]
    """How many more uses no row names, because there were too many kinds of them."""


class ApiKeyIssued(Event):
    """API key issued. A principal got an API key. The secret was shown once; only its digest is kept,
    which is enough to recognise it and useless to whoever steals it.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.api-key-issued.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "api-key"
    SCHEMA: ClassVar[str] = "iam/api-key-issued.v1.json"

    key_id: Label
    """The key's id; it is the readable part of the key."""

    principal_id: Label
    """Whose key it is: a user's or a service account's id."""

    principal_kind: PrincipalKind
    """Whether the principal is a person or a program."""

    tenant_id: Label
    """The tenant the key works in; `platform` for operators."""

    secret_sha256: Sha256
    """Digest of the secret part of the key."""

    label: Annotated[str, Field(min_length=1, max_length=100)]
    """What the key is for, as its owner wrote it."""

    expires_at: Moment
    """The first instant at which the key is refused."""

    permissions: Annotated[tuple[Annotated[str, Field(min_length=5, max_length=128, pattern=r"^(\*|[a-z][a-z0-9-]*)(\.(\*|[a-z][a-z0-9-]*)){2}$")], ...], Field(min_length=1, max_length=64)] | None = None
    """The most that may be done with the key: permissions, `*` for any one word; absent: all that its
    principal may.
    """

    narrowed_to_tenant_id: Label | None = None
    """The key is good for nothing outside of this tenant; absent: everywhere its principal is."""

    narrowed_to_project_id: Label | None = None
    """The key is good for nothing outside of this project of that tenant; absent: for the whole
    tenant.
    """

    predecessor_id: Label | None = None
    """The key whose place this one takes, in a rotation; absent: it takes none's."""


class ApiKeyRevoked(Event):
    """API key revoked. An API key is refused from now on, whatever its expiry said."""

    TYPE: ClassVar[str] = "gpuaas.iam.api-key-revoked.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "api-key"
    SCHEMA: ClassVar[str] = "iam/api-key-revoked.v1.json"

    key_id: Label
    """The key that is refused."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why it was revoked."""


class ApiKeySuperseded(Event):
    """API key superseded. Another key of the same principal takes this one's place: this one ends
    earlier than it was issued for, after a while in which both work.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.api-key-superseded.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "api-key"
    SCHEMA: ClassVar[str] = "iam/api-key-superseded.v1.json"

    key_id: Label
    """The key that ends."""

    successor_id: Label
    """The key that takes its place."""

    ends_at: Moment
    """The first instant at which the old key, and every token that came from it, is refused (real
    time).
    """


class ApiKeyUsed(Event):
    """API key used. A key signed in for the first time in a while. Said at most once an hour per key,
    so that a key which nobody uses any more can be found and the log does not grow with every
    request.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.api-key-used.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "api-key"
    SCHEMA: ClassVar[str] = "iam/api-key-used.v1.json"

    key_id: Label
    """The key that was used."""

    used_at: Moment
    """When it signed in (real time). It may have been used again since, for less than an hour."""


class RoleBound(Event):
    """Role bound. A principal holds a role in a scope from now on. The scope is a project, a whole
    tenant or (neither named) the platform.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.role-bound.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "binding"
    SCHEMA: ClassVar[str] = "iam/role-bound.v1.json"

    binding_id: Label
    """The binding's id; the later end of this binding names it."""

    principal_id: Label
    """Who holds the role: a user's or a service account's id."""

    principal_kind: PrincipalKind
    """Whether the principal is a person or a program."""

    role: Label
    """The role's name; always its newest version."""

    tenant_id: Label | None = None
    """The tenant the binding is limited to; absent: the whole platform."""

    project_id: Label | None = None
    """The project the binding is limited to (with `tenant_id`); absent: the whole tenant."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why it was granted, for the people who review access."""

    valid_until: Moment | None = None
    """The first instant at which the binding no longer counts; absent: until it is unbound."""

    role_tenant_id: Label | None = None
    """The tenant whose own role it is; absent: a role of the platform's."""


class RoleBoundToGroup(Event):
    """Role bound to group. Everybody in a group, now and later, holds a role in a scope. The scope is
    a project, a whole tenant or (neither named) the platform.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.role-bound-to-group.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "binding"
    SCHEMA: ClassVar[str] = "iam/role-bound-to-group.v1.json"

    binding_id: Label
    """The binding's id; the later end of this binding (`role-unbound`) names it."""

    group_id: Label
    """The group whose members hold the role."""

    role: Label
    """The role's name; always its newest version."""

    tenant_id: Label | None = None
    """The tenant the binding is limited to; absent: the whole platform."""

    project_id: Label | None = None
    """The project the binding is limited to (with `tenant_id`); absent: the whole tenant."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why it was granted, for the people who review access."""

    valid_until: Moment | None = None
    """The first instant at which the binding no longer counts; absent: until it is unbound."""

    role_tenant_id: Label | None = None
    """The tenant whose own role it is; absent: a role of the platform's."""


class RoleBoundUnderCondition(Event):
    """Role bound under a condition. A principal or group holds a role in a scope from now on, wherever
    a condition is met. A reader that does not know this event gives nothing by it: it is an event
    of its own, and no field beside `role-bound`, so that nobody overlooks the condition. What is
    held under a condition is not handed on.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.role-bound-under-condition.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "binding"
    SCHEMA: ClassVar[str] = "iam/role-bound-under-condition.v1.json"

    binding_id: Label
    """The binding's id; the later end of this binding names it."""

    holder_kind: HolderKind
    """What holds the role."""

    holder_id: Label
    """Who holds it."""

    role: Label
    """The role's name; always its newest version."""

    role_tenant_id: Label | None = None
    """The tenant whose own role it is; absent: a role of the platform's."""

    tenant_id: Label | None = None
    """The tenant the binding is limited to; absent: the whole platform."""

    project_id: Label | None = None
    """The project the binding is limited to (with `tenant_id`); absent: the whole tenant."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why it was granted, for the people who review access."""

    valid_until: Moment | None = None
    """The first instant at which the binding no longer counts; absent: until it is unbound."""

    condition: BindingCondition
    """On what it counts."""


class RoleUnbound(Event):
    """Role unbound. A binding ended: its principal no longer holds that role there. Other bindings of
    the same principal stand.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.role-unbound.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "binding"
    SCHEMA: ClassVar[str] = "iam/role-unbound.v1.json"

    binding_id: Label
    """The binding that ended."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why it ended, for the people who review access."""


class DirectoryGroupDescribed(Event):
    """Directory group described. A tenant's directory said over SCIM what one of its groups is called;
    the first description makes the group. Who is in it is said by the group's own events.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.directory-group-described.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "directory-group"
    SCHEMA: ClassVar[str] = "iam/directory-group-described.v1.json"

    tenant_id: Label
    """The tenant whose directory it is."""

    group_id: Label
    """The group, at home in the tenant."""

    revision: Annotated[int, Field(strict=True, ge=1, le=1000000000)]
    """Number of this description, from 1 on without gaps."""

    display_name: Annotated[str, Field(min_length=1, max_length=200)]
    """What the directory calls it."""

    external_id: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """By what the directory knows it."""

    source_id: Label
    """The service account with which the directory speaks (SCIM 2.0)."""


class DirectoryGroupRemoved(Event):
    """Directory group removed. A tenant's directory knows this group no longer; nobody is in it any
    more.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.directory-group-removed.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "directory-group"
    SCHEMA: ClassVar[str] = "iam/directory-group-removed.v1.json"

    tenant_id: Label
    """The tenant whose directory it is."""

    group_id: Label
    """The group."""

    source_id: Label
    """The service account with which the directory speaks (SCIM 2.0)."""


class DirectoryUserDescribed(Event):
    """Directory user described. A tenant's directory said over SCIM who somebody is; the first
    description makes the person. A person of a directory is suspended while the directory calls
    them inactive.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.directory-user-described.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "directory-user"
    SCHEMA: ClassVar[str] = "iam/directory-user-described.v1.json"
    PERSONAL: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "attributes": "(sealed)",
        }
    )
    DATA_SUBJECT: ClassVar[str] = "user_id"

    tenant_id: Label
    """The tenant whose directory it is."""

    user_id: Label
    """The person, at home on the platform like everybody."""

    revision: Annotated[int, Field(strict=True, ge=1, le=1000000000)]
    """Number of this description, from 1 on without gaps."""

    active: Annotated[bool, Field(strict=True)]
    """Whether the directory lets them in."""

    stopped_here: Annotated[bool, Field(strict=True)]
    """Whether a suspension of the person in force is this directory's, so that it may lift it."""

    attributes: Annotated[str, Field(min_length=2, max_length=16384)]
    """What the directory says of them, as the JSON text of a SCIM core User (RFC 7643 4.1) without
    what iam adds itself.
    """

    source_id: Label
    """The service account with which the directory speaks (SCIM 2.0)."""


class DirectoryUserRemoved(Event):
    """Directory user removed. A tenant's directory knows this person no longer; they are suspended,
    and what they did stays theirs.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.directory-user-removed.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "directory-user"
    SCHEMA: ClassVar[str] = "iam/directory-user-removed.v1.json"

    tenant_id: Label
    """The tenant whose directory it is."""

    user_id: Label
    """The person."""

    source_id: Label
    """The service account with which the directory speaks (SCIM 2.0)."""


class DutiesJoined(Event):
    """Duties joined. A rule that kept two duties apart ended."""

    TYPE: ClassVar[str] = "gpuaas.iam.duties-joined.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "duty-rule"
    SCHEMA: ClassVar[str] = "iam/duties-joined.v1.json"

    rule_id: Label
    """The rule."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class DutiesSeparated(Event):
    """Duties separated. From now on nobody may do, in that scope, what two lists name, when they hold
    something of both: either is refused. A binding that would bring both together is refused too.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.duties-separated.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "duty-rule"
    SCHEMA: ClassVar[str] = "iam/duties-separated.v1.json"

    rule_id: Label
    """The rule."""

    tenant_id: Label | None = None
    """The tenant it counts in; absent: everywhere."""

    one: Annotated[tuple[Annotated[str, Field(min_length=5, max_length=128, pattern=r"^(\*|[a-z][a-z0-9-]*)\.(\*|[a-z][a-z0-9-]*)\.(\*|[a-z][a-z0-9-]*)$")], ...], Field(min_length=1, max_length=256), Unique]
    """The one duty: `service.resource.verb`, where each of the three tokens may be `*` for any."""

    other: Annotated[tuple[Annotated[str, Field(min_length=5, max_length=128, pattern=r"^(\*|[a-z][a-z0-9-]*)\.(\*|[a-z][a-z0-9-]*)\.(\*|[a-z][a-z0-9-]*)$")], ...], Field(min_length=1, max_length=256), Unique]
    """The other duty, written in the same way."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class TokenExchanged(Event):
    """Token exchanged. Somebody gave one token for another that is narrower, or that lets them act for
    somebody (RFC 8693): a workload for a service account, a program for a person.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.token-exchanged.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "exchange"
    SCHEMA: ClassVar[str] = "iam/token-exchanged.v1.json"

    token_id: Label
    """The new token's own id."""

    tenant_id: Label
    """Where the subject is at home; `platform` for people and operators."""

    subject_id: Label
    """With whose rights the token is good."""

    subject_kind: PrincipalKind
    """Whether the subject is a person or a program."""

    actor_id: Label | None = None
    """Who acts with it; absent: the subject does."""

    actor_kind: ActingKind | None = None
    """What acts with it; absent: the subject does."""

    trust_id: Label | None = None
    """The trust it rests on, where a workload acts."""

    issuer: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """Whose word about the workload was believed."""

    issuer_subject: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """How that issuer calls the workload."""

    permissions: Annotated[tuple[Annotated[str, Field(min_length=5, max_length=128, pattern=r"^(\*|[a-z][a-z0-9-]*)(\.(\*|[a-z][a-z0-9-]*)){2}$")], ...], Field(min_length=1, max_length=64)] | None = None
    """The most it is good for; absent: all that it rests on is."""

    narrowed_to_tenant_id: Label | None = None
    """It is good for nothing outside of this tenant; absent: no narrower than what it rests on."""

    narrowed_to_project_id: Label | None = None
    """It is good for nothing outside of this project of that tenant."""

    expires_at: Moment
    """The first instant at which it is refused (real time)."""


class GroupCreated(Event):
    """Group created. A named set of people and programs exists from now on, empty at first. Roles can
    be bound to it, and count for everybody in it.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.group-created.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "group"
    SCHEMA: ClassVar[str] = "iam/group-created.v1.json"

    group_id: Label
    """The new group's id."""

    tenant_id: Label
    """The tenant the group is at home in; `platform` for groups of the platform's own people and
    programs.
    """

    display_name: Annotated[str, Field(min_length=1, max_length=200)]
    """What the group is called."""


class GroupMemberAdded(Event):
    """Group member added. Somebody is in a group from now on and holds what is bound to it and to the
    groups it is nested in.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.group-member-added.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "group"
    SCHEMA: ClassVar[str] = "iam/group-member-added.v1.json"

    group_id: Label
    """The group."""

    member_id: Label
    """Who it is: a user's or a service account's id."""

    member_kind: PrincipalKind
    """Whether the member is a person or a program."""


class GroupMemberRemoved(Event):
    """Group member removed. Somebody is in a group no longer; what they held only through it ended."""

    TYPE: ClassVar[str] = "gpuaas.iam.group-member-removed.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "group"
    SCHEMA: ClassVar[str] = "iam/group-member-removed.v1.json"

    group_id: Label
    """The group."""

    member_id: Label
    """Who it is: a user's or a service account's id."""

    member_kind: PrincipalKind
    """Whether the member is a person or a program."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class GroupNested(Event):
    """Group nested. One group is inside another of the same home from now on. All nestings of one home
    are one history, so that no two of them can ever close a circle.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.group-nested.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "group-tree"
    SCHEMA: ClassVar[str] = "iam/group-nested.v1.json"

    tenant_id: Label
    """The tenant the group is at home in; `platform` for groups of the platform's own people and
    programs.
    """

    group_id: Label
    """The inner group: its members hold what is bound to the outer one."""

    parent_id: Label
    """The outer group."""


class GroupUnnested(Event):
    """Group unnested. One group is inside another no longer; what its members held only through the
    outer one ended.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.group-unnested.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "group-tree"
    SCHEMA: ClassVar[str] = "iam/group-unnested.v1.json"

    tenant_id: Label
    """The tenant the group is at home in; `platform` for groups of the platform's own people and
    programs.
    """

    group_id: Label
    """The inner group: its members hold what is bound to the outer one."""

    parent_id: Label
    """The outer group."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class IdentityLinked(Event):
    """Identity linked. Who signs in as this subject at this provider is this person here."""

    TYPE: ClassVar[str] = "gpuaas.iam.identity-linked.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "identity"
    SCHEMA: ClassVar[str] = "iam/identity-linked.v1.json"
    PERSONAL: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "subject": "(sealed)",
        }
    )
    DATA_SUBJECT: ClassVar[str] = "user_id"

    identity_id: Label
    """The link's id, given by iam; it says nothing about the subject."""

    user_id: Label
    """Whose identity it is."""

    provider_id: Label
    """The provider that knows the subject."""

    subject: Annotated[str, Field(min_length=1, max_length=255)]
    """How the provider calls the person (the claim `sub`)."""

    origin: Origin
    """How it came to be linked."""


class IdentityUnlinked(Event):
    """Identity unlinked. Who signs in as that subject at that provider is nobody here any more; the
    person's sessions end.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.identity-unlinked.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "identity"
    SCHEMA: ClassVar[str] = "iam/identity-unlinked.v1.json"

    identity_id: Label
    """The link's id."""

    user_id: Label
    """Whose identity it was."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class IdentityProviderConfigured(Event):
    """Identity provider configured. People may sign in through an OpenID Connect provider from now on,
    under these conditions. A later version takes this one's place.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.identity-provider-configured.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "identity-provider"
    SCHEMA: ClassVar[str] = "iam/identity-provider-configured.v1.json"

    provider_id: Label
    """The provider's id; part of the address that it sends people back to."""

    version: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """Number of this configuration, from 1 on without gaps."""

    display_name: Annotated[str, Field(min_length=1, max_length=200)]
    """What people read on the button."""

    issuer: Annotated[str, Field(min_length=8, max_length=500, pattern=r"^https?://[^\s?#]+$")]
    """The provider's issuer identifier (OpenID Connect Core 2), compared character by character; its
    discovery document is below it.
    """

    client_id: Annotated[str, Field(min_length=1, max_length=200)]
    """As what this installation is registered there; the audience that its ID tokens must name. The
    client's secret, where it has one, is in a file of iam's and never here.
    """

    scopes: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=60)], ...], Field(max_length=8), Unique]
    """What is asked for beside `openid`."""

    email_domains: Annotated[tuple[Annotated[str, Field(min_length=3, max_length=189)], ...], Field(max_length=64), Unique]
    """Only people with a verified e-mail address in one of these domains are let in; empty: the
    provider's word is enough.
    """

    required_claims: Annotated[tuple[RequiredClaim, ...], Field(max_length=8)]
    """Claims that an ID token must carry with exactly this text, such as the directory's own tenant."""

    new_people: NewPeople
    """What happens to somebody whose identity there belongs to nobody here. An equal e-mail address
    never makes it anybody's.
    """

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class IdentityProviderRemoved(Event):
    """Identity provider removed. Nobody signs in through this provider any more. Sessions that began
    there go on until they end; identities there stay known, should it be configured again.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.identity-provider-removed.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "identity-provider"
    SCHEMA: ClassVar[str] = "iam/identity-provider-removed.v1.json"

    provider_id: Label
    """The provider's id."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class InvitationAccepted(Event):
    """Invitation accepted. The invited person accepted; the binding is made in the same batch. The
    token is used up.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.invitation-accepted.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "invitation"
    SCHEMA: ClassVar[str] = "iam/invitation-accepted.v1.json"

    invitation_id: Label
    """The invitation."""

    user_id: Label
    """Who accepted."""

    binding_id: Label
    """The binding that was made."""


class InvitationClosed(Event):
    """Invitation closed. An invitation can no longer be accepted. The end of its time is not said."""

    TYPE: ClassVar[str] = "gpuaas.iam.invitation-closed.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "invitation"
    SCHEMA: ClassVar[str] = "iam/invitation-closed.v1.json"

    invitation_id: Label
    """The invitation."""

    outcome: OfferEnd
    """How it ended."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class InvitationSent(Event):
    """Invitation sent. Somebody is invited by an e-mail address to hold a role. It gives nothing until
    the person with that address, signed in, accepts it with the token.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.invitation-sent.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "invitation"
    SCHEMA: ClassVar[str] = "iam/invitation-sent.v1.json"
    PERSONAL: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "email": "sealed@sealed.invalid",
        }
    )
    DATA_SUBJECT: ClassVar[str] = "invitation_id"

    invitation_id: Label
    """The invitation; the key that seals its address is its own."""

    email: Annotated[str, Field(min_length=3, max_length=254, pattern=r"^[^@\s]{1,64}@[^@\s]{1,189}$")]
    """The address that it was made out to, in the one spelling that addresses are compared in."""

    role: Label
    """The role that it gives; at the acceptance its newest version."""

    role_tenant_id: Label | None = None
    """The tenant whose own role it is; absent: a role of the platform's."""

    tenant_id: Label | None = None
    """The tenant the role is limited to; absent: the whole platform."""

    project_id: Label | None = None
    """The project the role is limited to (with `tenant_id`); absent: the whole tenant."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""

    invited_by_kind: PrincipalKind
    """Whether a person or a program invited."""

    invited_by_id: Label
    """Who invited; at the acceptance they must still hold what it gives."""

    token_sha256: Annotated[str, Field(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the token, 64 hex digits. Who has the token and the address may answer, once; the
    token itself is in no event.
    """

    address_sha256: Annotated[str, Field(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the token and the address together, 64 hex digits: tells whether an address is the
    one, and nothing to who has no token.
    """

    expires_at: Moment
    """The first instant at which it can no longer be accepted (real time)."""

    binding_valid_until: Moment | None = None
    """When the binding that it makes ends by itself (real time); absent: until it is unbound."""


class PasswordCodeIssued(Event):
    """Password code issued. Somebody may choose the person's password once, with a code that was shown
    to whoever asked for it. Neither code nor password is in the log.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.password-code-issued.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "password"
    SCHEMA: ClassVar[str] = "iam/password-code-issued.v1.json"

    user_id: Label
    """Whose password can be chosen."""

    expires_at: Moment
    """The first instant at which the code is refused (real time)."""


class PasswordSet(Event):
    """Password set. The person signs in with another password from now on; their sessions ended with
    it. The password and its digest are not in the log.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.password-set.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "password"
    SCHEMA: ClassVar[str] = "iam/password-set.v1.json"

    user_id: Label
    """Whose password it is."""


class PrincipalResumed(Event):
    """Principal resumed. A suspended person or program is believed again: bindings and keys that have
    not ended meanwhile count as before.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.principal-resumed.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "principal"
    SCHEMA: ClassVar[str] = "iam/principal-resumed.v1.json"

    principal_id: Label
    """Whose access is given back: a user's or a service account's id."""

    principal_kind: PrincipalKind
    """Whether the principal is a person or a program."""

    tenant_id: Label
    """The tenant the principal is at home in; `platform` for people and operators' programs."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class PrincipalSuspended(Event):
    """Principal suspended. A person or program is refused everywhere from now on, with every key and
    token, until resumed. Bindings stand and count for nothing meanwhile.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.principal-suspended.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "principal"
    SCHEMA: ClassVar[str] = "iam/principal-suspended.v1.json"

    principal_id: Label
    """Whose access is stopped: a user's or a service account's id."""

    principal_kind: PrincipalKind
    """Whether the principal is a person or a program."""

    tenant_id: Label
    """The tenant the principal is at home in; `platform` for people and operators' programs."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class ProhibitionLifted(Event):
    """Prohibition lifted. A prohibition ended: what bindings give, they give again."""

    TYPE: ClassVar[str] = "gpuaas.iam.prohibition-lifted.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "prohibition"
    SCHEMA: ClassVar[str] = "iam/prohibition-lifted.v1.json"

    prohibition_id: Label
    """The prohibition that ended."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class ProhibitionPlaced(Event):
    """Prohibition placed. A person, a program or everybody in a group may not do certain things in a
    scope, whatever any binding says, until the prohibition ends. The scope is a project, a whole
    tenant or (neither named) the platform.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.prohibition-placed.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "prohibition"
    SCHEMA: ClassVar[str] = "iam/prohibition-placed.v1.json"

    prohibition_id: Label
    """The prohibition's id; the later end of it names it."""

    holder_id: Label
    """Who is prohibited: a user's, a service account's or a group's id."""

    holder_kind: HolderKind
    """What that is."""

    permissions: Annotated[tuple[Annotated[str, Field(min_length=5, max_length=128, pattern=r"^(\*|[a-z][a-z0-9-]*)\.(\*|[a-z][a-z0-9-]*)\.(\*|[a-z][a-z0-9-]*)$")], ...], Field(min_length=1, max_length=256), Unique]
    """What is prohibited: `service.resource.verb`, where each of the three tokens may be `*` for any."""

    tenant_id: Label | None = None
    """The tenant the prohibition is limited to; absent: the whole platform."""

    project_id: Label | None = None
    """The project the prohibition is limited to (with `tenant_id`); absent: the whole tenant."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""

    valid_until: Moment | None = None
    """The first instant at which the prohibition no longer counts; absent: until it is lifted."""


class ProjectClosed(Event):
    """Project closed. A project ended for good. Its own accounts are refused, nothing is started or
    changed in it any more; what is there can be read and ended. Its id is never used again.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.project-closed.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "project"
    SCHEMA: ClassVar[str] = "iam/project-closed.v1.json"

    tenant_id: Label
    """The tenant it belongs to."""

    project_id: Label
    """The project."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class ProjectCreated(Event):
    """Project created. A tenant opened a project: the place where its people work, where GPUs are
    asked for and under which costs are listed on the invoice.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.project-created.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "project"
    SCHEMA: ClassVar[str] = "iam/project-created.v1.json"

    tenant_id: Label
    """The tenant that owns the project."""

    project_id: Label
    """The new project's id, unique inside its tenant."""

    display_name: Annotated[str, Field(min_length=1, max_length=200)]
    """The project's name as people write it."""


class ProjectShareAccepted(Event):
    """Project share accepted. From now on the receiver's principal holds the role in the owner's
    project, as long as neither tenant is suspended and neither ends it. The owner's ceiling and
    prohibitions bound it as they bound the owner's own bindings.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.project-share-accepted.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "project-share"
    SCHEMA: ClassVar[str] = "iam/project-share-accepted.v1.json"

    share_id: Label
    """The share; an offer and what becomes of it have one id."""

    tenant_id: Label
    """The tenant whose project it is."""

    project_id: Label
    """The project."""

    receiver_tenant_id: Label
    """The tenant it is made to."""

    principal_kind: HolderKind
    """What the receiver's part is that gets it."""

    principal_id: Label
    """The receiver's person, program or group that gets it."""

    role: Label
    """The role's name; always its newest version, and of it nothing that changes who may do what."""

    role_tenant_id: Label | None = None
    """The owner, where it is one of the owner's own roles; absent: a role of the platform's."""

    valid_until: Moment | None = None
    """The first instant at which it no longer counts (real time); absent: until somebody ends it."""


class ProjectShareEnded(Event):
    """Project share ended. The receiver's principal holds the role no longer, in any service."""

    TYPE: ClassVar[str] = "gpuaas.iam.project-share-ended.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "project-share"
    SCHEMA: ClassVar[str] = "iam/project-share-ended.v1.json"

    share_id: Label
    """The share; an offer and what becomes of it have one id."""

    tenant_id: Label
    """The tenant whose project it is."""

    project_id: Label
    """The project."""

    ended_by: ShareEnder
    """Which side ended it."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people of both tenants who review access."""


class ProjectShareOfferClosed(Event):
    """Offer of a project share closed. An offer ended without a share."""

    TYPE: ClassVar[str] = "gpuaas.iam.project-share-offer-closed.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "project-share"
    SCHEMA: ClassVar[str] = "iam/project-share-offer-closed.v1.json"

    share_id: Label
    """The share; an offer and what becomes of it have one id."""

    tenant_id: Label
    """The tenant whose project it is."""

    project_id: Label
    """The project."""

    outcome: OfferEnd
    """How it ended."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people of both tenants who review access."""


class ProjectShareOffered(Event):
    """Project share offered. A tenant offers somebody of another tenant a role in one of its projects.
    It gives nothing until the other tenant accepts, and stands in the owner's trail alone until
    then: nobody writes into another tenant's trail unasked.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.project-share-offered.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "project-share"
    SCHEMA: ClassVar[str] = "iam/project-share-offered.v1.json"

    share_id: Label
    """The share; an offer and what becomes of it have one id."""

    tenant_id: Label
    """The tenant whose project it is."""

    project_id: Label
    """The project."""

    receiver_tenant_id: Label
    """The tenant it is made to."""

    principal_kind: HolderKind
    """What the receiver's part is that gets it."""

    principal_id: Label
    """The receiver's person, program or group that gets it."""

    role: Label
    """The role's name; always its newest version, and of it nothing that changes who may do what."""

    role_tenant_id: Label | None = None
    """The owner, where it is one of the owner's own roles; absent: a role of the platform's."""

    valid_until: Moment | None = None
    """The first instant at which it no longer counts (real time); absent: until somebody ends it."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people of both tenants who review access."""

    offered_by_kind: PrincipalKind
    """Whether a person or a program offered it."""

    offered_by_id: Label
    """Who offered it; at the acceptance they must still hold what it gives."""


class ReceivedShareAccepted(Event):
    """Received share accepted. A tenant accepted that somebody of its own holds a role in a project of
    another tenant: the same act as the owner's `project-share-accepted`, in the receiver's trail.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.received-share-accepted.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "received-share"
    SCHEMA: ClassVar[str] = "iam/received-share-accepted.v1.json"

    share_id: Label
    """The share, by the id it has at its owner."""

    tenant_id: Label
    """The tenant that received it."""

    owner_tenant_id: Label
    """The tenant whose project it is."""

    project_id: Label
    """The owner's project."""

    principal_kind: HolderKind
    """What the receiver's part is that gets it."""

    principal_id: Label
    """The receiver's person, program or group that gets it."""

    role: Label
    """The role's name; always its newest version, and of it nothing that changes who may do what."""

    role_tenant_id: Label | None = None
    """The owner, where it is one of the owner's own roles; absent: a role of the platform's."""

    valid_until: Moment | None = None
    """The first instant at which it no longer counts (real time); absent: until somebody ends it."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why it was accepted, for the people who review access."""


class ReceivedShareDeclined(Event):
    """Received share declined. A tenant did not want a share that it was offered."""

    TYPE: ClassVar[str] = "gpuaas.iam.received-share-declined.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "received-share"
    SCHEMA: ClassVar[str] = "iam/received-share-declined.v1.json"

    share_id: Label
    """The share, by the id it has at its owner."""

    tenant_id: Label
    """The tenant that received it."""

    owner_tenant_id: Label
    """The tenant whose project it is."""

    project_id: Label
    """The owner's project."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people of both tenants who review access."""


class ReceivedShareEnded(Event):
    """Received share ended. Nobody of the tenant holds the role in the other tenant's project by this
    share any longer: the same act as the owner's `project-share-ended`, in the receiver's trail.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.received-share-ended.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "received-share"
    SCHEMA: ClassVar[str] = "iam/received-share-ended.v1.json"

    share_id: Label
    """The share, by the id it has at its owner."""

    tenant_id: Label
    """The tenant that received it."""

    owner_tenant_id: Label
    """The tenant whose project it is."""

    project_id: Label
    """The owner's project."""

    ended_by: ShareEnder
    """Which side ended it."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people of both tenants who review access."""


class RoleDefined(Event):
    """Role defined. A version of a role came into force. A role is a named list of permissions; a
    version never changes, a change is the next version.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.role-defined.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "role"
    SCHEMA: ClassVar[str] = "iam/role-defined.v1.json"

    role: Label
    """The role's name."""

    version: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """Version of this definition, counted from 1; the highest one applies."""

    description: Annotated[str, Field(min_length=1, max_length=500)]
    """What somebody who holds the role can do, in one sentence."""

    permissions: Annotated[tuple[Annotated[str, Field(min_length=5, max_length=128, pattern=r"^(\*|[a-z][a-z0-9-]*)\.(\*|[a-z][a-z0-9-]*)\.(\*|[a-z][a-z0-9-]*)$")], ...], Field(min_length=1, max_length=256), Unique]
    """What the role permits: `service.resource.verb`, where each of the three tokens may be `*` for
    any.
    """


class ServiceAccountCreated(Event):
    """Service account created. A program got an account of its own: it can hold roles and API keys
    like a person, and is owned by one project, one tenant or the platform's operators.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.service-account-created.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "service-account"
    SCHEMA: ClassVar[str] = "iam/service-account-created.v1.json"

    service_account_id: Label
    """The new account's id."""

    tenant_id: Label
    """The tenant that owns the account; `platform` for the operators' own programs."""

    project_id: Label | None = None
    """The project that owns the account; absent: the whole tenant (or the platform) owns it."""

    display_name: Annotated[str, Field(min_length=1, max_length=200)]
    """What the account is for, as people write it."""


class ServiceAccountDeleted(Event):
    """Service account deleted. A program's account is refused for good, with every key and token. Its
    bindings give nothing any more, and its id is never used again.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.service-account-deleted.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "service-account"
    SCHEMA: ClassVar[str] = "iam/service-account-deleted.v1.json"

    service_account_id: Label
    """The account."""

    tenant_id: Label
    """Where it was at home; `platform` for operators'."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class SessionEnded(Event):
    """Session ended. A session is over before its time: its tokens and its refresh token are refused
    from now on. One that simply expires says nothing.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.session-ended.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "session"
    SCHEMA: ClassVar[str] = "iam/session-ended.v1.json"

    session_id: Label
    """The session that ended."""

    user_id: Label
    """Whose session it was."""

    cause: EndOfSession
    """What ended it: the person signed out, somebody revoked it, a refresh token was used a second
    time (it was copied), or the password was set anew.
    """

    reason: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """Why, in words, where somebody else ended it."""


class SessionStarted(Event):
    """Session started. A person signed in. Every token of the session is refused once the session has
    ended, in every service.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.session-started.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "session"
    SCHEMA: ClassVar[str] = "iam/session-started.v1.json"

    session_id: Label
    """The session's id; tokens name it."""

    user_id: Label
    """Who signed in."""

    method: SignInMethod
    """How they showed who they are: a password, approval of a device by a signed-in session, or a
    sign-in provider.
    """

    client: Annotated[str, Field(min_length=1, max_length=100)]
    """What they sign in with, as that program names itself; for the person's own list of sessions."""

    approved_in: Label | None = None
    """For method `device`: the session in which the person approved it."""

    provider: Label | None = None
    """For method `provider`: the id of the sign-in provider."""

    started_at: Moment
    """When they signed in (real time)."""

    expires_at: Moment
    """The first instant at which the session is over, however often its tokens were renewed (real
    time).
    """


class SignInsFailed(Event):
    """Sign-ins failed. Attempts to sign in that were refused, counted over at most a minute so that
    nobody can fill the log. Attempts on accounts that do not exist are counted together.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.sign-ins-failed.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "sign-in-failure"
    SCHEMA: ClassVar[str] = "iam/sign-ins-failed.v1.json"

    user_id: Label | None = None
    """On whose account; absent: on accounts that do not exist, or one of very many."""

    attempts: Annotated[int, Field(strict=True, ge=0, le=2147483647)]
    """How many were refused because something was wrong."""

    limited: Annotated[int, Field(strict=True, ge=0, le=2147483647)]
    """How many were refused unseen, because there were too many before them."""

    first_at: Moment
    """The first of them (real time)."""

    last_at: Moment
    """The last of them (real time)."""


class SigningKeyPublished(Event):
    """Signing key published. A public key with which services check access tokens. Two keys are valid
    at the same time while one takes over from the other.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.signing-key-published.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "signing-key"
    SCHEMA: ClassVar[str] = "iam/signing-key-published.v1.json"

    key_id: Label
    """The key's id, named in the header of every token it signed."""

    algorithm: SigningAlgorithm
    """How the key signs."""

    public_key: Annotated[str, Field(min_length=43, max_length=43, pattern=r"^[A-Za-z0-9_-]{43}$")]
    """The raw 32-byte public key, base64url without padding."""

    valid_from: Moment
    """The first instant at which a token signed by this key counts."""

    valid_until: Moment
    """The first instant at which it no longer counts."""


class SupportPolicySet(Event):
    """Support policy set. A tenant said how people and programs of the platform may reach its own
    things by rights held on the platform. What the platform does as such (bills, machines,
    suspending the tenant, giving back GPUs) is not touched by it.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.support-policy-set.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "support-policy"
    SCHEMA: ClassVar[str] = "iam/support-policy-set.v1.json"

    tenant_id: Label
    """The tenant itself."""

    policy: SupportPolicy
    """`open`: as their rights say; `sessions`: only in a support session; `refused`: not at all, and
    standing sessions count no more.
    """

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class SupportSessionEnded(Event):
    """Support session ended. A support session ended before its time, by who held it, by the tenant or
    by the platform.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.support-session-ended.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "support-session"
    SCHEMA: ClassVar[str] = "iam/support-session-ended.v1.json"

    support_session_id: Label
    """The support session."""

    tenant_id: Label
    """The tenant whose things it was about."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class SupportSessionStarted(Event):
    """Support session started. Somebody of the platform reaches a tenant's own things by rights that
    they hold on the platform, for a limited time and a stated reason. It stands in the tenant's own
    trail, and the tenant can end it.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.support-session-started.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "support-session"
    SCHEMA: ClassVar[str] = "iam/support-session-started.v1.json"

    support_session_id: Label
    """The support session."""

    tenant_id: Label
    """The tenant whose things it is about."""

    principal_kind: PrincipalKind
    """Whether it is a person or a program."""

    principal_id: Label
    """Who it is."""

    ticket: Annotated[str, Field(min_length=1, max_length=100)]
    """What it is about, as the tenant or the platform filed it."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""

    expires_at: Moment
    """When it ends by itself (real time)."""


class TenantClosed(Event):
    """Tenant closed. A tenant ended for good. Its own accounts are refused, nothing is started or
    changed in it any more; the platform reads what is there and ends what runs. Its id is never
    used again.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.tenant-closed.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "tenant"
    SCHEMA: ClassVar[str] = "iam/tenant-closed.v1.json"

    tenant_id: Label
    """The tenant itself."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class TenantCreated(Event):
    """Tenant created. A customer organisation exists from now on. Everything it owns (projects,
    allocations, invoices) lives inside this boundary and no other tenant can see it.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.tenant-created.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "tenant"
    SCHEMA: ClassVar[str] = "iam/tenant-created.v1.json"

    tenant_id: Label
    """The new tenant's id; it is a token of every subject that belongs to the tenant."""

    display_name: Annotated[str, Field(min_length=1, max_length=200)]
    """The organisation's name as people write it."""

    billing_currency: Currency
    """The currency all invoices of this tenant are written in."""


class TenantResumed(Event):
    """Tenant resumed. A suspended tenant is open again: every binding and every key in it counts as it
    did before, unless it ended meanwhile.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.tenant-resumed.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "tenant"
    SCHEMA: ClassVar[str] = "iam/tenant-resumed.v1.json"

    tenant_id: Label
    """The tenant that is open again."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class TenantSuspended(Event):
    """Tenant suspended. A customer organisation is closed for now: no binding in it gives anything and
    its service accounts are refused everywhere, until it is resumed. What it owns stays; rights on
    the platform reach into it as before.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.tenant-suspended.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "tenant"
    SCHEMA: ClassVar[str] = "iam/tenant-suspended.v1.json"

    tenant_id: Label
    """The tenant that is closed."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who ask to be let in again."""


class TenantCeilingRemoved(Event):
    """Tenant ceiling removed. A tenant has no ceiling any longer: its bindings give what their roles
    say.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.tenant-ceiling-removed.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "tenant-ceiling"
    SCHEMA: ClassVar[str] = "iam/tenant-ceiling-removed.v1.json"

    tenant_id: Label
    """The tenant that was bounded."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class TenantCeilingSet(Event):
    """Tenant ceiling set. From now on no binding in a tenant or its projects gives anything that is
    not named here. Bindings on the platform are not bounded. A later ceiling takes this one's
    place.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.tenant-ceiling-set.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "tenant-ceiling"
    SCHEMA: ClassVar[str] = "iam/tenant-ceiling-set.v1.json"

    tenant_id: Label
    """The tenant that is bounded."""

    permissions: Annotated[tuple[Annotated[str, Field(min_length=5, max_length=128, pattern=r"^(\*|[a-z][a-z0-9-]*)\.(\*|[a-z][a-z0-9-]*)\.(\*|[a-z][a-z0-9-]*)$")], ...], Field(min_length=1, max_length=256), Unique]
    """The most that any binding there gives: `service.resource.verb`, where each of the three tokens
    may be `*` for any.
    """

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class TenantRoleDefined(Event):
    """Tenant role defined. A version of a tenant's own role came into force. Such a role is bound
    inside its tenant and nowhere else; a version never changes, a change is the next version, and
    bindings follow the newest.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.tenant-role-defined.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "tenant-role"
    SCHEMA: ClassVar[str] = "iam/tenant-role-defined.v1.json"

    tenant_id: Label
    """The tenant whose role it is."""

    role: Label
    """Its name, unique among the tenant's own; a role of the platform may have the same name."""

    version: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """Version of this definition, counted from 1; the highest one applies."""

    description: Annotated[str, Field(min_length=1, max_length=500)]
    """What somebody who holds the role can do, in one sentence."""

    permissions: Annotated[tuple[Annotated[str, Field(min_length=5, max_length=128, pattern=r"^(\*|[a-z][a-z0-9-]*)\.(\*|[a-z][a-z0-9-]*)\.(\*|[a-z][a-z0-9-]*)$")], ...], Field(min_length=1, max_length=256), Unique]
    """What the role permits: `service.resource.verb`, where each of the three tokens may be `*` for
    any.
    """


class PersonalDataErased(Event):
    """Personal data erased. The key to a person's data in iam's events was destroyed, as audit had
    ordered. What it sealed cannot be read again by anybody; the person's id stays and names nobody.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.personal-data-erased.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "user"
    SCHEMA: ClassVar[str] = "iam/personal-data-erased.v1.json"

    user_id: Label
    """The person's id on this platform."""

    erasure_id: Label
    """Id of the erasure that audit ordered."""

    sealed_by: Annotated[str, Field(min_length=1, max_length=127)]
    """Name of the destroyed key, as the sealed events carry it in `sealedby`."""

    had_key: Annotated[bool, Field(strict=True)]
    """Whether a key stood in the vault and was destroyed; false where none was ever made."""


class UserDeleted(Event):
    """User deleted. A person is refused for good, with every session, key and token. Their bindings
    give nothing any more and their id is never used again; what stands sealed about them is erased
    by an order of its own.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.user-deleted.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "user"
    SCHEMA: ClassVar[str] = "iam/user-deleted.v1.json"

    user_id: Label
    """The person."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for the people who review access."""


class UserRegistered(Event):
    """User registered. A person became known to the platform. A user belongs to no tenant; what a
    person may do in which tenant is said by role bindings.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.user-registered.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "user"
    SCHEMA: ClassVar[str] = "iam/user-registered.v1.json"
    PERSONAL: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "display_name": "(sealed)",
            "email": "sealed@sealed.invalid",
        }
    )
    DATA_SUBJECT: ClassVar[str] = "user_id"

    user_id: Label
    """The person's id on this platform; it never changes."""

    email: Annotated[str, Field(min_length=3, max_length=254, pattern=r"^[^@\s]{1,64}@[^@\s]{1,189}$")]
    """The person's e-mail address, as the sign-in provider vouched for it."""

    display_name: Annotated[str, Field(min_length=1, max_length=200)]
    """The person's name as they write it."""


class WorkloadEnded(Event):
    """Workload ended. A workload acts as nobody any more: an allocation is over, or somebody said so.
    Its tokens are refused from now on.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.workload-ended.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "workload"
    SCHEMA: ClassVar[str] = "iam/workload-ended.v1.json"

    workload_id: Label
    """The workload that ended."""

    tenant_id: Label
    """In which tenant it was trusted."""

    cause: EndOfWorkload
    """What ended it: its allocation was released, or somebody ended it."""

    allocation_id: Label | None = None
    """The allocation that it was; absent: it was none."""

    reason: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """Why, in words, where somebody ended it."""

    ended_at: Moment
    """When (real time)."""


class WorkloadTrustEnded(Event):
    """Workload trust ended. A tenant trusts that issuer's word no longer: tokens that came of it are
    refused from now on.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.workload-trust-ended.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "workload-trust"
    SCHEMA: ClassVar[str] = "iam/workload-trust-ended.v1.json"

    trust_id: Label
    """The trust that ended."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in words, for the people who review access."""


class WorkloadTrusted(Event):
    """Workload trusted. A tenant trusts an issuer's word about workloads: who comes with a token that
    fits may act as one of its service accounts. No secret is shared; the issuer's public keys check
    the token.
    """

    TYPE: ClassVar[str] = "gpuaas.iam.workload-trusted.v1"
    SERVICE: ClassVar[str] = "iam"
    ENTITY: ClassVar[str] = "workload-trust"
    SCHEMA: ClassVar[str] = "iam/workload-trusted.v1.json"

    trust_id: Label
    """The trust's id; a workload names it when it asks for a token."""

    tenant_id: Label
    """Whose trust it is; nothing outside of this tenant comes of it."""

    project_id: Label | None = None
    """Nothing outside of this project comes of it; absent: the whole tenant."""

    service_account_id: Label
    """As whom the workloads act."""

    issuer: Annotated[str, Field(min_length=1, max_length=500)]
    """Whose word is believed: an OpenID Connect issuer's address, or `gpuaas` for allocations of the
    tenant that run here.
    """

    audience: Annotated[str, Field(min_length=1, max_length=200)]
    """For whom the token must be made, and for nobody else."""

    subject_pattern: Annotated[str, Field(min_length=1, max_length=255)]
    """Which subjects fit; `*` stands for one or more characters other than `:` and `/`."""

    permissions: Annotated[tuple[Annotated[str, Field(min_length=5, max_length=128, pattern=r"^(\*|[a-z][a-z0-9-]*)(\.(\*|[a-z][a-z0-9-]*)){2}$")], ...], Field(min_length=1, max_length=64)] | None = None
    """The most that comes of it: permissions, `*` for any one word; absent: all that the account may."""

    single_use: Annotated[bool, Field(strict=True)]
    """Whether a token of the issuer's is good once only, by its `jti`; else until it expires."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, in words, for the people who review access."""


EVENTS: tuple[type[Event], ...] = (
    AccessesRefused,
    OperatorAccessUsed,
    ApiKeyIssued,
    ApiKeyRevoked,
    ApiKeySuperseded,
    ApiKeyUsed,
    RoleBound,
    RoleBoundToGroup,
    RoleBoundUnderCondition,
    RoleUnbound,
    DirectoryGroupDescribed,
    DirectoryGroupRemoved,
    DirectoryUserDescribed,
    DirectoryUserRemoved,
    DutiesJoined,
    DutiesSeparated,
    TokenExchanged,
    GroupCreated,
    GroupMemberAdded,
    GroupMemberRemoved,
    GroupNested,
    GroupUnnested,
    IdentityLinked,
    IdentityUnlinked,
    IdentityProviderConfigured,
    IdentityProviderRemoved,
    InvitationAccepted,
    InvitationClosed,
    InvitationSent,
    PasswordCodeIssued,
    PasswordSet,
    PrincipalResumed,
    PrincipalSuspended,
    ProhibitionLifted,
    ProhibitionPlaced,
    ProjectClosed,
    ProjectCreated,
    ProjectShareAccepted,
    ProjectShareEnded,
    ProjectShareOfferClosed,
    ProjectShareOffered,
    ReceivedShareAccepted,
    ReceivedShareDeclined,
    ReceivedShareEnded,
    RoleDefined,
    ServiceAccountCreated,
    ServiceAccountDeleted,
    SessionEnded,
    SessionStarted,
    SignInsFailed,
    SigningKeyPublished,
    SupportPolicySet,
    SupportSessionEnded,
    SupportSessionStarted,
    TenantClosed,
    TenantCreated,
    TenantResumed,
    TenantSuspended,
    TenantCeilingRemoved,
    TenantCeilingSet,
    TenantRoleDefined,
    PersonalDataErased,
    UserDeleted,
    UserRegistered,
    WorkloadEnded,
    WorkloadTrustEnded,
    WorkloadTrusted,
)
