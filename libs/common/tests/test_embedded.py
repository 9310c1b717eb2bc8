"""The embedded servers, started for real."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import nats
import pytest
from gpuaas.common.embedded import postgres_install
from gpuaas.common.embedded.nats_server import NatsServer, NatsUser, UserPermissions, server_program
from gpuaas.common.embedded.postgres import PostgresServer
from gpuaas.common.embedded.process import command_of, free_port, port_is_free, recorded_pid, waited
from gpuaas.common.errors import Misconfigured, Unavailable
from gpuaas.common.testing.stack import TestStack, nats_cluster
from nats.aio.client import Client
from nats.errors import Error as NatsError

SMALL_STORE = 1 << 28

ORPHAN_MAKER = """
import sys, time
from pathlib import Path
from gpuaas.common.embedded.nats_server import NatsServer, NatsUser
server = NatsServer(Path(sys.argv[1]), {"CELL": {"admin": NatsUser()}}, max_file_store_bytes=1 << 28)
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another user can cross: pytest's own temporary folders cannot be."""
    made = Path(tempfile.mkdtemp(prefix="gpuaas-test-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def server_in(folder: Path, **users: NatsUser) -> NatsServer:
    named = users or {"admin": NatsUser()}
    return NatsServer(folder / "nats", {"CELL": named}, max_file_store_bytes=SMALL_STORE)


async def signed_in(url: str) -> Client:
    return await nats.connect(url, allow_reconnect=False, connect_timeout=2)


async def test_nats_serves_jetstream_to_who_knows_the_password(folder: Path) -> None:
    server = server_in(folder)
    server.start()
    connection = await signed_in(server.url("admin"))
    await connection.jetstream().add_stream(name="S", subjects=["s"])
    assert (await connection.jetstream().publish("s", b"1")).seq == 1
    await connection.close()
    with pytest.raises(NatsError):
        await signed_in(server.address)
    server.stop()
    assert server.pid is None


async def test_nats_keeps_its_messages_over_a_crash(folder: Path) -> None:
    server = server_in(folder)
    server.start()
    connection = await signed_in(server.url("admin"))
    await connection.jetstream().add_stream(name="S", subjects=["s"])
    await connection.jetstream().publish("s", b"1")
    await connection.close()
    server.kill()
    server.start()
    connection = await signed_in(server.url("admin"))
    assert (await connection.jetstream().stream_info("S")).state.messages == 1
    await connection.close()
    server.stop()


async def test_a_nats_user_may_do_only_what_is_named(folder: Path) -> None:
    narrow = NatsUser(permissions=UserPermissions(publish_allow=["mine.>"], subscribe_allow=["_INBOX_narrow.>"]))
    silent = NatsUser(permissions=UserPermissions(subscribe_allow=["mine.>"]))
    server = server_in(folder, narrow=narrow, silent=silent)
    server.start()
    complaints: list[str] = []

    async def complain(error: Exception) -> None:
        complaints.append(str(error).lower())

    for user, subject in (("narrow", "mine.x"), ("narrow", "yours.x"), ("silent", "mine.x")):
        connection = await nats.connect(server.url(user), allow_reconnect=False, error_cb=complain)
        await connection.publish(subject, b"")
        await connection.flush()
        await asyncio.sleep(0.1)  # the refusal is told to the callback in a task of its own
        await connection.close()
    server.stop()
    assert len(complaints) == 2
    assert 'publish to "yours.x"' in complaints[0]
    assert 'publish to "mine.x"' in complaints[1]


def test_the_nats_configuration_is_for_its_owner_only(folder: Path) -> None:
    server = server_in(folder)
    server.prepare()
    assert (folder / "nats" / "nats.json").stat().st_mode & 0o777 == 0o600


def test_sync_always_reaches_the_server(folder: Path) -> None:
    server = NatsServer(folder, {"CELL": {"a": NatsUser()}}, sync_interval="always", max_file_store_bytes=SMALL_STORE)
    assert server.configuration()["jetstream"]["sync_interval"] == "always"
    server.start()
    server.stop()


def test_a_nats_that_cannot_start_says_why(folder: Path) -> None:
    blocker = server_in(folder)
    blocker.start()
    second = NatsServer(folder / "second", {"CELL": {}}, port=blocker.port, max_file_store_bytes=SMALL_STORE)
    with pytest.raises(Unavailable, match="address already in use"):
        second.start()
    blocker.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ties a child to its parent only on Linux")
def test_nats_ends_when_its_owner_is_killed(folder: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", ORPHAN_MAKER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    assert waited(lambda: not command_of(pid), 5)


def test_a_leftover_nats_is_ended_by_the_next_start(folder: Path) -> None:
    first = server_in(folder)
    first.start()
    left = first.pid
    second = server_in(folder)
    second.start()
    assert second.pid not in (None, left)
    assert not command_of(left or 0)
    second.stop()


def test_a_stale_pid_file_does_not_end_a_stranger(folder: Path) -> None:
    server = server_in(folder)
    server.directory.mkdir()
    (server.directory / "nats.pid").write_text(f"{os.getpid()}\n")
    server.start()
    assert server.pid == recorded_pid(server.directory / "nats.pid")
    server.stop()


async def test_three_servers_keep_a_replicated_stream() -> None:
    with nats_cluster(3) as servers:
        assert len({server.port for server in servers}) == 3
        connection = await nats.connect(servers[0].url("admin"))
        added = None
        for _ in range(100):
            try:
                added = await connection.jetstream().add_stream(name="S", subjects=["s"], num_replicas=3)
                break
            except NatsError:
                continue
        assert added is not None
        assert (await connection.jetstream().publish("s", b"1", timeout=10)).seq == 1
        await connection.close()


async def test_postgres_18_answers_on_loopback_with_a_password(folder: Path) -> None:
    server = PostgresServer(folder / "postgres", fsync=False)
    server.start()
    connection = await asyncpg.connect(server.dsn())
    assert str(await connection.fetchval("SHOW server_version")).startswith("18.")
    assert await connection.fetchval("SHOW max_connections") == "200"
    assert await connection.fetchval("SHOW fsync") == "off"
    assert str(await connection.fetchval("SELECT rolpassword FROM pg_authid WHERE rolcanlogin")).startswith("SCRAM-SHA")
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.dsn(password="wrong"))
    assert (folder / "postgres" / "password").stat().st_mode & 0o777 == 0o600
    server.stop()
    server.remove()
    assert not (folder / "postgres").exists()


async def test_postgres_comes_back_after_a_crash(folder: Path) -> None:
    server = PostgresServer(folder / "postgres")
    server.start()
    connection = await asyncpg.connect(server.dsn())
    await connection.execute("CREATE TABLE t AS SELECT 1 AS x")
    server.kill()
    server.start()
    again = await asyncpg.connect(server.dsn())
    assert await again.fetchval("SELECT x FROM t") == 1
    await again.close()
    server.stop()


def test_a_half_made_cluster_is_made_again(folder: Path) -> None:
    server = PostgresServer(folder / "postgres", fsync=False)
    half = folder / "postgres" / "data-0badf00d"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server.start()
    assert not half.exists()
    server.stop()


def test_data_of_another_version_is_refused_and_kept(folder: Path) -> None:
    server = PostgresServer(folder / "postgres")
    old = folder / "postgres" / "data"
    old.mkdir(parents=True)
    (old / "PG_VERSION").write_text("16\n")
    with pytest.raises(Misconfigured, match="PostgreSQL 16"):
        server.start()
    assert (old / "PG_VERSION").read_text() == "16\n"


def test_a_leftover_postgres_is_ended_by_the_next_start(folder: Path) -> None:
    first = PostgresServer(folder / "postgres", fsync=False)
    first.start()
    left = first.pid or 0
    second = PostgresServer(folder / "postgres", fsync=False)
    second.start()
    assert not command_of(left)
    second.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
def test_as_root_a_private_folder_is_no_obstacle(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    server = PostgresServer(private / "postgres", fsync=False)
    server.start()
    kept = Path((private / "postgres" / "data-is-in").read_text().strip())
    assert kept.is_dir()
    server.stop()
    again = PostgresServer(private / "postgres", fsync=False)
    again.start()
    assert Path((private / "postgres" / "data-is-in").read_text().strip()) == kept
    again.stop()
    again.remove()
    assert not kept.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
def test_data_moved_for_a_state_folder_that_is_gone_is_removed(tmp_path: Path) -> None:
    user = postgres_install.unprivileged_user()
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    gone, kept, newest = (private / name for name in ("gone", "kept", "newest"))
    moved = [postgres_install.reachable_directory(home, user, home / "data-is-in") for home in (gone, kept)]
    shutil.rmtree(gone)
    moved.append(postgres_install.reachable_directory(newest, user, newest / "data-is-in"))
    assert [folder.exists() for folder in moved] == [False, True, True]
    for folder in moved[1:]:
        shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
def test_as_root_unreachable_programs_are_copied_once(folder: Path) -> None:
    package = Path(postgres_install.installed_programs().bin).parents[1]
    hidden = folder / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / package.name).symlink_to(package)
    (hidden / postgres_install.LIBRARIES).symlink_to(package.parent / postgres_install.LIBRARIES)
    user = postgres_install.unprivileged_user()
    assert user is not None
    assert not postgres_install._can_run(hidden / package.name / postgres_install.TREE / "bin", user)
    copy = postgres_install._reachable_copy(hidden / package.name, "18.test")
    try:
        assert postgres_install._can_run(copy / postgres_install.TREE / "bin", user)
        assert postgres_install._reachable_copy(hidden / package.name, "18.test") == copy
    finally:
        shutil.rmtree(copy.parent)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_an_ordinary_user_needs_no_other(folder: Path) -> None:
    user = postgres_install.unprivileged_user()
    assert user is not None
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, user.uid, user.gid)
    script = (
        "import sys; from pathlib import Path; from gpuaas.common.embedded.postgres import PostgresServer;"
        "s = PostgresServer(Path(sys.argv[1]) / 'postgres', fsync=False); s.start(); print(s.pid); s.stop()"
    )
    try:
        ran = subprocess.run(
            [sys.executable, "-c", script, str(home)],
            user=user.uid,
            group=user.gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
    except PermissionError:
        pytest.skip("this Python lies where only root comes")
    if "No module named" in ran.stderr or "Permission denied" in ran.stderr:
        pytest.skip("this Python lies where only root comes")
    assert ran.returncode == 0, ran.stderr
    assert (home / "postgres" / "data").stat().st_uid == user.uid


def test_a_free_port_is_free_and_not_an_ephemeral_one() -> None:
    port = free_port()
    assert port_is_free(port)
    assert port < 32_768


def test_the_server_program_is_the_pinned_one() -> None:
    said = subprocess.run([server_program(), "--version"], capture_output=True, text=True, check=True).stdout
    assert "v2.15" in said


async def test_two_logs_of_one_run_do_not_see_each_other(stack: TestStack) -> None:
    async with stack.fresh_log() as one, stack.fresh_log() as other:
        assert one.incarnation != other.incarnation
        writer, reader = await nats.connect(one.url), await nats.connect(other.url)
        await writer.jetstream().publish("events.a.b.c.d", b"{}")
        assert (await reader.jetstream().stream_info("EVENTS")).state.messages == 0
        await writer.close()
        await reader.close()


async def test_a_fresh_database_is_owned_by_a_role_of_no_other_right(stack: TestStack) -> None:
    async with stack.fresh_database() as dsn:
        connection = await asyncpg.connect(dsn)
        await connection.execute("CREATE SCHEMA s; CREATE TABLE s.t (x int)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE DATABASE mine")
        name = await connection.fetchval("SELECT current_database()")
        await connection.close()
    administrator = await asyncpg.connect(stack.admin_dsn)
    assert await administrator.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name) == 0
    await administrator.close()


def test_stop_uses_the_fast_shutdown(folder: Path) -> None:
    server = PostgresServer(folder / "postgres", fsync=False)
    server.start()
    assert server._program is not None
    assert server._program._stop_signal is signal.SIGINT
    server.stop()
    assert "fast shutdown" in (folder / "postgres" / "postgres.log").read_text()
