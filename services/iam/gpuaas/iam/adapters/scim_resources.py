"""SCIM 2.0 resources as this service speaks them. One law: no attribute is taken that nobody here has a use for.

`scim2-models` reads, compares, filters and patches (RFC 7643, RFC 7644); here stand the attributes we keep, what is
announced, and which of the library's tolerances we use: an attribute we do not know is dropped, not refused, because
directories send what they have.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

from pydantic import Field
from scim2_models import (
    URN,
    AuthenticationScheme,
    Bulk,
    ChangePassword,
    ComplexAttribute,
    Email,
    ETag,
    Filter,
    GroupMembership,
    Mutability,
    Name,
    Patch,
    Reference,
    Required,
    Resource,
    ResourceType,
    ScimPolicy,
    ScimProvider,
    ServiceProviderConfig,
    Sort,
    Uniqueness,
)
from scim2_models import CaseExact as _CaseExact

RESULTS_MAX: Final = 200
SCANNED_MAX: Final = 2_000
"""A filter beyond one user name looks at so many resources at most."""
TOLERANT: Final = ScimPolicy(unknown=ScimPolicy.Unknown.ignore)


class User(Resource[Any]):
    """A person of a directory."""

    __schema__ = URN("urn:ietf:params:scim:schemas:core:2.0:User")

    user_name: Annotated[str | None, Uniqueness.server, Required.true] = None
    """Unique in the tenant's directory, whatever case it is written in."""
    name: Name | None = None
    Name: ClassVar[type[ComplexAttribute]] = Name
    display_name: str | None = None
    active: bool | None = None
    """Whether they are let in."""
    emails: list[Email] | None = None
    Emails: ClassVar[type[ComplexAttribute]] = Email
    groups: Annotated[list[GroupMembership] | None, Mutability.read_only] = None
    Groups: ClassVar[type[ComplexAttribute]] = GroupMembership


class GroupMember(ComplexAttribute):
    """A person in a group."""

    value: Annotated[str | None, Mutability.immutable, _CaseExact.true] = None
    ref: Annotated[Reference[User] | None, Mutability.immutable] = Field(
        None, serialization_alias="$ref", validation_alias="$ref"
    )
    type: Annotated[str | None, Mutability.immutable] = Field(None, examples=["User"])


class Group(Resource[Any]):
    """A group of a directory."""

    __schema__ = URN("urn:ietf:params:scim:schemas:core:2.0:Group")

    display_name: Annotated[str | None, Required.true] = None
    members: list[GroupMember] | None = None
    Members: ClassVar[type[ComplexAttribute]] = GroupMember


CONFIG: Final = ServiceProviderConfig(
    documentation_uri=None,
    patch=Patch(supported=True),
    bulk=Bulk(supported=False, max_operations=0, max_payload_size=0),
    filter=Filter(supported=True, max_results=RESULTS_MAX),
    change_password=ChangePassword(supported=False),
    sort=Sort(supported=False),
    etag=ETag(supported=True),
    authentication_schemes=[
        AuthenticationScheme(
            type=AuthenticationScheme.Type.oauthbearertoken,
            name="API key",
            description="An API key of a service account of the tenant, as a bearer token.",
            primary=True,
        )
    ],
)
SERVICE: Final = ScimProvider(
    models=[User, Group],
    resource_types=[
        ResourceType(
            id="User",
            name="User",
            endpoint="/Users",
            description="A person of the tenant's directory.",
            schema_=User.__schema__,
        ),
        ResourceType(
            id="Group",
            name="Group",
            endpoint="/Groups",
            description="A group of the tenant's directory.",
            schema_=Group.__schema__,
        ),
    ],
    config=CONFIG,
    policy=TOLERANT,
)
