"""A sender that behaves like OpenBSP's."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from openbsp_testkit import web

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from openbsp_testkit.rows import Webhook

BATCH = 200
"""How many requests pg_net sends at once."""
TIMEOUT_S = 5.0
"""How long it waits for each answer."""

_T = TypeVar("_T")
_HEADERS = {"Content-Type": "application/json", "User-Agent": "pg_net/0.19.5"}


@dataclass(frozen=True)
class Answer:
    """The status and the body, or no status and why there was no answer."""

    status: int | None
    text: str
    seconds: float

    @property
    def accepted(self) -> bool:
        """Whether the bridge has accepted the event."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004


@dataclass(frozen=True)
class Delivery:
    """The outcome of one request."""

    webhook: Webhook
    answer: Answer

    @property
    def lost(self) -> bool:
        """Whether the event was not accepted: the sender never retries it."""
        return not self.answer.accepted


class FakeSender:
    """Posts webhooks as pg_net does for OpenBSP.

    Up to 200 requests at once, in no promised order; the next burst begins when the slowest answer is there, or after
    5 s. No request is repeated because of its answer; but a worker of pg_net that dies sends a whole burst again, which
    happens here with the probability `repeats`. With a `seed`, order and repetitions are the same each time.
    """

    def __init__(self, url: str, token: str, *, repeats: float = 0.1, seed: int | None = None) -> None:
        self._url = f"{url}/webhooks"
        self._headers = {**_HEADERS, "Authorization": f"Bearer {token}"}
        self._repeats = repeats
        self._random = random.Random(seed)  # noqa: S311 not for secrets

    def send(self, webhooks: Iterable[Webhook]) -> list[Delivery]:
        """Send all and return the outcome of each request, in the order of sending.

        Blocks the thread, in an asynchronous test its event loop as well: there, `send_async` does not.
        """
        return blocking(lambda: self.send_async(webhooks))

    async def send_async(self, webhooks: Iterable[Webhook]) -> list[Delivery]:
        """Send all, in the running asyncio loop, and return the outcome of each request, in the order of sending."""
        waiting = list(webhooks)
        deliveries: list[Delivery] = []
        for start in range(0, len(waiting), BATCH):
            burst = waiting[start : start + BATCH]
            for _ in range(2 if self._random.random() < self._repeats else 1):
                self._random.shuffle(burst)
                answers = await asyncio.gather(*(self._post(webhook.body) for webhook in burst))
                deliveries += map(Delivery, burst, answers)
        return deliveries

    async def _post(self, body: bytes) -> Answer:
        begin = perf_counter()
        try:
            response = await web.post(self._url, body, headers=self._headers, timeout=TIMEOUT_S)
        except web.TransportErrors as error:
            reason = f"no answer: {type(error).__name__} {error}".rstrip()
            return Answer(None, reason, perf_counter() - begin)
        return Answer(response.status_code, response.text, perf_counter() - begin)


def blocking(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run a coroutine to its end in an event loop of its own; works in a thread whose own loop is running as well."""
    with ThreadPoolExecutor(1, "openbsp-testkit") as pool:
        return pool.submit(lambda: asyncio.run(work())).result()
