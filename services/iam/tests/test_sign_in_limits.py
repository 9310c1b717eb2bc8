"""Guessing passwords. One law: it is slowed whether the account exists or not, and cannot fill the log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gpuaas.common.errors import Misconfigured
from gpuaas.iam.attempts import Attempts
from gpuaas.iam.settings import IamSettings
from iam_door import Iam
from people import person, said, sign_in


async def test_guessing_is_slowed_whether_the_account_exists_or_not(iam: Iam) -> None:
    mira = await person(iam)
    for email in (mira.email, "nobody@example.com"):
        answers = [await sign_in(iam, email, "not my password") for _ in range(12)]
        assert [answer.status_code for answer in answers[:10]] == [401] * 10
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) >= 1
    assert (await sign_in(iam, mira.email)).status_code == 429, (
        "a limit that lets the right one through would be an oracle"
    )


def test_a_right_attempt_is_given_back() -> None:
    attempts = Attempts(burst=2, every_s=1_000.0)
    for _ in range(10):
        assert attempts.take("mira") == 0.0
        attempts.give_back("mira")
    assert attempts.take("mira") == 0.0
    assert attempts.take("mira") == 0.0
    assert attempts.take("mira") > 0.0
    assert attempts.take("kim") == 0.0


async def test_failures_become_one_event_per_account_however_many_there_are(iam: Iam) -> None:
    mira = await person(iam)
    for _ in range(12):
        await sign_in(iam, mira.email, password="not my password")
    for number in range(5):
        await sign_in(iam, f"nobody-{number}@example.com")
    before = await iam.service.log.last_position()
    failures = next(work for name, work in iam.service._background if name == "failed sign-ins")
    await failures.__self__.tell()  # type: ignore[attr-defined]
    told = [each.envelope() for each in (await said(iam)) if each.position > before]
    assert [each.type for each in told] == ["gpuaas.iam.sign-ins-failed.v1"] * 2
    by_account = {data.get("user_id"): data for data in (json.loads(bytes(each.data)) for each in told)}
    assert (by_account[mira.id]["attempts"], by_account[mira.id]["limited"]) == (10, 2)
    assert by_account[None]["attempts"] == 5
    await failures.__self__.tell()  # type: ignore[attr-defined]
    assert len([each for each in await said(iam) if each.position > before]) == 2


@pytest.mark.parametrize("profile", ["staging", "production"])
def test_durable_profiles_take_no_passwords(profile: str, tmp_path: Path) -> None:
    assert not IamSettings.model_validate({"profile": profile, "state_dir": tmp_path}).passwords_allowed
    with pytest.raises(Misconfigured, match="provider"):
        IamSettings.from_environment({"GPUAAS_PROFILE": profile, "GPUAAS_IAM_PASSWORDS": "true"})
