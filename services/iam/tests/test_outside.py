"""What iam fetches because a tenant names it. One law: nothing inside the platform is asked."""

from __future__ import annotations

import pytest
from gpuaas.common.clock import WallClock
from gpuaas.iam.adapters.openid import OpenId, ProviderAway, ProviderRefused
from gpuaas.iam.adapters.outside import NotOutside, Outside, is_public

INSIDE = ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "192.168.1.1", "[::ffff:10.0.0.1]"]
INSIDE += ["[fd00::1]", "[fe80::1]", "[64:ff9b::a00:1]", "[2002:a00:1::1]", "0.0.0.0", "224.0.0.1", "100.64.0.1"]


@pytest.mark.parametrize("host", INSIDE)
async def test_an_issuer_inside_is_refused_before_anything_is_sent(host: str) -> None:
    openid = OpenId(WallClock(), None, outside=Outside())
    with pytest.raises(ProviderRefused, match="public network"):
        await openid.about_workload(f"https://{host}:9", "an audience", "a.b.c")


async def test_keys_inside_are_refused_though_the_issuer_is_outside() -> None:
    with pytest.raises(NotOutside):
        await Outside().pinned("https://10.1.2.3/keys")


async def test_a_name_without_an_address_is_refused() -> None:
    with pytest.raises(NotOutside):
        await Outside().pinned("https://nowhere.invalid/keys")


async def test_the_connection_goes_to_the_address_that_was_looked_at_and_tls_to_the_name() -> None:
    url, given = await Outside().pinned("https://1.1.1.1/keys?a=b")
    assert url == "https://1.1.1.1:443/keys?a=b"
    assert given["headers"] == {"Host": "1.1.1.1"}
    assert given["extensions"] == {"sni_hostname": "1.1.1.1"}


async def test_an_operator_lets_one_origin_inside_be_asked_and_no_other() -> None:
    openid = OpenId(WallClock(), None, outside=Outside(frozenset({"https://127.0.0.1:9"})))
    with pytest.raises(ProviderAway):
        await openid.about_workload("https://127.0.0.1:9", "an audience", "a.b.c")
    with pytest.raises(ProviderRefused):
        await openid.about_workload("https://127.0.0.1:10", "an audience", "a.b.c")


def test_public_addresses_are_public() -> None:
    assert all(map(is_public, ("1.1.1.1", "2606:4700:4700::1111")))
