"""Short-lived tokens. One law: a token says who, never what they may do, and its signature is believed first.

JWTs (RFC 7519, RFC 9068) signed with Ed25519 (RFC 8037).
Times are real time: a token lives five real minutes also where the world's clock runs faster.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, Literal, cast

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from gpuaas.common.errors import Unauthenticated
from gpuaas.common.narrowing import ACTORS_MAX
from gpuaas.common.scopes import EVERYWHERE, Holder, Scope, words
from gpuaas.common.strict_json import read_part

ALGORITHM: Final = "EdDSA"
TOKEN_TYPE: Final = "at+jwt"  # noqa: S105  a media type (RFC 9068), not a secret
ISSUER: Final = "gpuaas"
TOKEN_LIFE_S: Final = 300
LEEWAY_S: Final = 10
TOKEN_BYTES_MAX: Final = 2048
REMEMBERED_TOKENS_MAX: Final = 10_000
DEPTH_MAX: Final = 1 + ACTORS_MAX
"""Levels of objects and arrays in a token of ours: who acts for whom is nested (RFC 8693 §4.1)."""
WORKLOAD: Final = "workload"
"""The kind of an actor that is no principal of ours, but trusted to act as one."""

_LIFE_MAX = timedelta(seconds=TOKEN_LIFE_S)
_LEEWAY = timedelta(seconds=LEEWAY_S)
_REQUIRED = ["iss", "aud", "sub", "jti", "iat", "exp", "kind", "tenant", "floor"]

Kind = Literal["user", "service-account"]


def kind_of(text: str) -> Kind:
    """`text` as a kind of principal. Raises ValueError: there is no such kind."""
    if text not in ("user", "service-account"):
        raise ValueError("it names a kind of principal that does not exist")
    return cast(Kind, text)


def audience_of(profile: str) -> str:
    """The audience of tokens in one profile: a token of `demo` is nobody in `production`."""
    return f"gpuaas:{profile}"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts with another's right. A principal comes with a key or a session of its own, a workload with neither."""

    kind: str
    id: str
    key_id: str = ""
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: `floor` is the log position its issuer had read, `token_id` the token's own id.

    It rests on an API key, on a session, or on a trust in workloads: of `key_id`, `session_id` and `trust_id` two are
    empty. `permissions` and `scope`: the most it is good for; none: all that what it rests on is. `actors`: who acts
    with it, the one who sends it first.
    """

    subject: str
    kind: Kind
    tenant_id: str
    key_id: str
    session_id: str
    token_id: str
    floor: int
    issued_at: datetime
    expires_at: datetime
    trust_id: str = ""
    permissions: tuple[str, ...] = ()
    scope: Scope = EVERYWHERE
    actors: tuple[Actor, ...] = ()

    @property
    def holder(self) -> Holder:
        return (self.kind, self.subject)


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A published signing key: tokens are believed from `valid_from` until before `valid_until`."""

    key_id: str
    public: Ed25519PublicKey
    valid_from: datetime
    valid_until: datetime


