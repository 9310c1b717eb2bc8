"""A real Ironic and a real Redfish emulator, installed by `make ironic-lane`. One law: what is started is stopped.

Standalone: one process, SQLite, no authentication, on ports of this test run only.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S_MAX = 60.0
STOP_S_MAX = 2.0
"""It keeps nothing that is worth waiting for."""
SYSTEMS = {
    "n-1": "27946b59-9e44-4fa7-8e91-f3527a1ef001",
    "n-2": "27946b59-9e44-4fa7-8e91-f3527a1ef002",
}
"""Node id → the emulator's system."""

CONF = """\
[DEFAULT]
auth_strategy = noauth
rpc_transport = none
host = localhost
state_path = {home}/state
log_dir = {home}/log
enabled_hardware_types = fake-hardware,redfish
enabled_power_interfaces = fake,redfish
enabled_management_interfaces = fake,noop,redfish
enabled_boot_interfaces = fake,redfish-virtual-media
enabled_deploy_interfaces = fake,ramdisk
enabled_inspect_interfaces = no-inspect,fake,redfish
enabled_bios_interfaces = no-bios,fake
enabled_raid_interfaces = no-raid,fake
enabled_firmware_interfaces = no-firmware,fake
enabled_vendor_interfaces = no-vendor,fake
enabled_network_interfaces = noop
default_network_interface = noop
[api]
host_ip = 127.0.0.1
port = {port}
[database]
connection = sqlite:///{home}/ironic.sqlite
[conductor]
sync_power_state_interval = -1
[redfish]
connection_attempts = 1
connection_retry_interval = 1
[oslo_concurrency]
lock_path = {home}/locks
[oslo_messaging_notifications]
driver = noop
"""
EMULATOR = """\
SUSHY_EMULATOR_LISTEN_IP = "127.0.0.1"
SUSHY_EMULATOR_LISTEN_PORT = {port}
SUSHY_EMULATOR_FAKE_DRIVER = True
SUSHY_EMULATOR_STATE_DIR = "{home}"
SUSHY_EMULATOR_FAKE_SYSTEMS = {systems}
"""


@dataclass(frozen=True, slots=True)
class Lane:
    """Where both listen."""

    ironic: str
    redfish: str


def installed() -> Path | None:
    """The lane's programs, or None: `make ironic-lane` installs them below the state directory."""
    root = Path(__file__).resolve().parents[3]
    state = Path(os.environ.get("GPUAAS_STATE_DIR") or root / ".state")
    programs = state / "ironic" / "venv" / "bin"
    return programs if (programs / "ironic").exists() and (programs / "sushy-emulator").exists() else None


@contextmanager
def lane(programs: Path, home: Path) -> Iterator[Lane]:
    """Both, running, for as long as the block."""
    ports = _free_ports(2)
    for folder in ("state", "log", "locks"):
        (home / folder).mkdir()
    (home / "ironic.conf").write_text(CONF.format(home=home, port=ports[0]))
    systems = [{"uuid": uuid, "name": name, "power_state": "On", "nics": []} for name, uuid in SYSTEMS.items()]
    (home / "emulator.conf").write_text(EMULATOR.format(home=home, port=ports[1], systems=json.dumps(systems)))
    conf = ["--config-file", str(home / "ironic.conf")]
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
    made = subprocess.run(
        [programs / "ironic-dbsync", *conf, "create_schema"], env=quiet, capture_output=True, check=False
    )
    assert made.returncode == 0, made.stderr.decode()[-2_000:]
    told = (home / "out.log").open("wb")
    commands: Sequence[list[str | Path]] = (
        [programs / "ironic", *conf],
        [programs / "sushy-emulator", "--config", home / "emulator.conf"],
    )
    running = [subprocess.Popen(command, env=quiet, stdout=told, stderr=told) for command in commands]
    try:
        found = Lane(f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}")
        _answers(f"{found.ironic}/v1/drivers", running, home / "out.log")
        _answers(f"{found.redfish}/redfish/v1/Systems", running, home / "out.log")
        yield found
    finally:
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        told.close()


def _answers(url: str, running: Sequence[subprocess.Popen[bytes]], told: Path) -> None:
    until = time.monotonic() + START_S_MAX
    while time.monotonic() < until:
        assert all(process.poll() is None for process in running), told.read_text()[-2_000:]
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200 and (b"fake-hardware" in answer.read() or "redfish" in url):
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"{url} does not answer: {told.read_text()[-2_000:]}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
