"""The state folder of a stack on one machine. One law: one owner at a time, and secrets are for its user only.

lock  version  endpoints.json  incarnation  secrets/  nats/  postgres/  services/<name>/  logs/<name>.log
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from gpuaas.common.embedded.process import free_port, port_is_free
from gpuaas.common.embedded.secrets_file import kept_secret, write_private
from gpuaas.common.errors import GpuaasError, Misconfigured

STATE_DIR_VARIABLE: Final = "GPUAAS_STATE_DIR"
STATE_VERSION: Final = "1"
OPERATOR_KEY: Final = "operator.key"


class AlreadyRunning(GpuaasError):
    """Another process owns this state folder; the facts carry its `pid` and `endpoints`."""

    code = "already-running"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a running stack is reached. Written to `endpoints.json`; secrets are named by file, never contained.

    Attributes:
        pid: the process that owns the stack; 0 when a container engine does, which keeps no lock here.
        services: service name → base URL.
        nats_url, nats_monitor_url: the broker (all its servers, separated by commas) and the first one's monitoring
            page, without credentials.
        nats_password_files: NATS user → file with its password.
        postgres_url: the database server, without credentials; the superuser is `postgres`.
        operator_key_file: file with the first operator's API key.
    """

    pid: int
    profile: str
    state_dir: str
    services: Mapping[str, str]
    nats_url: str
    nats_monitor_url: str
    nats_password_files: Mapping[str, str]
    postgres_url: str
    postgres_password_file: str
    operator_key_file: str
    ports: Mapping[str, int] = field(default_factory=dict)

    def operator_key(self) -> str:
        """The first operator's API key, whole."""
        return Path(self.operator_key_file).read_text("utf-8").strip()

    def nats_url_of(self, user: str) -> str:
        """The broker's URLs that sign in as `user`, separated by commas."""
        password = Path(self.nats_password_files[user]).read_text("utf-8").strip()
        return self.nats_url.replace("nats://", f"nats://{user}:{password}@")


def default_state_dir(environment: Mapping[str, str] | None = None) -> Path:
    """`GPUAAS_STATE_DIR`, or `.state` in the working folder."""
    return Path((os.environ if environment is None else environment).get(STATE_DIR_VARIABLE) or ".state").absolute()


def running_endpoints(state_dir: Path) -> Endpoints:
    """Where the stack on `state_dir` is reached.

    Raises:
        Misconfigured: none runs there.
    """
    found = _read_endpoints(state_dir)
    if found is None or (found.pid and not is_owned(state_dir)):
        raise Misconfigured(f"nothing runs on {state_dir}; start it with `gpuaas up` (or set {STATE_DIR_VARIABLE})")
    return found


def is_owned(state_dir: Path) -> bool:
    """Whether a live process holds the folder's lock."""
    try:
        with (state_dir / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


class StateFolder:
    """The folder while this process owns it, between `take()` and `release()`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    def take(self) -> None:
        """Make the folder if there is none and become its owner.

        Raises:
            AlreadyRunning: somebody else is.
            Misconfigured: it cannot be written, or another version of this program made it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # Root's servers run as another user, who must pass through; everything secret inside has 0600 or 0700.
            self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
            self._lock = self._locked()
            for part, mode in (("secrets", 0o700), ("services", 0o700), ("logs", 0o700)):
                (self.path / part).mkdir(mode=mode, exist_ok=True)
        except OSError as refused:
            raise Misconfigured(
                f"{self.path} cannot hold the state ({refused.strerror}); set {STATE_DIR_VARIABLE} to another folder"
            ) from refused
        self._check_version()

    def release(self) -> None:
        """Give the folder back; its contents stay. Safe to call twice."""
        if self._lock is not None:
            self.endpoints_path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    @property
    def endpoints_path(self) -> Path:
        return self.path / "endpoints.json"

    def write_endpoints(self, endpoints: Endpoints) -> None:
        """Tell other processes where this stack is, and remember its ports for the next start."""
        write_private(self.endpoints_path, json.dumps(asdict(endpoints), indent=2) + "\n")
        write_private(self.path / "ports.json", json.dumps(dict(endpoints.ports)) + "\n")

    def secret(self, name: str) -> str:
        """The secret called `name`, made on first use."""
        return kept_secret(self.secret_path(name))

    def secret_path(self, name: str) -> Path:
        return self.path / "secrets" / name

    def log_path(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    def service_dir(self, name: str) -> Path:
        """The service's own folder for what is not in the log."""
        made = self.path / "services" / name
        made.mkdir(mode=0o700, exist_ok=True)
        return made

    def port(self, name: str, preferred: int | None, environment: Mapping[str, str]) -> int:
        """A port for `name`: `GPUAAS_<NAME>_PORT`, else the last start's, else `preferred`, else any that is free.

        `GPUAAS_PORTS=any` prefers none: for several suites that start on one machine at the same time.

        Raises:
            Misconfigured: the variable names no free port.
        """
        variable = f"GPUAAS_{name.upper()}_PORT"
        if given := environment.get(variable):
            if given.isdigit() and 0 < int(given) < 65536 and port_is_free(int(given)):
                return int(given)
            raise Misconfigured(f"{variable}={given} is not a free port on 127.0.0.1; choose another or unset it")
        usual = None if environment.get("GPUAAS_PORTS") == "any" else preferred
        for port in (self._last_ports().get(name), usual):
            if isinstance(port, int) and port_is_free(port):
                return port
        return free_port()

    def check_incarnation(self, found: str) -> None:
        """Compare the log's incarnation with the one the read models were made from.

        Raises:
            Misconfigured: the log was lost and made anew while the databases stayed.
        """
        path = self.path / "incarnation"
        if path.exists() and (known := path.read_text("utf-8").strip()) != found:
            raise Misconfigured(
                f"the log in {self.path} is a new one ({found}), its databases were made from {known}: the log was "
                f"lost. Remove {self.path} to start empty, or put back a copy of {self.path / 'nats'}"
            )
        if not path.exists():
            write_private(path, found + "\n")

    def _last_ports(self) -> dict[str, Any]:
        try:
            kept = json.loads((self.path / "ports.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}

    def _locked(self) -> int:
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise self._already_running(owner) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        return descriptor

    def _already_running(self, owner: str) -> AlreadyRunning:
        found = _read_endpoints(self.path)
        where = ", ".join(found.services.values()) if found else "it is still starting"
        return AlreadyRunning(
            f"GPUaaS already runs on {self.path} as process {owner} ({where}); "
            f"end that one first, or set {STATE_DIR_VARIABLE} to another folder",
            pid=owner,
            endpoints=asdict(found) if found else None,
        )

    def _check_version(self) -> None:
        path = self.path / "version"
        found = path.read_text("utf-8").strip() if path.exists() else ""
        if found and found != STATE_VERSION:
            self.release()
            raise Misconfigured(
                f"{self.path} was written by another version of GPUaaS (state {found}, this is {STATE_VERSION}); "
                f"set {STATE_DIR_VARIABLE} to another folder or remove this one"
            )
        if not found:
            write_private(path, STATE_VERSION + "\n")


def _read_endpoints(state_dir: Path) -> Endpoints | None:
    try:
        return Endpoints(**json.loads((state_dir / "endpoints.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
