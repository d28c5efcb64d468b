"""The local stack's service of currency rates, on loopback (`_rates`)."""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _lib.places import ROOT
from _lib.processes import Process, failed, free_ports, start, until

READY_S = 60
STOP = ((signal.SIGKILL, 5.0),)  # it has nothing to lose, and may be in a stall


def ports() -> dict[str, int]:
    return {"port": free_ports(1)[0]}


def launch(log: Path, at: dict[str, int]) -> Process:
    """Starts the service and waits until it answers."""
    log.touch()
    seen, script = log.stat().st_size, ROOT / "scripts" / "_rates.py"
    process = start([sys.executable, script, str(at["port"])], log, ROOT, os.environ)
    if until(lambda: _serves(at["port"]) or not process.alive, READY_S) and process.alive:
        return process
    process.stop(STOP)
    raise failed("the service of rates did not start", log, seen)


def told(url: str, mode: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the service at `url` was told and counted; with a `mode` it is told that first."""
    body = json.dumps(mode).encode() if mode else None
    request = urllib.request.Request(f"{url}/mode", body, method="PUT" if mode else "GET")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return dict(json.load(answer))


def _serves(port: int) -> bool:
    try:
        return "calls" in told(f"http://127.0.0.1:{port}")
    except (OSError, ValueError):
        return False
