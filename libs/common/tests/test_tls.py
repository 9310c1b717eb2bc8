"""TLS at broker, database and door. One law: with a certificate to trust there is no talking in clear."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import nats
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from gpuaas.common.embedded.nats_server import server_program
from gpuaas.common.embedded.process import free_port
from gpuaas.common.errors import Misconfigured, Unavailable
from gpuaas.common.provision import administrator_of, provision_log
from gpuaas.common.service import Service
from gpuaas.common.settings import Settings, trusting
from gpuaas.common.tables import Database
from sqlalchemy import literal, select


def authority(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """A certificate authority of its own and one certificate for this machine: authority, certificate, key."""
    now, made = datetime.now(UTC), {}
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    for file, subject, public, is_ca in (
        ("ca.crt", issuer, ca_key.public_key(), True),
        ("tls.crt", x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")]), key.public_key(), False),
    ):
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .sign(ca_key, hashes.SHA256())
        )
        made[file] = folder / f"{name}-{file}"
        made[file].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file = folder / f"{name}-tls.key"
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key_file.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    return made["ca.crt"], made["tls.crt"], key_file


@asynccontextmanager
async def broker_with_tls(folder: Path, certificate: Path, key: Path) -> AsyncIterator[str]:
    port = free_port()
    config = {
        "listen": f"127.0.0.1:{port}",
        "jetstream": {"store_dir": str(folder / "store")},
        "tls": {"cert_file": str(certificate), "key_file": str(key)},
        "accounts": {
            "CELL": {"jetstream": "enabled", "users": [{"user": "small", "password": "a-long-password-here"}]}
        },
    }
    path = folder / "nats.json"
    path.write_text(json.dumps(config))
    process = await asyncio.create_subprocess_exec(
        str(server_program()), "--config", str(path), stderr=subprocess.DEVNULL, env=dict(os.environ)
    )
    try:
        yield f"nats://small:a-long-password-here@127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def test_a_service_speaks_tls_to_broker_and_callers_and_to_nobody_else(tmp_path: Path) -> None:
    ca, certificate, key = authority(tmp_path, "ours")
    other_ca, _, _ = authority(tmp_path, "other")
    async with broker_with_tls(tmp_path, certificate, key) as url:
        connection = await nats.connect(url, tls=trusting(ca), max_reconnect_attempts=20, reconnect_time_wait=0.1)
        await provision_log(connection)
        await connection.close()
        settings = Settings(
            nats_url=url, nats_ca_file=ca, http_cert_file=certificate, http_key_file=key, http_port=free_port()
        )
        service = Service("small", settings)
        await service.open_door()
        await service.broker.start()
        try:
            await service.start()
            at = f"127.0.0.1:{settings.http_port}/readyz"
            async with httpx.AsyncClient(verify=trusting(ca)) as trusting_client:
                await _until(trusting_client, f"https://{at}")
            async with httpx.AsyncClient(verify=trusting(other_ca)) as stranger:
                with pytest.raises(httpx.ConnectError):
                    await stranger.get(f"https://{at}")
            async with httpx.AsyncClient() as in_clear:
                with pytest.raises(httpx.RemoteProtocolError):
                    await in_clear.get(f"http://{at}")
        finally:
            await service.stop()
            await service.broker.stop()
        with pytest.raises(OSError, match="certificate verify failed"):
            await nats.connect(url, tls=trusting(other_ca), allow_reconnect=False)


@asynccontextmanager
async def postgres_with_tls(dsn: str, certificate: Path, key: Path) -> AsyncIterator[str]:
    """The database at `dsn` behind a door of TLS: the embedded server is built without it."""
    inside = urlsplit(dsn)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # SSLRequest (length 8, code 80877103) is answered with S; then the same socket speaks TLS.
        if await reader.readexactly(8) != struct.pack("!ii", 8, 80877103):
            writer.close()
            return
        writer.write(b"S")
        with suppress(OSError, asyncio.IncompleteReadError):
            await writer.start_tls(tls)
            there, back = await asyncio.open_connection(inside.hostname, inside.port)
            await asyncio.gather(_pump(reader, back), _pump(there, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield inside._replace(netloc=f"{inside.username}:{inside.password}@127.0.0.1:{port}").geturl()
    finally:
        server.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while some := await source.read(65_536):
            sink.write(some)
            await sink.drain()
    sink.close()


async def test_a_database_is_believed_only_with_a_certificate_that_was_vouched_for(
    database_dsn: str, tmp_path: Path
) -> None:
    ca, certificate, key = authority(tmp_path, "ours")
    other_ca, _, _ = authority(tmp_path, "other")
    async with postgres_with_tls(database_dsn, certificate, key) as dsn:
        ours = Settings(postgres_dsn=dsn, postgres_ca_file=ca)
        database = Database(ours.postgres_dsn, tls=ours.database_tls())
        await database.open()
        row = await database.fetch_one(select(literal(7).label("seven")))
        assert row is not None
        assert row["seven"] == 7
        await database.close()
        with pytest.raises(Unavailable, match="certificate verify failed"):
            await Database(dsn, tls=trusting(other_ca)).open()
        with pytest.raises(Misconfigured, match="not who it should be"):
            await administrator_of(dsn, trusting(other_ca))
    with pytest.raises(Unavailable, match="PostgreSQL does not answer"):
        await Database(database_dsn, tls=trusting(ca)).open()


@pytest.mark.parametrize("profile", ["staging", "production"])
def test_nothing_is_sent_in_clear_to_another_machine(profile: str) -> None:
    at = {"GPUAAS_PROFILE": profile, "GPUAAS_NATS_URL": "nats://a:Zk3Zk3Zk3Zk3Zk3Zk3@nats:4222"}
    with pytest.raises(Misconfigured, match=r"in clear to another machine .nats.*NATS_CA_FILE"):
        Settings.from_environment(at)
    at |= {"GPUAAS_NATS_CA_FILE": "ca.crt", "GPUAAS_POSTGRES_DSN": "postgresql://a:Zk3Zk3Zk3Zk3Zk3Zk3@postgres/a"}
    with pytest.raises(Misconfigured, match=r"postgres.*POSTGRES_CA_FILE"):
        Settings.from_environment(at)
    assert Settings.from_environment(at | {"GPUAAS_POSTGRES_CA_FILE": "ca.crt"}).durable
    assert Settings.from_environment({"GPUAAS_PROFILE": profile}).durable, "what stays on this machine needs none"


async def _until(client: httpx.AsyncClient, url: str) -> None:
    async with asyncio.timeout(60):
        while (await client.get(url)).status_code != 200:
            await asyncio.sleep(0.05)


def test_half_a_certificate_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="HTTP_KEY_FILE"):
        Settings.from_environment({"GPUAAS_HTTP_CERT_FILE": "x"})
    (tmp_path / "not.crt").write_text("nothing")
    with pytest.raises(Misconfigured, match="no certificate"):
        Settings(nats_ca_file=tmp_path / "not.crt").broker_tls()
    with pytest.raises(Misconfigured, match="no certificate"):
        Settings(nats_ca_file=tmp_path / "absent.crt").broker_tls()
