"""The test kit's sender behaves as the real one."""

import asyncio
import itertools

import pytest

from openbsp_testkit import web
from openbsp_testkit.rows import Organization
from openbsp_testkit.sender import BATCH, TIMEOUT_S, FakeSender


@pytest.fixture
def bursts(monkeypatch):
    """Record what is sent, burst by burst; every tenth request is refused. A burst ends when its answers are there."""
    recorded = []
    numbers = itertools.count(1)
    waiting = 0

    async def post(url, body, *, headers, timeout):  # noqa: ASYNC109 as the one that it replaces
        nonlocal waiting
        assert (url, timeout) == ("http://bridge/webhooks", TIMEOUT_S)
        assert headers["Authorization"] == "Bearer token"
        if not waiting:
            recorded.append([])
        recorded[-1].append(body)
        waiting += 1
        await asyncio.sleep(0)
        waiting -= 1
        return web.Response(503 if next(numbers) % 10 == 0 else 202, {}, b"{}")

    monkeypatch.setattr(web, "post", post)
    return recorded


@pytest.fixture
def webhooks():
    return Organization(seed=1).history(conversations=50, messages=6)


def sender(**options):
    return FakeSender("http://bridge", "token", **options)


def test_it_sends_in_bursts_each_in_an_order_of_its_own(bursts, webhooks):
    sender(repeats=0).send(webhooks)
    bodies = [webhook.body for webhook in webhooks]
    expected = [bodies[start : start + BATCH] for start in range(0, len(bodies), BATCH)]
    assert [sorted(burst) for burst in bursts] == [sorted(burst) for burst in expected]
    assert all(burst != ordered for burst, ordered in zip(bursts, expected, strict=True))


def test_it_sends_whole_bursts_again_now_and_then(bursts, webhooks):
    sender(repeats=1).send(webhooks)
    assert [sorted(burst) for burst in bursts[::2]] == [sorted(burst) for burst in bursts[1::2]]


def test_it_tells_what_became_of_each_request(bursts, webhooks):
    deliveries = sender(repeats=0).send(webhooks)
    assert [delivery.webhook.body for delivery in deliveries] == list(itertools.chain(*bursts))
    assert sum(delivery.lost for delivery in deliveries) == len(webhooks) // 10


def test_a_seed_gives_the_same_order_each_time(bursts, webhooks):
    for _ in range(2):
        sender(repeats=0.5, seed=5).send(webhooks)
    half = len(bursts) // 2
    assert bursts[:half] == bursts[half:]
