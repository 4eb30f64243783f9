"""A sender with the habits of OpenBSP's."""

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass

from bridge.testkit.rows import Webhook
from openbsp.demo.send import BATCH, Answer, Payload, send


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one request."""

    webhook: Webhook
    answer: Answer

    @property
    def lost(self) -> bool:
        """Whether nobody took responsibility: the sender forgets the event all the same."""
        return not self.answer.accepted


class FakeSender:
    """Posts webhooks as pg_net does for OpenBSP.

    Up to 200 requests at once, in no promised order; the next burst begins when the slowest answer is there, or after
    5 s. No request is repeated because of its answer; but a worker of pg_net that dies sends a whole burst again, which
    happens here with the probability `repeats`. With a `seed`, order and repetitions are the same each time.
    """

    def __init__(self, url: str, token: str, *, repeats: float = 0.1, seed: int | None = None) -> None:
        self._url = url
        self._token = token
        self._repeats = repeats
        self._random = random.Random(seed)  # noqa: S311 not for secrets

    def send(self, webhooks: Iterable[Webhook]) -> list[Delivery]:
        """Send all and return what became of each request, in the order of sending. Not for use in an event loop."""
        return asyncio.run(self.send_async(webhooks))

    async def send_async(self, webhooks: Iterable[Webhook]) -> list[Delivery]:
        """Send all and return what became of each request, in the order of sending."""
        waiting = list(webhooks)
        deliveries: list[Delivery] = []
        for start in range(0, len(waiting), BATCH):
            burst = waiting[start : start + BATCH]
            for _ in range(2 if self._random.random() < self._repeats else 1):
                self._random.shuffle(burst)
                payloads = [Payload(f"{webhook.entity} {webhook.data.get('id')}", webhook.body) for webhook in burst]
                answers = [answer async for answer in send(payloads, self._url, self._token)]
                deliveries += map(Delivery, burst, answers)
        return deliveries
