"""What every `Vault` must keep: inherit this and give `vault`. One law: a destroyed key is never a key again."""

from __future__ import annotations

import asyncio

import pytest
from gpuaas.common.sealing import KEY_BYTES, Destroyed, Vault


class VaultContract:
    """The suite; `vault` is a fixture with an empty vault."""

    async def test_a_person_has_one_key(self, vault: Vault) -> None:
        first = await vault.key_for("mira")
        assert len(first) == KEY_BYTES
        assert await vault.key_for("mira") == first
        assert await vault.key_for("noor") != first

    async def test_who_asks_at_the_same_time_gets_the_same_key(self, vault: Vault) -> None:
        assert len(set(await asyncio.gather(*(vault.key_for("mira") for _ in range(8))))) == 1

    async def test_keys_are_given_together_and_strangers_left_out(self, vault: Vault) -> None:
        mira = await vault.key_for("mira")
        assert await vault.keys_of(["noor", "mira"]) == {"mira": mira}
        many = [f"person-{number}" for number in range(600)]
        made = {each: await vault.key_for(each) for each in many[::50]}
        assert await vault.keys_of(many) == made

    async def test_a_destroyed_key_is_marked_and_never_made_again(self, vault: Vault) -> None:
        await vault.key_for("mira")
        assert await vault.destroy("mira") is True
        assert await vault.destroy("mira") is False
        assert await vault.keys_of(["mira"]) == {"mira": None}
        with pytest.raises(Destroyed):
            await vault.key_for("mira")

    async def test_who_never_had_a_key_gets_none_after_an_erasure(self, vault: Vault) -> None:
        assert await vault.destroy("ghost") is False
        with pytest.raises(Destroyed):
            await vault.key_for("ghost")
