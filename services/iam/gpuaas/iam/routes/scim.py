"""SCIM 2.0 (RFC 7643, RFC 7644), inbound, one base address per tenant. One law: what is answered is what was read back.

Reading, comparing, filtering and patching is `scim2-models`'s; what a directory may do is `directories.py`'s.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request, Response
from gpuaas.common.errors import NotFound, Unavailable
from gpuaas.common.http import Caller
from gpuaas.common.strict_json import read_object
from gpuaas.iam.adapters.scim_resources import CONFIG, RESULTS_MAX, SCANNED_MAX, SERVICE, TOLERANT, Group, User
from gpuaas.iam.directories import Directory, folded
from gpuaas.iam.domain.directory import ABSENT, Changed
from gpuaas.iam.parts import DIRECTORY, Parts
from gpuaas.iam.projections.directory import DIRECTORY_GROUPS_V1, DIRECTORY_USERS_V1
from gpuaas.iam.routes.scim_door import MEDIA_TYPE, ScimJson, ScimRoute, directory_permit
from gpuaas.iam.routes.tokens import Tokens
from gpuaas.iam.signing_in import SETTLE_S
from scim2_models import (
    Context,
    InvalidSyntaxException,
    ListResponse,
    PatchOp,
    Resource,
    ResponseParameters,
    SearchRequest,
    TooManyException,
)

BASE: Final = "/v1/tenants/{tenant_id}/scim/v2"
BODY_BYTES_MAX: Final = 262_144
_KEPT: Final = ("userName", "externalId", "name", "displayName", "active", "emails")
_BODY: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {MEDIA_TYPE: {"schema": {"type": "object"}}}},
}
UserId = Annotated[str, Path(description="The person's id.", max_length=63)]
GroupId = Annotated[str, Path(description="The group's id.", max_length=63)]
Found = tuple[Resource[Any], int]
"""A resource and the revision it is of."""


class Scim:
    """Routes of tenants' directories."""

    def __init__(self, parts: Parts, tokens: Tokens) -> None:
        self._parts = parts
        self._reading = directory_permit(parts, tokens, "iam.directory.read")
        self._writing = directory_permit(parts, tokens, "iam.directory.provision")

    def open(self, router: APIRouter) -> None:
        """Add the routes."""
        scim = APIRouter(route_class=ScimRoute, default_response_class=ScimJson)
        read: dict[str, Any] = {"dependencies": [Depends(self._reading)]}
        write: dict[str, Any] = {"dependencies": [Depends(self._writing)]}
        search: dict[str, Any] = {"methods": ["POST"], "openapi_extra": _BODY, **read}
        add = scim.add_api_route
        add(BASE + "/ServiceProviderConfig", self.config, methods=["GET"], summary="What is supported.", **read)
        add(BASE + "/ResourceTypes", self.kinds, methods=["GET"], summary="Kinds of resources.", **read)
        add(BASE + "/ResourceTypes/{resource_type}", self.kind, methods=["GET"], summary="One kind.", **read)
        add(BASE + "/Schemas", self.schemas, methods=["GET"], summary="Schemas of resources.", **read)
        add(BASE + "/Schemas/{schema_id}", self.schema, methods=["GET"], summary="One schema.", **read)
        add(BASE + "/.search", self.search, summary="Search all kinds.", **search)
        users, groups = BASE + "/Users", BASE + "/Groups"
        user, group = users + "/{user_id}", groups + "/{group_id}"
        add(users, self.users, methods=["GET"], summary="People of the directory.", **read)
        add(
            users + "/.search",
            self.search_users,
            methods=["POST"],
            openapi_extra=_BODY,
            summary="Search people.",
            **read,
        )
        add(user, self.user, methods=["GET"], summary="One person.", **read)
        new: dict[str, Any] = {"methods": ["POST"], "status_code": 201, "openapi_extra": _BODY, **write}
        add(users, self.add_user, summary="A new person.", **new)
        add(user, self.put_user, methods=["PUT"], openapi_extra=_BODY, summary="Replace a person.", **write)
        add(user, self.patch_user, methods=["PATCH"], openapi_extra=_BODY, summary="Change a person.", **write)
        gone: dict[str, Any] = {"methods": ["DELETE"], "status_code": 204, "response_class": Response, **write}
        add(user, self.remove_user, summary="The directory knows them no longer: suspended.", **gone)
        add(groups, self.groups, methods=["GET"], summary="Groups of the directory.", **read)
        add(groups + "/.search", self.search_groups, summary="Search groups.", **search)
        add(group, self.group, methods=["GET"], summary="One group.", **read)
        add(groups, self.add_group, summary="A new group.", **new)
        add(group, self.put_group, methods=["PUT"], openapi_extra=_BODY, summary="Replace a group.", **write)
        add(group, self.patch_group, methods=["PATCH"], openapi_extra=_BODY, summary="Change a group.", **write)
        add(group, self.remove_group, summary="The directory knows it no longer: it is empty.", **gone)
        add(BASE + "/{path:path}", self.nothing, methods=["GET"], summary="Nothing else is here.", **read)
        router.include_router(scim)

    # -- what is supported ---------------------------------------------------------------------------------

    async def config(self, request: Request) -> ScimJson:
        return self._described(request, CONFIG, "ServiceProviderConfig", "ServiceProviderConfig")

    async def kinds(self, request: Request) -> ScimJson:
        found = [self._one(request, each, "ResourceTypes", "ResourceType") for each in SERVICE.resource_types]
        return _whole_list(found)

    async def kind(self, request: Request, resource_type: Annotated[str, Path(max_length=63)]) -> ScimJson:
        for each in SERVICE.resource_types:
            if each.id == resource_type:
                return ScimJson(self._one(request, each, "ResourceTypes", "ResourceType"))
        raise NotFound(ABSENT)

    async def schemas(self, request: Request) -> ScimJson:
        return _whole_list([self._one(request, each, "Schemas", "Schema") for each in SERVICE.schemas])

    async def schema(self, request: Request, schema_id: Annotated[str, Path(max_length=200)]) -> ScimJson:
        for each in SERVICE.schemas:
            if each.id == schema_id:
                return ScimJson(self._one(request, each, "Schemas", "Schema"))
        raise NotFound(ABSENT)

    async def nothing(self, path: str) -> ScimJson:
        raise NotFound(ABSENT)

    def _described(self, request: Request, thing: Resource[Any], path: str, kind: str) -> ScimJson:
        meta = {"resourceType": kind, "location": f"{self._base(request)}/{path}"}
        return ScimJson(thing.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE) | {"meta": meta})

    def _one(self, request: Request, thing: Resource[Any], path: str, kind: str) -> dict[str, Any]:
        meta = {"resourceType": kind, "location": f"{self._base(request)}/{path}/{thing.id}"}
        return thing.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE) | {"meta": meta}

    def _base(self, request: Request) -> str:
        return self._parts.public_url + BASE.format(tenant_id=request.path_params["tenant_id"])

    # -- people --------------------------------------------------------------------------------------------

    async def users(self, request: Request) -> ScimJson:
        return await self._listed(request, User, _asked(SearchRequest[User], dict(request.query_params)))

    async def search_users(self, request: Request) -> ScimJson:
        return await self._listed(request, User, _asked(SearchRequest[User], await _body(request)))

    async def user(self, request: Request, user_id: UserId) -> ScimJson:
        found, _ = await self._user(request, user_id)
        return _shown(found, Context.RESOURCE_QUERY_RESPONSE, request)

    async def add_user(self, request: Request) -> ScimJson:
        given = User.model_validate(
            await _body(request), scim_ctx=Context.RESOURCE_CREATION_REQUEST, scim_policy=TOLERANT
        )
        given.active = given.active is not False
        add = self._parts.directories.add_user
        user_id, position = await add(self._directory(request), _attributes(given), given.active)
        await self._settled(position)
        found, _ = await self._user(request, user_id)
        return _shown(found, Context.RESOURCE_CREATION_RESPONSE, request, status_code=201)

    async def put_user(self, request: Request, user_id: UserId) -> ScimJson:
        found, revision = await self._user(request, user_id)
        given = User.model_validate(
            await _body(request), scim_ctx=Context.RESOURCE_REPLACEMENT_REQUEST, scim_policy=TOLERANT
        )
        given.replace(found)
        return await self._changed_user(request, user_id, revision, given, Context.RESOURCE_REPLACEMENT_RESPONSE)

    async def patch_user(self, request: Request, user_id: UserId) -> ScimJson:
        found, revision = await self._user(request, user_id)
        patch = PatchOp[User].model_validate(
            await _body(request), scim_ctx=Context.RESOURCE_PATCH_REQUEST, scim_policy=TOLERANT
        )
        patch.patch(found, scim_policy=TOLERANT)
        return await self._changed_user(request, user_id, revision, found, Context.RESOURCE_PATCH_RESPONSE)

    async def _changed_user(
        self, request: Request, user_id: str, revision: int, given: User, context: Context
    ) -> ScimJson:
        change, active = self._parts.directories.change_user, given.active is not False
        position = await change(self._directory(request), user_id, revision, _attributes(given), active)
        await self._settled(position)
        found, _ = await self._user(request, user_id, if_match=False)
        return _shown(found, context, request)

    async def remove_user(self, request: Request, user_id: UserId) -> Response:
        await self._user(request, user_id)
        await self._settled(await self._parts.directories.remove_user(self._directory(request), user_id))
        return Response(status_code=204)

    async def _user(self, request: Request, user_id: str, if_match: bool = True) -> tuple[User, int]:
        tenant_id = request.path_params["tenant_id"]
        rows = await DIRECTORY.users(self._parts.database, self._parts.seals, tenant_id, [user_id], 0, 1)
        if not rows:
            raise NotFound(ABSENT)
        found = await self._of_rows(request, rows)
        if if_match:
            _demand_match(request, found[0])
        return found[0], int(rows[0]["revision"])

    async def _of_rows(self, request: Request, rows: Sequence[Mapping[str, Any]]) -> list[User]:
        tenant_id, base = request.path_params["tenant_id"], self._base(request)
        mine = await DIRECTORY.ids_of_groups(self._parts.database, tenant_id)
        circle = self._parts.access.rights.groups.circle
        found = []
        for row in rows:
            user_id = str(row["user_id"])
            inside = sorted(name for kind, name in circle(("user", user_id)) if kind == "group" and name in mine)
            groups = [{"value": each, "$ref": f"{base}/Groups/{each}", "type": "direct"} for each in inside]
            said = row["attributes"]
            active = row["active"] if "active" in said else None  # a directory may take the word back
            body = {**said, "id": user_id, "active": active, "groups": groups or None}
            found.append(_resource(User, body, f"{base}/Users/{user_id}", row))
        return found

    # -- groups --------------------------------------------------------------------------------------------

    async def groups(self, request: Request) -> ScimJson:
        return await self._listed(request, Group, _asked(SearchRequest[Group], dict(request.query_params)))

    async def search_groups(self, request: Request) -> ScimJson:
        return await self._listed(request, Group, _asked(SearchRequest[Group], await _body(request)))

    async def group(self, request: Request, group_id: GroupId) -> ScimJson:
        found, _ = await self._group(request, group_id)
        return _shown(found, Context.RESOURCE_QUERY_RESPONSE, request)

    async def add_group(self, request: Request) -> ScimJson:
        given = Group.model_validate(
            await _body(request), scim_ctx=Context.RESOURCE_CREATION_REQUEST, scim_policy=TOLERANT
        )
        at, rooms = self._directory(request), self._parts.directories
        group_id, position = await rooms.add_group(at, given.display_name or "", given.external_id)
        position = max(position, await rooms.set_members(at, group_id, _members(given)))
        await self._settled(position)
        found, _ = await self._group(request, group_id)
        return _shown(found, Context.RESOURCE_CREATION_RESPONSE, request, status_code=201)

    async def put_group(self, request: Request, group_id: GroupId) -> ScimJson:
        found, revision = await self._group(request, group_id)
        given = Group.model_validate(
            await _body(request), scim_ctx=Context.RESOURCE_REPLACEMENT_REQUEST, scim_policy=TOLERANT
        )
        before = found.model_copy(deep=True)
        given.replace(found)
        context = Context.RESOURCE_REPLACEMENT_RESPONSE
        return await self._changed_group(request, group_id, revision, before, given, context)

    async def patch_group(self, request: Request, group_id: GroupId) -> ScimJson:
        found, revision = await self._group(request, group_id)
        patch = PatchOp[Group].model_validate(
            await _body(request), scim_ctx=Context.RESOURCE_PATCH_REQUEST, scim_policy=TOLERANT
        )
        before = found.model_copy(deep=True)
        patch.patch(found, scim_policy=TOLERANT)
        context = Context.RESOURCE_PATCH_RESPONSE
        return await self._changed_group(request, group_id, revision, before, found, context)

    async def _changed_group(
        self, request: Request, group_id: str, revision: int, before: Group, given: Group, context: Context
    ) -> ScimJson:
        at, rooms, position = self._directory(request), self._parts.directories, 0
        if (given.display_name, given.external_id) != (before.display_name, before.external_id):
            name = given.display_name or ""
            position = await rooms.change_group(at, group_id, revision, name, given.external_id)
        if _members(given) != _members(before):
            position = max(position, await rooms.set_members(at, group_id, _members(given)))
        await self._settled(position)
        found, _ = await self._group(request, group_id, if_match=False)
        return _shown(found, context, request)

    async def remove_group(self, request: Request, group_id: GroupId) -> Response:
        await self._group(request, group_id)
        await self._settled(await self._parts.directories.remove_group(self._directory(request), group_id))
        return Response(status_code=204)

    async def _group(self, request: Request, group_id: str, if_match: bool = True) -> tuple[Group, int]:
        rows = await DIRECTORY.groups(self._parts.database, request.path_params["tenant_id"], group_id, 0, 1)
        if not rows:
            raise NotFound(ABSENT)
        found = await self._of_group(request, dict(rows[0]))
        if if_match:
            _demand_match(request, found)
        return found, int(rows[0]["revision"])

    async def _of_group(self, request: Request, row: Mapping[str, Any]) -> Group:
        base, group_id = self._base(request), str(row["group_id"])
        inside = await self._parts.directories.members(request.path_params["tenant_id"], group_id)
        members = [{"value": each, "$ref": f"{base}/Users/{each}", "type": "User"} for each in inside]
        body = {"id": group_id, "displayName": row["display_name"], "externalId": row["external_id"]}
        group: Group = _resource(Group, {**body, "members": members or None}, f"{base}/Groups/{group_id}", row)
        return group

    # -- lists ---------------------------------------------------------------------------------------------

    async def search(self, request: Request) -> ScimJson:
        asked = _asked(SearchRequest[User | Group], await _body(request))
        people, groups = await self._scanned(request, User), await self._scanned(request, Group)
        fits = asked.filter
        return _page([each for each in (*people, *groups) if fits is None or fits.match(each)], asked)

    async def _listed(self, request: Request, kind: type[User] | type[Group], asked: SearchRequest[Any]) -> ScimJson:
        tenant_id, database = request.path_params["tenant_id"], self._parts.database
        if asked.filter is None:
            table = DIRECTORY_USERS_V1 if kind is User else DIRECTORY_GROUPS_V1
            total = await DIRECTORY.count(database, table, tenant_id)
            found = await self._read(request, kind, asked.start_index_0 or 0, _count(asked))
            return _answered(found, total, asked)
        named = _name_asked(str(asked.filter)) if kind is User else None
        if named is None:
            scanned: Sequence[Resource[Any]] = await self._scanned(request, kind)
        else:
            user_id = await self._parts.directories.names.whose(tenant_id, folded(named))
            rows = await DIRECTORY.users(database, self._parts.seals, tenant_id, [user_id or ""], 0, 1)
            scanned = await self._of_rows(request, rows)
        return _page([each for each in scanned if asked.filter.match(each)], asked)

    async def _scanned(self, request: Request, kind: type[User] | type[Group]) -> Sequence[Resource[Any]]:
        found = await self._read(request, kind, 0, SCANNED_MAX + 1)
        if len(found) > SCANNED_MAX:
            raise TooManyException(detail=f"a filter looks at {SCANNED_MAX:,} resources at most; ask by userName")
        return found

    async def _read(
        self, request: Request, kind: type[User] | type[Group], offset: int, count: int
    ) -> Sequence[Resource[Any]]:
        tenant_id, database = request.path_params["tenant_id"], self._parts.database
        if kind is User:
            rows = await DIRECTORY.users(database, self._parts.seals, tenant_id, None, offset, count)
            return await self._of_rows(request, rows)
        found = await DIRECTORY.groups(database, tenant_id, None, offset, count)
        return [await self._of_group(request, dict(row)) for row in found]

    # -- who speaks ----------------------------------------------------------------------------------------

    def _directory(self, request: Request) -> Directory:
        caller: Caller = request.state.caller
        return Directory(str(caller.scope.tenant_id), caller.principal.id, caller.cause())

    async def _settled(self, position: int) -> None:
        """The next question finds what was just said."""
        with contextlib.suppress(Unavailable):
            await self._parts.access_reader.reached(position, SETTLE_S)
            await self._parts.directory_reader.reached(position, SETTLE_S)


