"""A service of a few lines, for the supervisor's tests. One law: it does what its environment says."""

from __future__ import annotations

import os
import signal
import sys
import time


def main() -> None:
    """Live as `SMALL` says: `stay`, `stubborn` (deaf to SIGTERM), `fail` (status 1) or `refuse` (status 2)."""
    manner = os.environ["SMALL"]
    print(f"{manner} as {os.getpid()} with {sorted(key for key in os.environ if key.startswith('SMALL'))}", flush=True)
    if manner == "refuse":
        sys.stderr.write("SMALL is refuse; set it to stay\n")
        sys.exit(2)
    if manner == "fail":
        raise RuntimeError("it was told to fail")
    if manner == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        time.sleep(0.05)
