"""What a provider signed about a person. One law: believed for one issuer, one client, one browser's question, and now.

PyJWT checks the signature; what it leaves open is decided here: which algorithms, which key, times by a clock that is
handed in, one audience and no more, and no text that two readers could read differently.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from gpuaas.common.strict_json import read_part

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "EdDSA", "RS384", "RS512", "PS384", "PS512", "ES512")
"""Signatures with a public key only: an algorithm whose key a client shares is none between it and a provider."""
TOKEN_BYTES_MAX: Final = 16_384
CLAIMS_BYTES_MAX: Final = 10_240
HEADER_BYTES_MAX: Final = 2_048
SKEW_S: Final = 60
"""How far the provider's clock and ours may be apart."""
AGE_S_MAX: Final = 600
"""An ID token is the answer to a question that we asked minutes ago."""
RSA_BITS_MIN: Final = 2048
SUBJECT_MAX: Final = 255


class NotBelieved(ValueError):
    """The token is not what it should be; the sentence says why."""


class UnknownKey(NotBelieved):
    """It is signed with a key that is not among those known: the provider may have turned them."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose word on whose behalf, and the answer to which question."""

    issuer: str
    client_id: str
    nonce: str


def believed(token: str, keys: Sequence[Mapping[str, Any]], wanted: Wanted, now: datetime) -> dict[str, Any]:
    """The claims of an ID token (OpenID Connect Core 3.1.3.7).

    Raises:
        UnknownKey: look whether the provider has newer keys.
        NotBelieved: anything else about it is wrong.
    """
    _, claims = signed_claims(token, keys)
    _demand(claims, wanted)
    _demand_times(claims, now)
    return claims


def signed_claims(token: str, keys: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token that one of the keys signed; what the claims say is not looked at.

    Raises:
        UnknownKey: look whether there are newer keys.
        NotBelieved: it is not whole, can be read in two ways, or is signed in a way that is not believed here.
    """
    parts = token.split(".")
    if len(token) > TOKEN_BYTES_MAX or len(parts) != 3 or not token.isascii():
        raise NotBelieved(f"such a token has three parts and at most {TOKEN_BYTES_MAX:,} characters")
    try:
        header = read_part(parts[0], bytes_max=HEADER_BYTES_MAX, depth_max=4)
        claims = read_part(parts[1], bytes_max=CLAIMS_BYTES_MAX)
        if "crit" in header or "b64" in header:
            raise NotBelieved("it has a critical header that nobody here understands")
        algorithm, key = _key(header, keys)
        jwt.decode(token, key, algorithms=[algorithm], options=_SIGNATURE_ONLY)
    except NotBelieved:
        raise
    except (jwt.PyJWTError, ValueError, TypeError) as wrong:
        raise NotBelieved(str(wrong)) from wrong
    return header, claims


_SIGNATURE_ONLY: Final[Any] = {
    "verify_signature": True,
    **dict.fromkeys(("verify_exp", "verify_iat", "verify_nbf", "verify_aud", "verify_iss", "verify_sub"), False),
}


def _key(header: Mapping[str, Any], keys: Sequence[Mapping[str, Any]]) -> tuple[str, Any]:
    """The algorithm of a token and the provider's one key that fits it and its header."""
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise NotBelieved(f"it is signed with {str(algorithm)[:20]!r}, which is not believed here")
    if kid is not None and not isinstance(kid, str):
        raise NotBelieved("its key id is no text")
    fitting = [each for each in keys if _fits(each, str(algorithm), kid)]
    if not fitting:
        raise UnknownKey("it is signed with a key that the provider does not show")
    if len(fitting) > 1:
        raise NotBelieved("it does not say which of the provider's keys signed it")
    key = jwt.PyJWK(dict(fitting[0]), algorithm=str(algorithm)).key
    if isinstance(key, RSAPublicKey) and key.key_size < RSA_BITS_MIN:
        raise NotBelieved(f"the provider's key is shorter than {RSA_BITS_MIN} bits")
    return str(algorithm), key


_KTY: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


def _fits(key: Mapping[str, Any], algorithm: str, kid: str | None) -> bool:
    return (
        key.get("kty") == _KTY[algorithm[:2]]
        and key.get("alg") in (None, algorithm)
        and key.get("use") in (None, "sig")
        and (kid is None or key.get("kid") == kid)
        and "d" not in key
    )


def _demand(claims: Mapping[str, Any], wanted: Wanted) -> None:
    subject, nonce = claims.get("sub"), claims.get("nonce")
    audience = claims.get("aud")
    if claims.get("iss") != wanted.issuer:
        raise NotBelieved("it is another issuer's")
    if audience not in (wanted.client_id, [wanted.client_id]):
        raise NotBelieved("it is for another audience, or for further ones")
    if claims.get("azp") not in (None, wanted.client_id):
        raise NotBelieved("it was given to another client")
    if not isinstance(nonce, str) or not nonce.isascii() or not hmac.compare_digest(nonce, wanted.nonce):
        raise NotBelieved("it does not answer this sign-in")
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_MAX or not subject.isascii():
        raise NotBelieved("its subject is no text of 1 to 255 ASCII characters")
    if not subject.isprintable():
        raise NotBelieved("its subject holds characters that do not show")


def _demand_times(claims: Mapping[str, Any], now: datetime) -> None:
    at = now.timestamp()
    issued, expires, not_before = (claims.get(name) for name in ("iat", "exp", "nbf"))
    for moment in (issued, expires, not_before if not_before is not None else 0):
        if type(moment) not in (int, float):
            raise NotBelieved("it does not say from when until when it is good")
    assert isinstance(issued, int | float)
    assert isinstance(expires, int | float)
    if at >= expires + SKEW_S:
        raise NotBelieved("it has expired")
    if issued > at + SKEW_S or (isinstance(not_before, int | float) and not_before > at + SKEW_S):
        raise NotBelieved("it is of the future: a clock is wrong")
    if issued < at - AGE_S_MAX - SKEW_S:
        raise NotBelieved("it was issued long before this sign-in")
