"""The ends of topics are told again as soon as the partitions have leaders again, whoever those are."""

import asyncio
import threading
import time
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.engine.end_offsets import Ends
from streams.engine.outside import Clients, Outside

_AT = ("messages", 0)


class _Cluster:
    """An AdminClient that knows the leaders of the moment when it was asked for topics last."""

    def __init__(self) -> None:
        self.epoch = 0
        self.down = False
        self._known = 0

    def list_topics(self, *, timeout: float) -> None:
        assert timeout > 0
        self._known = self.epoch

    def list_offsets(self, asked: dict[Any, Any], *, request_timeout: float) -> dict[Any, "Future[Any]"]:
        assert request_timeout > 0
        futures: dict[Any, Future[Any]] = {}
        for at in asked:
            futures[at] = Future()
            if self.down:
                futures[at].set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
            elif self._known != self.epoch:
                futures[at].set_exception(KafkaException(KafkaError(KafkaError.FENCED_LEADER_EPOCH)))
            else:
                futures[at].set_result(SimpleNamespace(offset=7))
        return futures


@pytest.fixture
def cluster() -> _Cluster:
    return _Cluster()


def ends_of(cluster: _Cluster) -> Ends:
    clients = Clients()
    clients.admin = lambda _: cluster
    return Ends(Outside(clients=clients), {})


def test_a_change_of_leaders_goes_unnoticed(cluster: _Cluster) -> None:
    async def ask() -> None:
        ends = ends_of(cluster)
        assert await ends.of([_AT], 1) == {_AT: 7}
        cluster.epoch += 1
        assert await ends.of([_AT], 1) == {_AT: 7}

    asyncio.run(ask())


def test_a_cluster_that_does_not_answer_is_an_error_and_forgotten_when_it_does(cluster: _Cluster) -> None:
    async def ask() -> None:
        ends = ends_of(cluster)
        cluster.down = True
        with pytest.raises(KafkaException):
            await ends.of([_AT], 0)
        cluster.down = False
        cluster.epoch += 1
        assert await ends.of([_AT], 0) == {_AT: 7}

    asyncio.run(ask())


class _Lost:
    """An AdminClient that nobody answers; it notes the thread that closes it."""

    def __init__(self, closed: list[threading.Thread]) -> None:
        self._closed = closed

    def list_topics(self, *, timeout: float) -> None:
        time.sleep(timeout)
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def list_offsets(self, asked: dict[Any, Any], *, request_timeout: float) -> dict[Any, "Future[Any]"]:
        futures: dict[Any, Future[Any]] = {at: Future() for at in asked}
        error = KafkaException(KafkaError(KafkaError._TIMED_OUT))
        for future in futures.values():
            asyncio.get_running_loop().call_later(request_timeout, future.set_exception, error)
        return futures

    def __del__(self) -> None:
        self._closed.append(threading.current_thread())


def test_a_client_that_nobody_answers_is_replaced_and_closed_off_the_loop() -> None:
    """It may have lost its last broker for good; the event loop would stand still while it is closed."""
    closed: list[threading.Thread] = []
    clients, made = Clients(), [_Cluster, partial(_Lost, closed)]
    clients.admin = lambda _: made.pop()()

    async def ask() -> None:
        ends = Ends(Outside(clients=clients), {})
        with pytest.raises(KafkaException):
            await ends.of([_AT], 0)
        assert len(closed) == 1
        assert closed[0] is not threading.current_thread()
        assert await ends.of([_AT], 0) == {_AT: 7}

    asyncio.run(ask())


def test_questions_that_overlap_replace_a_lost_client_once_and_close_none_on_the_loop() -> None:
    closed: list[threading.Thread] = []
    clients, made = Clients(), 0

    def admin(_: Any) -> Any:
        nonlocal made
        made += 1
        return _Lost(closed)

    clients.admin = admin

    async def ask() -> None:
        ends = Ends(Outside(clients=clients), {})
        questions = []
        for _ in range(40):
            questions.append(asyncio.create_task(ends.of([_AT], 0.3)))
            await asyncio.sleep(0.02)
        failures = await asyncio.gather(*questions, return_exceptions=True)
        assert all(isinstance(failure, KafkaException) for failure in failures)
        assert made <= 10
        assert len(closed) == made - 1
        assert threading.current_thread() not in closed

    asyncio.run(ask())


def test_nothing_is_asked_for_nothing(cluster: _Cluster) -> None:
    cluster.down = True
    assert asyncio.run(ends_of(cluster).of([], 1)) == {}
