"""A witness as a program of its own, with faults to order. One law: what it cosigns is decided by the real judge.

Arguments: folder, port, name, log, the log's public key (hex). `POST /fault/<name>` makes it slow, lying, broken,
endless or, with `none`, well again.
"""

from __future__ import annotations

import asyncio
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from gpuaas.audit.adapters.key_file import Ed25519Key, secret_in, verifies
from gpuaas.audit.adapters.local_witness import LocalWitness
from gpuaas.audit.domain.witnessing import cosignature

SLOW_S = 4.0
ENDLESS_BYTES = 1 << 20


def main() -> None:
    """Answer until killed."""
    folder, port, name, log, public_key = sys.argv[1:]
    key = Ed25519Key(secret_in(Path(folder) / "key", may_create=False))
    fault = ["none"]
    one_at_a_time = Lock()

    def keys_of(origin: str) -> tuple[bytes, ...]:
        return (bytes.fromhex(public_key),) if origin.startswith(f"{log}/") else ()

    witness = LocalWitness(name, key, Path(folder) / "memory", keys_of, verifies, lambda: int(time.time()))

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, "a witness\n")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            if self.path.startswith("/fault/"):
                fault[0] = self.path.removeprefix("/fault/")
                self.answer(200, "")
                return
            match fault[0]:
                case "slow":
                    time.sleep(SLOW_S)
                    self.answer(503, "late\n")
                case "lying":
                    self.answer(200, cosignature(name, key, "another text\n", 1))
                case "broken":
                    self.answer(500, "broken\n")
                case "endless":
                    self.answer(200, "x" * ENDLESS_BYTES)
                case _:
                    with one_at_a_time:
                        found = asyncio.run(witness.add_checkpoint(body))
                    self.answer(found.status, found.body)

        def answer(self, status: int, body: str) -> None:
            content = body.encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                return  # whoever asked has gone

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    ThreadingHTTPServer(("127.0.0.1", int(port)), Door).serve_forever()


if __name__ == "__main__":
    main()
