"""What a provider may sign and what is not believed. One law: every way of being wrong is refused by itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from gpuaas.iam.adapters.id_tokens import NotBelieved, UnknownKey, Wanted, believed

NOW = datetime(2026, 8, 3, 9, 0, tzinfo=UTC)
AT = int(NOW.timestamp())
WANTED = Wanted(issuer="https://login.example.com", client_id="gpuaas", nonce="n-1")
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
GOOD: dict[str, Any] = {
    "iss": "https://login.example.com",
    "aud": "gpuaas",
    "sub": "248289761001",
    "nonce": "n-1",
    "iat": AT - 5,
    "exp": AT + 300,
}


def jwk(kid: str, private: Any, **more: Any) -> dict[str, Any]:
    algorithm: Any = {"RSA": jwt.algorithms.RSAAlgorithm, "EC": jwt.algorithms.ECAlgorithm}.get(
        "RSA" if isinstance(private, rsa.RSAPrivateKey) else "EC" if private is EC else "",
        jwt.algorithms.OKPAlgorithm,
    )
    found: dict[str, Any] = json.loads(algorithm.to_jwk(private.public_key()))
    return found | {"kid": kid, "use": "sig"} | more


KEYS = [jwk("r", RSA), jwk("e", EC), jwk("o", ED), jwk("short", SHORT)]


def signed(claims: dict[str, Any], private: Any = RSA, algorithm: str = "RS256", **header: Any) -> str:
    return jwt.encode(claims, private, algorithm=algorithm, headers={"kid": "r"} | header)


def raw(header: str, claims: str) -> str:
    """A token of these very texts, rightly signed."""
    text = ".".join(base64.urlsafe_b64encode(each.encode()).decode().rstrip("=") for each in (header, claims))
    signature = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(text.encode(), RSA)
    return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def refused(token: str, keys: list[dict[str, Any]] = KEYS) -> str:
    with pytest.raises(NotBelieved) as told:
        believed(token, keys, WANTED, NOW)
    return str(told.value)


@pytest.mark.parametrize(("private", "algorithm", "kid"), [(RSA, "RS256", "r"), (EC, "ES256", "e"), (ED, "EdDSA", "o")])
def test_a_right_token_is_believed(private: Any, algorithm: str, kid: str) -> None:
    assert believed(signed(GOOD, private, algorithm, kid=kid), KEYS, WANTED, NOW)["sub"] == "248289761001"
    assert believed(signed(GOOD | {"aud": ["gpuaas"], "azp": "gpuaas"}), KEYS, WANTED, NOW)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"iss": "https://login.example.com/"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "another"}, "audience"),
        ({"aud": ["gpuaas", "another"]}, "audience"),
        ({"aud": []}, "audience"),
        ({"azp": "another"}, "another client"),
        ({"nonce": "n-2"}, "does not answer"),
        ({"nonce": None}, "does not answer"),
        ({"nonce": ["n-1"]}, "does not answer"),
        ({"sub": ""}, "subject"),
        ({"sub": 7}, "subject"),
        ({"sub": "a" * 256}, "subject"),
        ({"sub": "mira\u0430"}, "subject"),
        ({"sub": "mira\u0007"}, "subject"),
        ({"exp": AT - 60}, "expired"),
        ({"exp": "never"}, "from when until when"),
        ({"exp": None}, "from when until when"),
        ({"iat": None}, "from when until when"),
        ({"iat": True}, "from when until when"),
        ({"nbf": AT + 61}, "future"),
        ({"iat": AT + 61, "exp": AT + 400}, "future"),
        ({"iat": AT - 661}, "long before"),
    ],
)
def test_a_claim_that_is_wrong_is_enough(changed: dict[str, Any], why: str) -> None:
    claims = {name: value for name, value in (GOOD | changed).items() if value is not None}
    assert why in refused(signed(claims))


def test_clocks_may_differ_by_a_minute() -> None:
    for skew_s in (-59, 59):
        moved = GOOD | {"iat": AT + skew_s, "nbf": AT + skew_s, "exp": AT + skew_s + 5}
        assert believed(signed(moved), KEYS, WANTED, NOW)
    with pytest.raises(NotBelieved):
        believed(signed(GOOD), KEYS, WANTED, NOW + timedelta(minutes=7))


def test_a_token_without_a_signature_is_not_believed() -> None:
    assert "'none'" in refused(jwt.encode(GOOD, "", algorithm="none"))


def test_a_public_key_is_no_shared_secret() -> None:
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header, claims = ({"alg": "HS256", "kid": "r"}, GOOD)
    text = ".".join(
        base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in (header, claims)
    )
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(text.encode(), pem)
    assert "'HS256'" in refused(f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}")


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (lambda: signed(GOOD, EC, "ES256", kid="r"), "does not show"),
        (lambda: signed(GOOD, RSA, "PS256", kid="e"), "does not show"),
        (lambda: signed(GOOD, RSA, kid="other"), "does not show"),
        (lambda: signed(GOOD, SHORT, kid="short"), "shorter"),
        (lambda: signed(GOOD, rsa.generate_private_key(public_exponent=65537, key_size=2048)), "erification failed"),
        (lambda: raw('{"alg":"RS256"}', json.dumps(GOOD)), "which of the provider's keys"),
        (lambda: raw('{"alg":"RS256","kid":["r"]}', json.dumps(GOOD)), "no text"),
        (lambda: raw('{"alg":"RS256","kid":"r","crit":["exp"],"exp":1}', json.dumps(GOOD)), "critical"),
        (lambda: raw('{"alg":"RS256","kid":"r","b64":false}', json.dumps(GOOD)), "critical"),
        (lambda: raw('{"alg":"none","alg":"RS256","kid":"r"}', json.dumps(GOOD)), "twice"),
        (lambda: raw('{"alg":"RS256","kid":"r"}', json.dumps(GOOD)[:-1] + ',"sub":"admin"}'), "twice"),
        (lambda: raw('{"alg":"RS256","kid":"r"}', json.dumps(GOOD)[:-1] + ',"x":' + "[" * 9 + "]" * 9 + "}"), "deeper"),
        (lambda: raw('{"alg":"RS256","kid":"r"}', '{"x":' + "[" * 3000 + "]" * 3000 + "}"), "deep"),
        (lambda: raw('{"alg":"RS256","kid":"r"}', json.dumps(GOOD | {"x": "y" * 13_000})), "characters"),
        (
            lambda: raw('{"alg":"RS256","kid":"r"}', json.dumps(GOOD | {"x": "y" * 10_200})[:-1] + " " * 300 + "}"),
            "larger",
        ),
        (lambda: raw('{"alg":"RS256","kid":"r"}', json.dumps(GOOD).replace(str(AT + 300), "NaN")), "no number"),
        (lambda: raw('{"alg":"RS256","kid":"r"}', '["a"]'), "not a JSON object"),
        (lambda: "a.b", "three parts"),
        (lambda: signed(GOOD).replace(".", "..", 1), "three parts"),
        (lambda: signed(GOOD) + "=", "erification failed"),
    ],
)
def test_tricks_with_keys_headers_and_texts_are_refused(token: Callable[[], str], why: str) -> None:
    said = refused(token())
    assert why in said or "padding" in said, said


def test_a_key_that_is_for_something_else_signs_nothing() -> None:
    token = signed(GOOD)
    for key in (jwk("r", RSA, use="enc"), jwk("r", RSA, alg="PS256"), jwk("r", RSA) | {"d": "x"}, {"kid": "r"}):
        with pytest.raises(UnknownKey):
            believed(token, [key], WANTED, NOW)
    refused(token, [{"kty": "RSA", "kid": "r"}])
    refused(token, [{"kty": "RSA", "kid": "r", "n": 7, "e": {}}])