def public_key(text: str) -> Ed25519PublicKey:
    """The key in `text`: 32 raw bytes in base64url, padding optional.

    Raises:
        ValueError: not 32 bytes of base64url.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as refused:
        raise ValueError(f"the public key is not base64url: {refused}") from refused
    return Ed25519PublicKey.from_public_bytes(raw)


def sign(claims: Claims, private: Ed25519PrivateKey, key_id: str, audience: str, issuer: str = ISSUER) -> str:
    """The token that says `claims`, signed with `private`, which the suite knows as `key_id`."""
    body = {
        "iss": issuer,
        "aud": audience,
        "sub": claims.subject,
        "jti": claims.token_id,
        "iat": int(claims.issued_at.timestamp()),
        "exp": int(claims.expires_at.timestamp()),
        "kind": claims.kind,
        "tenant": claims.tenant_id,
        "floor": claims.floor,
    } | _rests_on(claims)
    if claims.permissions:
        body["scope"] = " ".join(claims.permissions)
    if claims.scope.tenant_id is not None:
        body["place"] = [each for each in (claims.scope.tenant_id, claims.scope.project_id) if each is not None]
    if claims.actors:
        body["act"] = _act(claims.actors)
    return jwt.encode(body, private, algorithm=ALGORITHM, headers={"kid": key_id, "typ": TOKEN_TYPE})


def _rests_on(claims: Claims | Actor) -> dict[str, Any]:
    if claims.session_id:
        return {"sid": claims.session_id}
    if isinstance(claims, Claims) and claims.trust_id:
        return {"trust": claims.trust_id}
    return {"key": claims.key_id} if claims.key_id else {}


def _act(actors: tuple[Actor, ...]) -> dict[str, Any]:
    """The claim `act`: who sends the token, and inside of it for whom that one acts, and so on."""
    first, *others = actors
    inner = {"act": _act(tuple(others))} if others else {}
    return {"sub": first.id, "kind": first.kind, **_rests_on(first), **inner}


class Verifier:
    """Reads tokens of one audience and issuer with the signing keys it was taught.

    A signature costs 100 to 200 µs, so what a token said is remembered by its SHA-256 until it is pushed out;
    its times and its key's are looked at anew every time. For one thread.
    """

    def __init__(self, audience: str, issuer: str = ISSUER, remembered_max: int = REMEMBERED_TOKENS_MAX) -> None:
        self._audience = audience
        self._issuer = issuer
        self._keys: dict[str, VerifyingKey] = {}
        self._remembered: dict[bytes, tuple[Claims, VerifyingKey]] = {}
        self._remembered_max = remembered_max

    def learn(self, key: VerifyingKey) -> None:
        """Believe `key` within its validity.

        Raises:
            ValueError: another key has that id already.
        """
        if key.key_id in self._keys:
            raise ValueError(f"signing key {key.key_id} was published before")
        self._keys[key.key_id] = key

    def keys(self, now: datetime) -> list[VerifyingKey]:
        """The keys that have not ended at `now`, the first to begin first."""
        return sorted((key for key in self._keys.values() if now < key.valid_until), key=lambda key: key.valid_from)

    def verify(self, token: str, now: datetime) -> Claims:
        """What `token` says, if signature, audience, issuer, shape and times are right at `now` (real time).

        Raises:
            Unauthenticated: anything about it is wrong; the sentence says what and what to do.
        """
        if len(token) > TOKEN_BYTES_MAX or not token.isascii():
            raise Unauthenticated(f"a token of ours is at most {TOKEN_BYTES_MAX} ASCII characters")
        digest = sha256(token.encode("ascii")).digest()
        known = self._remembered.pop(digest, None) or self._read(token)
        self._remembered[digest] = known
        if len(self._remembered) > self._remembered_max:
            del self._remembered[next(iter(self._remembered))]
        claims, key = known
        _within_times(claims, key, now)
        return claims

    def _read(self, token: str) -> tuple[Claims, VerifyingKey]:
        try:
            parts = token.split(".")
            if len(parts) != 3:
                raise ValueError("it does not have three parts")
            # Read first so that no two readers could read it differently: a signature says nothing against that.
            header = read_part(parts[0], bytes_max=TOKEN_BYTES_MAX, depth_max=DEPTH_MAX)
            read_part(parts[1], bytes_max=TOKEN_BYTES_MAX, depth_max=DEPTH_MAX)
            key = self._key_of(header)
            body = jwt.decode(
                token,
                key.public,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                options={
                    "require": _REQUIRED,
                    "strict_aud": True,
                    "verify_exp": False,  # times are judged by the clock that is handed in
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            return _claims(body), key
        except (jwt.PyJWTError, ValueError, RecursionError, OverflowError, OSError) as refused:
            raise Unauthenticated(f"the token is not valid here ({refused}); get a new one") from refused

    def _key_of(self, header: dict[str, Any]) -> VerifyingKey:
        if header.get("alg") != ALGORITHM or header.get("typ") != TOKEN_TYPE:
            raise ValueError(f"its header must say alg {ALGORITHM} and typ {TOKEN_TYPE}")
        kid = header.get("kid")
        key = self._keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            raise ValueError("it is signed with a key that is not published")
        return key


def _claims(body: dict[str, Any]) -> Claims:
    grounds = [name for name in ("key", "sid", "trust") if name in body]
    if len(grounds) != 1:
        raise ValueError("it rests on an API key, on a session or on a trust: it must name one of them")
    [rests_on] = grounds
    texts = [body[name] for name in ("sub", "kind", "tenant", "jti", rests_on)]
    numbers = [body[name] for name in ("floor", "iat", "exp")]
    texts_fit = all(type(text) is str and text for text in texts)
    if not texts_fit or not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("a claim has the wrong type")
    subject, kind, tenant_id, token_id, stands_on = texts
    floor, issued, expires = numbers
    return Claims(
        subject=subject,
        kind=kind_of(kind),
        tenant_id=tenant_id,
        key_id=stands_on if rests_on == "key" else "",
        session_id=stands_on if rests_on == "sid" else "",
        trust_id=stands_on if rests_on == "trust" else "",
        token_id=token_id,
        floor=floor,
        issued_at=datetime.fromtimestamp(issued, UTC),
        expires_at=datetime.fromtimestamp(expires, UTC),
        permissions=_permissions(body.get("scope")),
        scope=_place(body.get("place")),
        actors=_actors(body.get("act")),
    )


def _permissions(text: object) -> tuple[str, ...]:
    """The claim `scope`: a narrowing that cannot be read must never count as none."""
    if text is None:
        return ()
    if not isinstance(text, str) or not text:
        raise ValueError("its scope is no list of permissions")
    globs = tuple(text.split(" "))
    for glob in globs:
        words(glob)
    return globs


def _place(value: object) -> Scope:
    match value:
        case None:
            return Scope()
        case [str(tenant_id)] if tenant_id:
            return Scope(tenant_id)
        case [str(tenant_id), str(project_id)] if tenant_id and project_id:
            return Scope(tenant_id, project_id)
    raise ValueError("its place is no tenant and no project of one")


def _actors(act: Any) -> tuple[Actor, ...]:
    found: list[Actor] = []
    while act is not None:
        match act:
            case {"sub": str(name), "kind": str(kind)} if name and len(found) < ACTORS_MAX:
                found.append(Actor(_actor_kind(kind), name, _text(act, "key"), _text(act, "sid")))
                act = act.get("act")
            case _:
                raise ValueError("it does not say who acts with it")
    return tuple(found)


def _actor_kind(kind: str) -> str:
    return kind if kind == WORKLOAD else kind_of(kind)


def _text(value: dict[str, Any], name: str) -> str:
    found = value.get(name, "")
    if not isinstance(found, str):
        raise ValueError("who acts with it rests on nothing")  # noqa: TRY004  the token is wrong, not a type
    return found


def _within_times(claims: Claims, key: VerifyingKey, now: datetime) -> None:
    if now >= claims.expires_at + _LEEWAY:
        raise Unauthenticated("the token has expired; get a new one", cause="over")
    if claims.expires_at - claims.issued_at > _LIFE_MAX:
        raise Unauthenticated(f"the token lives longer than {TOKEN_LIFE_S} s; get a new one")
    if claims.issued_at > now + _LEEWAY:
        raise Unauthenticated("the token was issued in the future: a clock is wrong; get a new one")
    if not key.valid_from - _LEEWAY <= now < key.valid_until + _LEEWAY:
        raise Unauthenticated("the token is signed with a key that is not valid now; get a new one")