async def _body(request: Request) -> dict[str, Any]:
    try:
        return read_object(await request.body(), bytes_max=BODY_BYTES_MAX)
    except ValueError as odd:
        raise InvalidSyntaxException(detail=f"the body cannot be read: {odd}") from odd


def _asked(kind: Any, given: Mapping[str, Any]) -> Any:
    return kind.model_validate(dict(given), scim_ctx=Context.SEARCH_REQUEST, scim_policy=TOLERANT)


def _count(asked: SearchRequest[Any]) -> int:
    return min(RESULTS_MAX, RESULTS_MAX if asked.count is None else asked.count)


def _page(found: Sequence[Resource[Any]], asked: SearchRequest[Any]) -> ScimJson:
    begin = asked.start_index_0 or 0
    return _answered(found[begin : begin + _count(asked)], len(found), asked)


def _answered(found: Sequence[Resource[Any]], total: int, asked: SearchRequest[Any]) -> ScimJson:
    context = Context.RESOURCE_QUERY_RESPONSE
    shown = [each.model_dump(scim_ctx=context, response_parameters=asked) for each in found]
    return _list(shown, total, (asked.start_index_0 or 0) + 1)


def _whole_list(shown: Sequence[dict[str, Any]]) -> ScimJson:
    return _list(shown, len(shown), 1)


