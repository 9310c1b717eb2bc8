"""Who asks: tokens and the keys behind them. One law: what is not exactly right is refused."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from gpuaas.common.access import Access, Scope
from gpuaas.common.apikeys import new_api_key, read_api_key
from gpuaas.common.errors import Unauthenticated, Unavailable, Unreadable
from gpuaas.common.testing.identity import Identity
from gpuaas.common.tokens import TOKEN_BYTES_MAX, TOKEN_LIFE_S, Verifier, VerifyingKey, sign
from gpuaas.contracts import iam
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def identity() -> Identity:
    world = Identity("dev", NOW)
    world.tenant("acme", "vision")
    world.service_account("robot", "acme")
    return world


def knowing(identity: Identity) -> Access:
    access = Access(identity.profile)
    for fact in identity.facts:
        access.apply(fact)
    return access


def forged(identity: Identity, *, header: dict[str, object] | None = None, **claims: object) -> str:
    """A token signed with the right key whose header or claims are changed; a claim of None is left out."""
    body = jwt.decode(identity.token("robot"), options={"verify_signature": False}) | claims
    kept = {name: value for name, value in body.items() if value is not None}
    heads = {"kid": identity.signing_key_id, "typ": "at+jwt"} | (header or {})
    return jwt.encode(kept, identity.private, algorithm="EdDSA", headers=heads)


def refused(access: Access, token: str, now: datetime = NOW) -> str:
    with pytest.raises(Unauthenticated) as caught:
        access.authenticate(token, now)
    return caught.value.detail


def test_a_token_tells_who_and_not_what_they_may_do(identity: Identity) -> None:
    principal = knowing(identity).authenticate(identity.token("robot"), NOW)
    assert (principal.kind, principal.id, principal.tenant_id) == ("service-account", "robot", "acme")
    assert principal.key_id == "robot-key"
    claims = jwt.decode(identity.token("robot"), options={"verify_signature": False})
    assert not {"roles", "permissions", "scope"} & set(claims)


def test_a_remembered_token_is_still_refused_when_it_expires(identity: Identity) -> None:
    access, token = knowing(identity), identity.token("robot")
    access.authenticate(token, NOW)
    access.authenticate(token, NOW + timedelta(seconds=TOKEN_LIFE_S))
    assert "expired" in refused(access, token, NOW + timedelta(seconds=TOKEN_LIFE_S + 10))


def test_a_token_from_the_future_is_refused(identity: Identity) -> None:
    assert "future" in refused(knowing(identity), identity.token("robot"), NOW - timedelta(seconds=30))


def test_a_token_that_lives_too_long_is_refused(identity: Identity) -> None:
    long = forged(identity, exp=int(NOW.timestamp()) + TOKEN_LIFE_S + 1)
    assert "longer than" in refused(knowing(identity), long)


def test_an_unsigned_token_is_refused(identity: Identity) -> None:
    body = jwt.decode(identity.token("robot"), options={"verify_signature": False})
    token = jwt.encode(body, "", algorithm="none", headers={"kid": identity.signing_key_id, "typ": "at+jwt"})
    assert "alg" in refused(knowing(identity), token)


def test_the_public_key_is_not_a_shared_secret(identity: Identity) -> None:
    public = identity.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    body = jwt.decode(identity.token("robot"), options={"verify_signature": False})
    heads = {"kid": identity.signing_key_id, "typ": "at+jwt"}
    assert "alg" in refused(knowing(identity), jwt.encode(body, public, algorithm="HS256", headers=heads))


def test_a_tampered_claim_breaks_the_signature(identity: Identity) -> None:
    head, body, signature = identity.token("robot").split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["sub"] = "operator"
    changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    assert "ignature" in refused(knowing(identity), f"{head}.{changed}.{signature}")


def test_a_key_that_nobody_published_signs_nothing(identity: Identity) -> None:
    stranger = Ed25519PrivateKey.generate()
    same_id = sign(identity.claims("robot"), stranger, identity.signing_key_id, "gpuaas:dev")
    assert "ignature" in refused(knowing(identity), same_id)
    unknown_id = sign(identity.claims("robot"), stranger, "strange", "gpuaas:dev")
    assert "not published" in refused(knowing(identity), unknown_id)


def test_a_token_of_another_profile_or_issuer_is_refused(identity: Identity) -> None:
    production = sign(identity.claims("robot"), identity.private, identity.signing_key_id, "gpuaas:production")
    assert "udience" in refused(knowing(identity), production)
    assert "ssuer" in refused(knowing(identity), forged(identity, iss="elsewhere"))
    refused(knowing(identity), forged(identity, aud=["gpuaas:dev", "gpuaas:production"]))


@pytest.mark.parametrize("claim", ["sub", "jti", "iat", "exp", "kind", "tenant", "key", "floor", "aud", "iss"])
def test_a_token_without_a_claim_is_refused(identity: Identity, claim: str) -> None:
    without: dict[str, Any] = {claim: None}
    refused(knowing(identity), forged(identity, **without))


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": ["robot"]},
        {"tenant": {"id": "acme"}},
        {"floor": "0"},
        {"floor": -1},
        {"floor": True},
        {"exp": 1e400},
        {"exp": "2026-08-01"},
        {"exp": 10**30},
        {"iat": 10**4_000, "exp": 10**4_000},
        {"kind": "admin"},
        {"kind": ""},
    ],
)
def test_a_claim_of_the_wrong_kind_is_refused(identity: Identity, claims: dict[str, Any]) -> None:
    with pytest.raises((Unauthenticated, ValueError)) as caught:
        knowing(identity).authenticate(forged(identity, **claims), NOW)
    assert isinstance(caught.value, Unauthenticated) or "float" in str(caught.value)


@pytest.mark.parametrize("header", [{"typ": "JWT"}, {"kid": None}, {"kid": 7}, {"crit": ["x"], "x": 1}])
def test_a_header_that_is_not_ours_is_refused(identity: Identity, header: dict[str, object]) -> None:
    try:
        token = forged(identity, header=header)
    except jwt.PyJWTError:
        head = {"alg": "EdDSA", "kid": identity.signing_key_id, "typ": "at+jwt"} | header
        encoded = base64.urlsafe_b64encode(json.dumps(head).encode()).decode().rstrip("=")
        body = encoded + "." + identity.token("robot").split(".")[1]
        signature = base64.urlsafe_b64encode(identity.private.sign(body.encode())).decode().rstrip("=")
        token = f"{body}.{signature}"
    refused(knowing(identity), token)


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "é.é.é", "x" * (TOKEN_BYTES_MAX + 1), "\ud800", "eyJ9.e30.AA", "null.null.null"],
)
def test_rubbish_is_refused_with_a_sentence(identity: Identity, token: str) -> None:
    assert refused(knowing(identity), token)


def test_a_deeply_nested_header_is_refused(identity: Identity) -> None:
    nested = base64.urlsafe_b64encode(b"[" * 1_400).decode().rstrip("=")
    assert refused(knowing(identity), f"{nested}.e30.AA")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CLAIMS = st.sampled_from(["iss", "aud", "sub", "jti", "iat", "exp", "nbf", "kind", "tenant", "key", "floor"])


@settings(max_examples=200, deadline=None)
@given(claims=st.dictionaries(CLAIMS, ANYTHING, min_size=1, max_size=4))
def test_whatever_a_signed_token_claims_the_answer_is_a_principal_or_a_refusal(claims: dict[str, object]) -> None:
    world = Identity("dev", NOW)
    world.tenant("acme")
    world.service_account("robot", "acme")
    own = jwt.decode(world.token("robot"), options={"verify_signature": False})
    body = json.dumps(own | claims).encode()
    head = json.dumps({"alg": "EdDSA", "kid": world.signing_key_id, "typ": "at+jwt"}).encode()
    parts = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (head, body)]
    signature = world.private.sign(".".join(parts).encode())
    token = ".".join([*parts, base64.urlsafe_b64encode(signature).decode().rstrip("=")])
    try:
        known = knowing(world).authenticate(token, NOW)
    except (Unauthenticated, Unavailable):
        return
    assert (known.id, known.tenant_id, known.key_id) == ("robot", "acme", "robot-key")


@pytest.mark.parametrize(
    ("header", "claims", "why"),
    [
        ('{"alg":"none","alg":"EdDSA","typ":"at+jwt","kid":"KID"}', None, "twice"),
        (None, '{"sub":"somebody-else",', "twice"),
        (None, '{"x":[[[[1]]]],', "nested"),
        (None, '{"x":' + "[" * 500 + "]" * 500 + ",", "nested"),
        (None, '{"exp":NaN,', "number"),
        (None, '{"x":"\\ud800",', "half a character"),
    ],
)
def test_what_two_readers_could_read_differently_is_refused_though_it_is_signed(
    identity: Identity, header: str | None, claims: str | None, why: str
) -> None:
    head, body, _ = identity.token("robot").split(".")
    if header is not None:
        head = _part(header.replace("KID", identity.signing_key_id))
    if claims is not None:
        plain = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode()
        body = _part(claims + plain.removeprefix("{"))
    signature = identity.private.sign(f"{head}.{body}".encode())
    token = f"{head}.{body}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
    assert why in refused(knowing(identity), token)


def _part(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def test_a_revoked_key_ends_its_tokens_at_once(identity: Identity) -> None:
    access, token = knowing(identity), identity.token("robot")
    access.authenticate(token, NOW)
    access.apply(identity.revoke("robot-key", "acme"))
    assert "revoked" in refused(access, token)


def test_an_expired_key_ends_its_tokens(identity: Identity) -> None:
    identity.service_account("brief", "acme")
    identity.key("short", "brief", life=timedelta(seconds=60))
    claims = replace(identity.claims("brief"), key_id="short")
    token = sign(claims, identity.private, identity.signing_key_id, "gpuaas:dev")
    access = knowing(identity)
    access.authenticate(token, NOW + timedelta(seconds=59))
    assert "expired" in refused(access, token, NOW + timedelta(seconds=60))


def test_a_token_cannot_borrow_another_principals_key(identity: Identity) -> None:
    identity.service_account("other", "acme")
    claims = replace(identity.claims("robot"), key_id="other-key")
    refused(knowing(identity), sign(claims, identity.private, identity.signing_key_id, "gpuaas:dev"))


def test_a_token_cannot_move_its_principal_to_another_tenant(identity: Identity) -> None:
    claims = replace(identity.claims("robot"), tenant_id="platform")
    refused(knowing(identity), sign(claims, identity.private, identity.signing_key_id, "gpuaas:dev"))


def test_a_token_issued_on_newer_rights_waits_for_them(identity: Identity) -> None:
    access = knowing(identity)
    token = identity.token("robot", floor=access.position + 1)
    with pytest.raises(Unavailable):
        access.authenticate(token, NOW)
    access.apply(identity.role("viewer", "iam.tenant.read"))
    access.authenticate(token, NOW)


def test_two_signing_keys_overlap_and_the_old_one_ends(identity: Identity) -> None:
    second = Ed25519PrivateKey.generate()
    identity.publish_signing_key("second", second, timedelta(days=60))
    access = knowing(identity)
    access.authenticate(identity.token("robot"), NOW)
    access.authenticate(sign(identity.claims("robot"), second, "second", "gpuaas:dev"), NOW)
    later = NOW + timedelta(days=31)
    claims = replace(identity.claims("robot"), issued_at=later, expires_at=later + timedelta(seconds=60))
    old = sign(claims, identity.private, identity.signing_key_id, "gpuaas:dev")
    assert "key that is not valid now" in refused(access, old, later)


def test_a_signing_key_is_never_replaced_under_its_own_name(identity: Identity) -> None:
    access = knowing(identity)
    with pytest.raises(Unreadable):
        access.apply(identity.publish_signing_key(identity.signing_key_id, Ed25519PrivateKey.generate()))


def test_a_published_key_that_is_no_key_freezes_access(identity: Identity) -> None:
    access = knowing(identity)
    event = iam.SigningKeyPublished(
        key_id="odd", algorithm="Ed25519", public_key="A" * 42 + "-", valid_from=NOW, valid_until=NOW + timedelta(1)
    )
    odd = event.model_copy(update={"public_key": "short"})
    with pytest.raises(Unreadable, match="signing-key-published"):
        access.apply(identity.say(odd, "platform", "odd"))
    assert access.frozen


def test_only_so_many_tokens_are_remembered(identity: Identity) -> None:
    verifier = Verifier("gpuaas:dev", remembered_max=3)
    public = identity.private.public_key()
    verifier.learn(VerifyingKey(identity.signing_key_id, public, NOW - timedelta(1), NOW + timedelta(1)))
    for _ in range(10):
        verifier.verify(identity.token("robot"), NOW)
    assert len(verifier._remembered) == 3


def test_an_api_key_reads_back_and_a_typing_error_is_told_apart() -> None:
    key = new_api_key("demo", "k-1")
    assert read_api_key(key.text) == key
    assert (key.profile, key.key_id, len(key.sha256)) == ("demo", "k-1", 64)
    assert key.text not in repr(key)
    changed = key.text[:-10] + ("0" if key.text[-10] != "0" else "1") + key.text[-9:]
    with pytest.raises(Unauthenticated, match="checksum"):
        read_api_key(changed)


@pytest.mark.parametrize("text", ["", "gpk_", "gpk_demo_k_x_y", "gpk_" + "a" * 500, "sk_demo_k-1_" + "0" * 64 + "_0"])
def test_what_is_not_an_api_key_is_refused(text: str) -> None:
    with pytest.raises(Unauthenticated):
        read_api_key(text)


def test_nobody_is_signed_in_by_a_scope_alone() -> None:
    with pytest.raises(ValueError, match="named with its tenant"):
        Scope(None, "vision")
