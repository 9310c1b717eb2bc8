"""The permission registry for people. One law: it is read off the doors and the shipped roles, and says no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gpuaas.common.scopes import Role
from gpuaas.iam.domain.built_in_roles import BUILT_IN

from tools.openapi.describing import Document
from tools.openapi.permissions import PUBLIC, SIGNED_IN, Registry, registry

_PREFACE: Final = """\
<!-- Generated from the services' routes by `python -m tools.openapi generate`; do not edit. -->

# Permissions

Every route of every service says who may ask it. There are three kinds, and no route is without one:

| kind | who | what is checked |
|---|---|---|
| `public` | everybody | nothing; such a route tells what may be known to all |
| `signed-in` | every principal with a token | who asks: the answer is about them, or holds only what they may read |
| `service.resource.verb` | whoever holds it in the path's scope | a role bound in the path's project, its tenant, \
or on the platform |

The scope is what the path names: `tenant_id`, `project_id`, or without them the platform. Without a token the answer
is 401. Who holds nothing in a tenant gets 404, as if it did not exist; who is known there but lacks the permission
gets 403, with the roles that would suffice. The verb `read` changes nothing; every other verb is a change, and is
refused while a service cannot read the newest rights.

A role holds permissions by name or by glob (`*` stands for any one word). The API documents are in
[`schemas/api`](../../schemas/api).

## Built-in roles

Custom roles come beside them (`PUT /v1/roles/{role}` of iam).

"""


def permission_page(documents: Mapping[str, Document]) -> str:
    """The page as Markdown."""
    found = registry(documents)
    roles = {name: Role(name, 1, role.permissions) for name, role in BUILT_IN.items()}
    return _PREFACE + _roles() + _matrix(found, roles) + "".join(_service(s, found[s], roles) for s in found)


def _roles() -> str:
    rows = "\n".join(
        f"| `{name}` | {role.description} | {', '.join(f'`{glob}`' for glob in role.permissions)} |"
        for name, role in BUILT_IN.items()
    )
    return f"| role | for whom | holds |\n|---|---|---|\n{rows}\n"


def _matrix(found: Registry, roles: Mapping[str, Role]) -> str:
    """How many permissions of each service each role holds, and what no route asks for."""
    named = {service: [each for each in by if each not in (PUBLIC, SIGNED_IN)] for service, by in found.items()}
    head = "| role | " + " | ".join(f"[{service}](#{service})" for service in named) + " |\n|---|"
    rows = "\n".join(
        f"| `{name}` | "
        + " | ".join(f"{sum(map(role.permits, each))} of {len(each)}" for each in named.values())
        + " |"
        for name, role in roles.items()
    )
    return f"\n{head}{'---|' * len(named)}\n{rows}\n" + _unasked(named)


def _unasked(named: Mapping[str, list[str]]) -> str:
    everything = [permission for each in named.values() for permission in each]
    idle = sorted(
        {
            glob
            for role in BUILT_IN.values()
            for glob in role.permissions
            if not any(Role("glob", 1, (glob,)).permits(permission) for permission in everything)
        }
    )
    if not idle:
        return ""
    return f"\nHeld by a role, but asked for by no route yet: {', '.join(f'`{glob}`' for glob in idle)}.\n"


def _service(service: str, by_permission: Mapping[str, list[str]], roles: Mapping[str, Role]) -> str:
    rows = "\n".join(
        f"| `{permission}` | {'<br>'.join(f'`{key}`' for key in keys)} | {_holders(permission, roles)} |"
        for permission, keys in by_permission.items()
    )
    return f"\n## {service}\n\n| permission | routes | built-in roles that hold it |\n|---|---|---|\n{rows}\n"


def _holders(permission: str, roles: Mapping[str, Role]) -> str:
    if permission == PUBLIC:
        return "*needs no token*"
    if permission == SIGNED_IN:
        return "*every principal*"
    return ", ".join(f"`{name}`" for name, role in roles.items() if role.permits(permission)) or "*none*"
