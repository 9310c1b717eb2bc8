"""Disks that fill up and lose their power. One law: a small file system of its own, so that nothing else is touched.

Both need root and, for the power cut, loop devices; a drill that cannot have them is skipped and says so.
The cut is EXT4_IOC_SHUTDOWN without flushing the journal: it drops dirty pages and the running transaction, as a power
failure does. What was synced is there after the journal's replay, and what was not is gone.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

_SHUTDOWN: Final = 0x8004587D
_NO_LOG_FLUSH: Final = 2
UNMOUNT_TRIES: Final = 100
BALLAST_STEP: Final = 64 << 10


def _told(*words: str) -> str:
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise OSError(f"{' '.join(words)}: {ran.stderr.strip()}")
    return ran.stdout


@dataclass(slots=True)
class SmallDisk:
    """A file system that can be filled."""

    at: Path

    @property
    def _ballast(self) -> Path:
        return self.at / ".ballast"

    def fill(self) -> int:
        """Take every free byte; how many those were."""
        taken = 0
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for size in (BALLAST_STEP, 512):
                with suppress(OSError):
                    while True:
                        taken += os.write(descriptor, bytes(size))
        finally:
            os.close(descriptor)
        return taken

    def relieve(self) -> None:
        """Give the bytes back."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(at: Path, size_mib: int) -> Iterator[SmallDisk]:
    """A file system in memory, mounted at `at`."""
    _needs_root()
    at.mkdir(parents=True, exist_ok=True)
    try:
        _told("mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=711", "gpuaas-drill", str(at))
    except OSError as refused:
        pytest.skip(f"a file system of its own cannot be mounted here: {refused}")
    try:
        yield SmallDisk(at)
    finally:
        _unmounted(at)


@dataclass(slots=True)
class FragileDisk:
    """An ext4 whose power can be cut."""

    image: Path
    at: Path

    def mount(self) -> None:
        _told("mount", "-o", "loop,noatime", str(self.image), str(self.at))

    def cut(self) -> None:
        """The power is gone: nothing more reaches the disk."""
        descriptor = os.open(self.at, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def back(self) -> None:
        """The power is back; whoever had files open must be gone."""
        _unmounted(self.at)
        self.mount()


@contextmanager
def fragile_disk(at: Path, beside: Path, size_mib: int) -> Iterator[FragileDisk]:
    """An ext4 in the file `beside`, mounted at `at`."""
    _needs_root()
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed")
    at.mkdir(parents=True, exist_ok=True)
    with beside.open("wb") as file:
        file.truncate(size_mib << 20)
    disk = FragileDisk(beside, at)
    try:
        _told("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(beside))
        disk.mount()
    except OSError as refused:
        pytest.skip(f"a loop device cannot be mounted here: {refused}")
    at.chmod(0o711)
    try:
        yield disk
    finally:
        _unmounted(at)
        beside.unlink()


def _needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")


def _unmounted(at: Path) -> None:
    for _ in range(UNMOUNT_TRIES):
        try:
            _told("umount", str(at))
            return
        except OSError:
            time.sleep(0.1)
    _told("umount", "-l", str(at))