def _list(shown: Sequence[dict[str, Any]], total: int, start: int) -> ScimJson:
    told = {"totalResults": total, "startIndex": start, "itemsPerPage": len(shown), "Resources": list(shown)}
    return ScimJson({"schemas": [str(ListResponse.__schema__)], **told})


def _name_asked(text: str) -> str | None:
    """The name that a filter `userName eq "…"` asks for; None: it asks for something else."""
    words = text.strip().split(" ", 2)
    if len(words) != 3 or [words[0].lower(), words[1].lower()] != ["username", "eq"]:
        return None
    with contextlib.suppress(ValueError):
        return named if isinstance(named := json.loads(words[2]), str) else None
    return None


def _attributes(given: User) -> dict[str, Any]:
    """What is kept of what a directory says."""
    said = given.model_dump()
    return {name: said[name] for name in _KEPT if said.get(name) is not None}


def _members(group: Group) -> list[str]:
    return sorted({each.value for each in group.members or () if each.value})


def _resource(kind: Any, body: Mapping[str, Any], location: str, row: Mapping[str, Any]) -> Any:
    said = {name: value for name, value in body.items() if value is not None}
    tag = hashlib.sha256(json.dumps([said, row["revision"]], sort_keys=True).encode()).hexdigest()[:16]
    meta = {
        "resourceType": kind.__name__,
        "created": row["created_at"].isoformat(),
        "lastModified": row["changed_at"].isoformat(),
        "location": location,
        "version": f'W/"{tag}"',
    }
    return kind.model_validate({"schemas": [str(kind.__schema__)], **said, "meta": meta})


def _demand_match(request: Request, found: Resource[Any]) -> None:
    """Raises Changed: the request is about another version (RFC 7644 §3.14)."""
    version = found.meta.version if found.meta else None
    wanted = [each.strip() for each in request.headers.get("if-match", "*").split(",")]
    if request.method != "GET" and "*" not in wanted and version not in wanted:
        raise Changed("it has been changed meanwhile; read it again and change that")


def _shown(found: Resource[Any], context: Context, request: Request, status_code: int = 200) -> ScimJson:
    names = ("attributes", "excludedAttributes")
    given = {name: request.query_params[name] for name in names if name in request.query_params}
    wanted = ResponseParameters[type(found)].model_validate(given)  # type: ignore[misc]
    version, location = (found.meta.version or "", found.meta.location or "") if found.meta else ("", "")
    headers = {"ETag": version, "Location": location}
    body = found.model_dump(scim_ctx=context, response_parameters=wanted)
    return ScimJson(body, status_code=status_code, headers=headers)
