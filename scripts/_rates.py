"""A small service of currency rates, run by the local stack: python _rates.py PORT

    GET  /rates/{currency}   200 {"currency": "SEK", "rate": 11.02, "as_of": "..."}; 404 for a currency that nobody knows
    POST /rates              {"keys": [{"currency": "SEK"}, ...]}: 200 {"rates": [...]}, without those that nobody knows
    PUT  /mode               {"mode": "well", "delay_ms": 5}: how it answers from now on
    GET  /mode               what it was told, and "calls", "keys", "at_once": counted since then, but for these

| mode | it answers |
| --- | --- |
| well | after `delay_ms` |
| slow | after `delay_ms` and a stall of half a minute |
| wrong | in turn with a rate that is none, with no JSON, with half a body, and with nothing that was asked for |
| down | 503 |

A service that is gone is one that was stopped: nobody listens at its port. Beside the known currencies there are K0, K1 and so
on, as many as anybody asks for.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import zlib
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from _orders import DAY, RATES
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

STALL_S = 30
MODES = ("well", "slow", "wrong", "down")
HALF = b'{"rate": 1'


@dataclass
class Told:
    """How to answer, and what was asked since."""

    mode: str = "well"
    delay_ms: float = 0.0
    calls: int = 0
    keys: int = 0
    at_once: int = 0
    _now: int = 0
    _wrong: itertools.cycle[int] = field(default_factory=lambda: itertools.cycle(range(4)))

    def shown(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if not key.startswith("_")}

    async def answer(self, found: Any, keys: int) -> Response:
        """As it was told to; `found` is what a well service says, None where it knows nothing."""
        self.calls, self.keys, self._now = self.calls + 1, self.keys + keys, self._now + 1
        self.at_once = max(self.at_once, self._now)
        try:
            await asyncio.sleep(self.delay_ms / 1_000 + (STALL_S if self.mode == "slow" else 0))
        finally:
            self._now -= 1
        if self.mode == "down":
            return Response(status_code=503)
        if self.mode == "wrong":
            return _wrong(next(self._wrong))
        return JSONResponse(found, 404 if found is None else 200)


def rate(currency: str) -> dict[str, Any] | None:
    """What is known of one currency; that of K0, K1 and so on is made of its name."""
    made = currency[:1] == "K" and currency[1:].isdecimal()
    known = RATES.get(currency) or (made and (10_000 + zlib.crc32(currency.encode()) % 10_000) / 10_000) or None
    return {"currency": currency, "rate": known, "as_of": DAY.isoformat()} if known else None


def _wrong(kind: int) -> Response:
    """Four ways of saying nothing of use."""
    if kind == 0:
        return JSONResponse({"rate": "eleven"})
    if kind == 1:
        return Response(b"<html>rates</html>")
    if kind == 2:
        return StreamingResponse(iter([HALF]), headers={"Content-Length": "1000"})
    return JSONResponse({"message": "see our other service"})


def application() -> Starlette:
    """Told nothing yet, it answers well and at once."""
    told = [Told()]

    async def one(request: Request) -> Response:
        return await told[0].answer(rate(request.path_params["currency"]), 1)

    async def many(request: Request) -> Response:
        asked = [key["currency"] for key in (await request.json())["keys"]]
        return await told[0].answer({"rates": [found for found in map(rate, asked) if found]}, len(asked))

    async def mode(request: Request) -> Response:
        if request.method == "PUT":
            asked = json.loads(await request.body())
            if asked.get("mode") not in MODES:
                return Response(f"mode: one of {', '.join(MODES)}", 400)
            told[0] = Told(asked["mode"], asked.get("delay_ms", 0.0))
        return JSONResponse(told[0].shown())

    routes = [Route("/rates/{currency}", one), Route("/rates", many, methods=["POST"])]
    return Starlette(routes=[*routes, Route("/mode", mode, methods=["GET", "PUT"])])


if __name__ == "__main__":
    uvicorn.run(application(), host="127.0.0.1", port=int(sys.argv[1]), log_level="critical", access_log=False)
