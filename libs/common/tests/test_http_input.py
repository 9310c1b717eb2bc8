"""What a request may carry: cursors of ours, moments that stay what they are, texts that a table can keep."""

from __future__ import annotations

import base64
import json

import pytest
from gpuaas.common.envelope import data_of
from gpuaas.common.errors import Invalid
from gpuaas.common.http import Body, encode_cursor, paging
from gpuaas.contracts.iam import TenantCreated
from pydantic import AwareDatetime


class Until(Body):
    until: AwareDatetime | None = None


def cursor_of(keys: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(keys).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "keys", [[], {}, "a", 7, None, ["a"] * 9, [True], [1.5], [None], [["a"]], [2**63], [-(2**63) - 1], ["a\0b"]]
)
def test_a_cursor_that_nobody_gave_out_is_refused(keys: object) -> None:
    with pytest.raises(Invalid, match="begin again without it"):
        paging(50, cursor_of(keys))


@pytest.mark.parametrize("text", ["", "!", "bm8ganNvbg", "é", "[" * 900, cursor_of(["a"])[:-3]])
def test_a_cursor_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="begin again without it"):
        paging(50, text)


def test_a_cursor_is_taken_by_the_list_that_gave_it_out_and_by_no_other() -> None:
    assert paging(50, None).key(str) is None
    assert paging(50, encode_cursor(["a"])).key(str) == "a"
    assert paging(50, encode_cursor([2**63 - 1])).key(int) == 2**63 - 1
    for text in (["a", "b"], [7]):
        with pytest.raises(Invalid, match="begin again without it"):
            paging(50, encode_cursor(text)).key(str)
    with pytest.raises(Invalid, match="begin again without it"):
        paging(50, encode_cursor(["a"])).key(int)


@pytest.mark.parametrize(
    "moment",
    ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+14:00"],
)
def test_a_moment_that_would_turn_into_infinity_is_refused(moment: str) -> None:
    assert Until.model_validate({"until": "2026-11-25T00:00:00+01:00"}).until is not None
    assert Until().until is None
    with pytest.raises(ValueError, match="until must lie in the years 1900 to 2999"):
        Until.model_validate({"until": moment})


def test_an_event_with_a_nul_is_refused_before_it_is_said() -> None:
    def created(name: str) -> TenantCreated:
        return TenantCreated(tenant_id="acme", display_name=name, billing_currency="EUR")

    with pytest.raises(Invalid, match=r"tenant-created\.v1 holds the character U\+0000"):
        data_of(created("a\0b"))
    spelt = data_of(created("a\\u0000b"))
    assert json.loads(bytes(spelt))["display_name"] == "a\\u0000b"
