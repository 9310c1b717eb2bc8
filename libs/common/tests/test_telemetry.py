"""What is struck out of a log line, and what stands in it. One law: a secret is one wherever it turns up."""

from __future__ import annotations

import json
import logging

import pytest
from gpuaas.common.telemetry import _JsonLines, about, struck_out, tenant_in


@pytest.mark.parametrize(
    ("said", "secret"),
    [
        ("cannot reach postgresql://gpuaas_iam:Hunter2Hunter2@db:5432/x", "Hunter2Hunter2"),
        ("nats://iam:pw-1@a:4222,nats://iam:pw-1@b:4222 do not answer", "pw-1"),
        ("no key gpk_demo_bootstrap_s3cr3tpart_crc is known", "s3cr3tpart"),
        ("headers: {'authorization': 'Bearer abc.def-ghi'}", "abc.def-ghi"),
        ("token eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2ln expired", "eyJzdWIiOiJhIn0"),
        ("user ada@example.org was registered before", "ada@example.org"),
        ("-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----", "MC4CAQ"),
    ],
)
def test_secrets_and_mail_addresses_are_struck_out(said: str, secret: str) -> None:
    assert secret in said
    assert secret not in struck_out(said)
    assert struck_out("projection nodes_v1 stopped after 12 on events.iam.user.platform.u-1") == (
        "projection nodes_v1 stopped after 12 on events.iam.user.platform.u-1"
    )


def test_a_line_names_the_tenant_it_is_about_and_an_exception_tells_no_secret() -> None:
    try:
        raise OSError("postgresql://a:topsecretvalue@db is away")
    except OSError as away:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed: %s", ("ada@example.org",), None)
        record.exc_info = (type(away), away, away.__traceback__)
    with about(tenant_in("/v1/tenants/acme/projects/p")):
        line = json.loads(_JsonLines("iam").format(record))
    assert (line["tenant_id"], line["service"], line["level"]) == ("acme", "iam", "error")
    assert "topsecretvalue" not in json.dumps(line)
    assert "ada@example.org" not in json.dumps(line)
    assert "tenant_id" not in json.loads(_JsonLines("iam").format(record))
    assert tenant_in("/v1/nodes") is None
