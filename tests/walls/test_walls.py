"""The house stands, and every wall turns red when a breach is planted in a small house like it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.walls import rules
from tests.walls.rules import RULES, Rule

ROOT = Path(__file__).parents[2]
CAPTION = '"""A file. One law: it is small."""\n'
SERVICE = "services/cafe"
INSIDE = f"{SERVICE}/gpuaas/cafe"
DOMAIN = f"{INSIDE}/domain/cup.py"
VERIFY = "libs/verify/gpuaas/verify/tree.py"

SOUND_HOUSE = {
    f"{SERVICE}/README.md": "# cafe\n",
    f"{SERVICE}/pyproject.toml": "[project]\n",
    f"{INSIDE}/__init__.py": "",
    f"{INSIDE}/app.py": CAPTION,
    DOMAIN: CAPTION
    + "from dataclasses import dataclass\nfrom datetime import datetime\n"
    + "from gpuaas.common.clock import rfc3339\nfrom gpuaas.common.errors import Rejected\n"
    + "from gpuaas.contracts.cafe import CupFilled\nfrom gpuaas.cafe.domain import saucer\n",
    VERIFY: CAPTION + "import hashlib\nfrom cryptography import x509\nfrom gpuaas.verify.note import read\n",
    "uv.lock": 'source = "https://py' + 'pi.org/simple"\n',
}

LONG_FUNCTION = "def f() -> None:\n" + "    x = 1\n" * rules.FUNCTION_LINES_MAX

BREACHES: list[tuple[Rule, str, str]] = [
    (rules.functions_are_short, f"{INSIDE}/api.py", CAPTION + LONG_FUNCTION),
    (
        rules.functions_are_short,
        "tests/test_x.py",
        CAPTION + "class A:\n    async " + LONG_FUNCTION.replace("\n", "\n    "),
    ),
    (rules.files_are_short, f"{INSIDE}/api.py", CAPTION + "x = 1\n" * rules.FILE_LINES_MAX),
    (rules.init_files_are_empty, f"{INSIDE}/__init__.py", "from gpuaas.cafe.app import main\n"),
    (rules.init_files_are_empty, f"{SERVICE}/gpuaas/__init__.py", ""),
    (rules.names_say_what_is_inside, f"{INSIDE}/domain/utils.py", CAPTION),
    (rules.names_say_what_is_inside, f"{INSIDE}/domain/helpers/cup.py", CAPTION),
    (rules.every_file_has_a_caption, f"{INSIDE}/api.py", "x = 1\n"),
    (rules.every_file_has_a_caption, "tests/flows/test_x.py", "# a comment is no caption\n"),
    (rules.services_have_one_shape, f"{INSIDE}/handlers.py", CAPTION),
    (rules.services_have_one_shape, f"{INSIDE}/workers/brewer.py", CAPTION),
    (rules.services_have_one_shape, f"{SERVICE}/scripts/brew.py", CAPTION),
    (rules.services_have_one_shape, "services/bar/README.md", "# no app.py\n"),
    (rules.domains_are_pure, DOMAIN, CAPTION + "import asyncio\n"),
    (rules.domains_are_pure, DOMAIN, CAPTION + "import random\n"),
    (rules.domains_are_pure, DOMAIN, CAPTION + "from gpuaas.common.commands import Cause\n"),
    (rules.domains_are_pure, DOMAIN, CAPTION + "from gpuaas.common.clock import WallClock\n"),
    (rules.domains_are_pure, DOMAIN, CAPTION + "from gpuaas.common import log\n"),
    (rules.domains_are_pure, DOMAIN, CAPTION + "from gpuaas.cafe.projections import cups\n"),
    (rules.domains_are_pure, DOMAIN, CAPTION + "from gpuaas.bar.domain import glass\n"),
    (rules.domains_are_pure, DOMAIN, CAPTION + "from .. import app\n"),
    (rules.domains_are_pure, DOMAIN, CAPTION + "import sqlalchemy\n"),
    (rules.domains_are_pure, DOMAIN, CAPTION + "async def brew() -> None: ...\n"),
    (rules.domains_are_pure, DOMAIN, CAPTION + "from datetime import datetime\nx = datetime.now()\n"),
    (rules.verifier_stands_alone, VERIFY, CAPTION + "from gpuaas.common.errors import Invalid\n"),
    (rules.verifier_stands_alone, VERIFY, CAPTION + "import httpx\n"),
    (rules.nothing_names_a_machine, "README.md", "see /ro" + "ot/notes\n"),
    (rules.nothing_names_a_machine, "Makefile", "cd /wo" + "rk/main\n"),
    (rules.nothing_names_a_machine, "deploy/x.yml", "path: /ho" + "me/anna/x\n"),
    (rules.nothing_names_a_machine, "deploy/x.yml", "image: gh" + "cr.io/x/y\n"),
    (rules.nothing_names_a_machine, "README.md", "from https://py" + "pi.org/simple\n"),
    (rules.nothing_is_left_for_later, f"{INSIDE}/api.py", CAPTION + "# TO" + "DO: later\n"),
]


def built(root: Path, *plans: dict[str, str]) -> Path:
    """A small house: files by relative path, later plans over earlier ones."""
    for plan in plans:
        for name, text in plan.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, "utf-8")
    return root


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_walls(rule: Rule) -> None:
    assert "\n".join(map(str, sorted(rule(ROOT)))) == ""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_sound_house_breaks_no_wall(rule: Rule, tmp_path: Path) -> None:
    assert list(rule(built(tmp_path, SOUND_HOUSE))) == []


@pytest.mark.parametrize(
    ("rule", "path", "text"), BREACHES, ids=lambda given: getattr(given, "__name__", "") or repr(given)[:40]
)
def test_a_planted_breach_is_seen(rule: Rule, path: str, text: str, tmp_path: Path) -> None:
    seen = list(rule(built(tmp_path, SOUND_HOUSE, {path: text})))
    assert seen
    assert all(breach.path.startswith(path.rsplit("/", 2)[0].split("/", 2)[0]) for breach in seen)


def test_every_wall_has_a_planted_breach() -> None:
    assert {rule for rule, _, _ in BREACHES} == set(RULES)


def test_no_excuse_outlives_its_cause() -> None:
    for extra in rules.SERVICE_EXTRAS:
        service, name = extra.split("/")
        assert (ROOT / "services" / service / "gpuaas" / service / name).exists(), f"{extra} is excused and absent"


def test_git_decides_what_belongs_to_the_house() -> None:
    kept = {path.as_posix() for path in rules.tracked_files(ROOT)}
    assert "tests/walls/rules.py" in kept
    assert not any(path.startswith((".venv/", ".state/")) for path in kept)
