"""The state folder: one owner, private secrets, ports that stay."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from gpuaas.cli.state import AlreadyRunning, Endpoints, StateFolder, default_state_dir, is_owned, running_endpoints
from gpuaas.common.embedded.process import free_port
from gpuaas.common.errors import Misconfigured

HOLDER = """
import sys, time
from pathlib import Path
from gpuaas.cli.state import StateFolder
StateFolder(Path(sys.argv[1])).take()
print("taken", flush=True)
time.sleep(60)
"""


def endpoints(folder: StateFolder, **ports: int) -> Endpoints:
    password = folder.secret_path("operator.nats")
    return Endpoints(
        pid=1,
        profile="dev",
        state_dir=str(folder.path),
        services={"iam": "http://127.0.0.1:8101"},
        nats_url="nats://127.0.0.1:4222",
        nats_monitor_url="http://127.0.0.1:8222",
        nats_password_files={"operator": str(password)},
        postgres_url="postgresql://127.0.0.1:5432",
        postgres_password_file="password",
        operator_key_file="operator.key",
        ports=ports,
    )


def test_a_second_owner_is_told_who_the_first_is_and_where(tmp_path: Path) -> None:
    first = StateFolder(tmp_path / "state")
    first.take()
    with pytest.raises(AlreadyRunning, match="still starting"):
        StateFolder(tmp_path / "state").take()
    first.write_endpoints(endpoints(first))
    with pytest.raises(AlreadyRunning, match=r"http://127\.0\.0\.1:8101") as told:
        StateFolder(tmp_path / "state").take()
    assert str(told.value.facts["pid"]).isdigit()
    first.release()
    StateFolder(tmp_path / "state").take()


def test_a_killed_owner_leaves_the_folder_free(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "taken\n"
    assert is_owned(tmp_path)
    holder.kill()
    holder.wait()
    assert not is_owned(tmp_path)
    StateFolder(tmp_path).take()


def test_secrets_are_made_once_and_are_their_owners_only(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state")
    folder.take()
    secret = folder.secret("iam.nats")
    assert len(secret) >= 43
    assert folder.secret("iam.nats") == secret
    assert folder.secret("billing.nats") != secret
    assert folder.secret_path("iam.nats").stat().st_mode & 0o777 == 0o600
    assert folder.secret_path("iam.nats").parent.stat().st_mode & 0o777 == 0o700


def test_endpoints_name_secrets_by_file_and_are_private(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.take()
    secret = folder.secret("operator.nats")
    folder.write_endpoints(endpoints(folder))
    assert folder.endpoints_path.stat().st_mode & 0o777 == 0o600
    assert secret not in folder.endpoints_path.read_text()
    found = running_endpoints(tmp_path)
    assert found.services == {"iam": "http://127.0.0.1:8101"}
    assert found.nats_url_of("operator") == f"nats://operator:{secret}@127.0.0.1:4222"


def test_nothing_running_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="gpuaas up"):
        running_endpoints(tmp_path)


def test_endpoints_of_a_dead_owner_are_not_believed(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.take()
    folder.write_endpoints(endpoints(folder))
    text = folder.endpoints_path.read_text()
    folder.release()
    folder.endpoints_path.write_text(text)
    with pytest.raises(Misconfigured, match="nothing runs"):
        running_endpoints(tmp_path)


def test_a_half_written_endpoints_file_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "endpoints.json").write_text('{"pid": 1, "serv')
    (tmp_path / "ports.json").write_text("{")
    folder = StateFolder(tmp_path)
    folder.take()
    assert folder.port("iam", None, {}) > 0


def test_a_port_is_the_variables_then_the_last_then_the_preferred_one(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.take()
    given, last, preferred = free_port(), free_port(), free_port()
    assert folder.port("iam", preferred, {"GPUAAS_IAM_PORT": str(given)}) == given
    assert folder.port("iam", preferred, {}) == preferred
    folder.write_endpoints(endpoints(folder, iam=last))
    assert folder.port("iam", preferred, {}) == last


def test_a_taken_port_is_refused_when_asked_for_and_avoided_otherwise(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.take()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken = listening.getsockname()[1]
        with pytest.raises(Misconfigured, match="GPUAAS_IAM_PORT"):
            folder.port("iam", None, {"GPUAAS_IAM_PORT": str(taken)})
        assert folder.port("iam", taken, {}) != taken
    for nonsense in ("0", "x", "-1", "70000"):
        with pytest.raises(Misconfigured, match="GPUAAS_IAM_PORT"):
            folder.port("iam", None, {"GPUAAS_IAM_PORT": nonsense})


def test_state_of_another_version_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("7\n")
    with pytest.raises(Misconfigured, match="another version"):
        StateFolder(tmp_path).take()
    assert not is_owned(tmp_path)


def test_a_log_made_anew_under_old_databases_is_refused(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.take()
    folder.check_incarnation("one")
    folder.check_incarnation("one")
    with pytest.raises(Misconfigured, match="the log was lost"):
        folder.check_incarnation("two")


def test_a_place_that_cannot_hold_state_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="GPUAAS_STATE_DIR"):
        StateFolder(tmp_path / "file" / "state").take()


def test_the_folder_is_the_variables_or_the_working_folders() -> None:
    assert default_state_dir({"GPUAAS_STATE_DIR": "/x/y"}) == Path("/x/y")
    assert default_state_dir({}) == Path.cwd() / ".state"
