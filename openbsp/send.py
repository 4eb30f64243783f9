"""Posts payloads as OpenBSP does: pg_net's batches, user agent and time-out, and no second attempt."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import httpx

from openbsp.bearer import bearer, hindrance

#: The size of pg_net's batches; the next one starts when the slowest answer of the last one has arrived.
BATCH = 200

_TIMEOUT_S = 5.0
_HEADERS = {"Content-Type": "application/json", "User-Agent": "pg_net/0.19.5"}


@dataclass(frozen=True, slots=True)
class Payload:
    """A request body, byte for byte, and its name."""

    name: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and the body, or no status and why there was no answer."""

    payload: str
    status: int | None
    text: str
    seconds: float

    @property
    def accepted(self) -> bool:
        """Whether the bridge has accepted the event."""
        return self.status is not None and httpx.codes.is_success(self.status)


async def send(payloads: Sequence[Payload], url: str, token: str) -> AsyncIterator[Answer]:
    """Post each payload once to the bridge at the base address `url`; yield the answers in the same order."""
    headers = {**_HEADERS, "Authorization": bearer(token)}
    limits = httpx.Limits(max_connections=BATCH)
    # trust_env: a proxy does not reach 127.0.0.1, and the sender would not ask one.
    async with httpx.AsyncClient(headers=headers, timeout=_TIMEOUT_S, limits=limits, trust_env=False) as client:
        for start in range(0, len(payloads), BATCH):
            batch = payloads[start : start + BATCH]
            for answer in await asyncio.gather(*(_post(client, f"{url}/webhooks", payload) for payload in batch)):
                yield answer


async def _post(client: httpx.AsyncClient, url: str, payload: Payload) -> Answer:
    begin = perf_counter()
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            response = await client.post(url, content=payload.body)
    except (httpx.HTTPError, TimeoutError) as error:
        reason = f"no answer: {hindrance(error)}"
        return Answer(payload.name, None, reason, perf_counter() - begin)
    return Answer(payload.name, response.status_code, response.text, perf_counter() - begin)
