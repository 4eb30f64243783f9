"""More requests than can be worked on at once, more bytes than fit, more connections than may be: they wait."""

import asyncio
import contextlib
import errno
import json
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.delivery.memory import cost
from bridge.http import acceptor, server
from bridge.http.acceptor import Acceptor
from support.fake_kafka import FakeKafka
from support.ingress import TOKEN, RunningIngress, message, running_ingress
from support.wait import eventually

MEBIBYTE = 1024 * 1024


def head(size: int) -> bytes:
    return (
        f"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Length: {size}\r\n\r\n"
    ).encode()


async def post(ingress: RunningIngress, body: bytes) -> tuple[int, str]:
    """Send a request on a connection of its own; return status and disposition or reason."""
    reader, writer = await asyncio.open_connection(*ingress.service_address)
    try:
        writer.write(head(len(body)) + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        content = json.loads(await reader.readexactly(int(answer.partition("content-length: ")[2].split()[0])))
    finally:
        writer.close()
    return int(answer.split()[1]), content.get("disposition") or content["reason"]


def post_at_once(ingress: RunningIngress, bodies: list[bytes]) -> list[tuple[int, str]]:
    async def all_of_them() -> list[tuple[int, str]]:
        return await asyncio.gather(*(post(ingress, body) for body in bodies))

    return asyncio.run(all_of_them())


def bodies(count: int, size: int = 0) -> list[bytes]:
    return [json.dumps(message(f"m{number}", content="x" * size)).encode() for number in range(count)]


@pytest.mark.usefixtures("many_descriptors")
def test_1500_requests_at_once_are_all_answered(tmp_path: Path):
    """None is refused for being one of many. Kafka acknowledges none before all are sent or the deadline is over."""
    kafka = FakeKafka()
    kafka.stop_answering()
    # The senders are in this process, and slow on a busy machine.
    patience = {"header_timeout_s": 60, "body_timeout_s": 60}
    with running_ingress(tmp_path, kafka=kafka, deadline_s=4, **patience) as ingress, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(post_at_once, ingress, bodies(1500))
        eventually(lambda: kafka.attempts + ingress.service.spool.events >= 1500 or sent.done(), within=120)
        kafka.answer()
        answers = sent.result()
        assert len(answers) == 1500
        assert {status for status, _ in answers} == {202}
        eventually(lambda: ingress.service.ingress.memory.held == 0)
        print(f"\nfigure: refused: 0 of {len(answers)} at once")


def test_what_does_not_fit_waits_unread_and_is_answered(tmp_path: Path):
    """Forty requests of 1 MiB with memory for three at a time."""
    limit = 16 * MEBIBYTE
    most = 0
    with running_ingress(tmp_path, memory_bytes=limit, max_body_bytes=2 * MEBIBYTE, deadline_s=4) as ingress:
        memory = ingress.service.ingress.memory
        gather = memory.add

        def add(size: int) -> None:
            nonlocal most
            gather(size)
            most = max(most, memory.held)

        memory.add = add
        answers = post_at_once(ingress, bodies(40, MEBIBYTE))
        assert set(answers) == {(202, "published")}
        assert len(ingress.kafka.topic("messages")) == 40
        eventually(lambda: memory.held == 0)
        assert ingress.metric("bridge_accept_pauses_total", limit="memory") > 0
        assert "memory" in ingress.details()["limits_reached"]
        assert ingress.details()["status"] == "degraded"
        lost = len(answers) - len(ingress.kafka.topic("messages"))
    print(f"\nfigure: lost: {lost} of {len(answers)}, at most {most / MEBIBYTE:.0f} MiB held; the operator saw: memory")
    # What was read before it was known to be too much: a piece of each connection that was accepted at once.
    assert most < limit + cost(MEBIBYTE) + 64 * 320 * 1024


def test_a_request_that_would_not_be_answered_in_time_is_refused(tmp_path: Path):
    kafka = FakeKafka()
    kafka.stop_answering()
    with (
        running_ingress(
            tmp_path, kafka=kafka, memory_bytes=16 * MEBIBYTE, max_body_bytes=3 * MEBIBYTE, deadline_s=4
        ) as ingress,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(post_at_once, ingress, bodies(1, 2 * MEBIBYTE))
        eventually(lambda: ingress.service.ingress.in_progress == 1)
        started = time.monotonic()
        second = post_at_once(ingress, bodies(1, 3 * MEBIBYTE - 1000))
        assert second == [(503, "overloaded")]
        print(f"\nfigure: refused for want of memory after {time.monotonic() - started:.2f} s")
        kafka.answer()
        assert first.result() == [(202, "published")]
        eventually(lambda: ingress.service.ingress.memory.held == 0)


def test_a_body_that_may_need_all_memory_is_taken_when_nothing_else_comes(tmp_path: Path):
    """A chunked one might become the largest; what has come of it does not stand in its own way."""
    (body,) = bodies(1, 1_000_000)
    chunked = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"%x\r\n" % len(body) + body
    with (
        running_ingress(tmp_path, memory_bytes=16 * MEBIBYTE) as ingress,
        socket.create_connection(ingress.service_address) as client,
    ):
        client.settimeout(5)
        client.sendall(chunked + b"\r\n0\r\n\r\n")
        assert client.recv(10_000).startswith(b"HTTP/1.1 202")


def test_more_connections_than_may_be_wait(tmp_path: Path):
    """And those that are idle make room."""
    with running_ingress(tmp_path, connections=5) as ingress:
        idle = [socket.create_connection(ingress.service_address) for _ in range(5)]
        try:
            for number, each in enumerate(idle[:3]):
                body = json.dumps(message(f"idle {number}")).encode()
                each.sendall(head(len(body)) + body)
                assert each.recv(10_000).startswith(b"HTTP/1.1 202")
            answers = post_at_once(ingress, bodies(20))
            assert set(answers) == {(202, "published")}
            assert "connections" in ingress.details()["limits_reached"]
            assert ingress.metric("bridge_connections_refused_total") == 0
            print(f"\nfigure: refused: 0 of {len(answers)}; the operator saw: limits_reached connections")
        finally:
            for each in idle:
                each.close()


def test_those_who_open_connections_and_send_nothing_keep_nobody_out(tmp_path: Path):
    """They have a minute for their heads, and take all the connections that there may be."""
    with running_ingress(tmp_path, connections=20, header_timeout_s=60) as ingress, contextlib.ExitStack() as silent:
        for _ in range(40):
            silent.enter_context(socket.create_connection(ingress.service_address))
        eventually(lambda: "connections" in ingress.service.acceptor.reached)
        answers = post_at_once(ingress, bodies(30))
        assert set(answers) == {(202, "published")}
        published = len(ingress.kafka.topic("messages"))
        print(f"\nfigure: lost: {30 - published} of {len(answers)}; the operator saw: limits_reached connections")
        assert published == 30


def test_a_connection_that_is_silent_counts_as_what_it_can_hold(tmp_path: Path):
    """Not as the largest body: all of these are accepted at once, and all answered when they send something."""
    with running_ingress(tmp_path, memory_bytes=16 * MEBIBYTE, header_timeout_s=60) as ingress:
        acceptor_ = ingress.service.acceptor
        assert acceptor_._may_be_unknown() == 64


def test_connections_that_become_idle_after_the_limit_was_reached_make_room_too(tmp_path: Path):
    kafka = FakeKafka()
    kafka.stop_answering()
    with running_ingress(tmp_path, kafka=kafka, connections=5, deadline_s=4) as ingress:
        busy = [socket.create_connection(ingress.service_address) for _ in range(6)]
        try:
            for each, body in zip(busy, bodies(6), strict=True):
                each.settimeout(5)
                each.sendall(head(len(body)) + body)
            eventually(lambda: ingress.service.acceptor.reached == ["connections"])
            kafka.answer()
            for each in busy:
                assert each.recv(10_000).startswith(b"HTTP/1.1 202")
        finally:
            for each in busy:
                each.close()


class OutOfDescriptors:
    """A listening socket whose process has no descriptor left for a while."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.failures = 0
        self.over = threading.Event()

    def fileno(self) -> int:
        return self._listener.fileno()

    def setsockopt(self, *args: int) -> None:
        self._listener.setsockopt(*args)

    def close(self) -> None:
        self._listener.close()

    def accept(self) -> tuple[socket.socket, object]:
        if not self.over.is_set():
            self.failures += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self._listener.accept()


def test_without_descriptors_connections_wait_rather_than_being_reset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    found: list[OutOfDescriptors] = []
    original = acceptor.Acceptor.open

    def without_descriptors(self, listener, *args) -> None:
        found.append(OutOfDescriptors(listener))
        original(self, found[0], *args)

    monkeypatch.setattr(acceptor.Acceptor, "open", without_descriptors)
    with running_ingress(tmp_path) as ingress, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(post_at_once, ingress, bodies(3))
        eventually(lambda: found and found[0].failures > 1)
        found[0].over.set()
        assert set(sent.result()) == {(202, "published")}
        assert ingress.details()["limits_reached"] == ["descriptors"]
        assert ingress.details()["status"] == "degraded"
        assert ingress.metric("bridge_accept_pauses_total", limit="descriptors") == found[0].failures
        print("\nfigure: refused: 0 of 3; the operator saw: degraded, limits_reached descriptors")
    assert "LimitNOFILE" in caplog.text


def test_the_limit_of_descriptors_is_raised_as_far_as_it_may_be():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        assert acceptor.most_connections(100) == 100
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 256
        assert acceptor.most_connections(300) == 300
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300 + acceptor.RESERVED_DESCRIPTORS
        if hard != resource.RLIM_INFINITY:
            assert acceptor.most_connections(hard) == hard - acceptor.RESERVED_DESCRIPTORS
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_what_waits_in_the_backlog_at_a_stop_is_answered(tmp_path: Path):
    """Also more than may be accepted before the heads of the first were read: nobody else has the socket."""
    go_on = threading.Event()
    with running_ingress(tmp_path, memory_bytes=16 * MEBIBYTE) as ingress, contextlib.ExitStack() as clients:
        ingress.on_loop(go_on.wait)
        waiting = [clients.enter_context(socket.create_connection(ingress.service_address)) for _ in range(200)]
        for client, body in zip(waiting, bodies(200), strict=True):
            client.settimeout(30)
            client.sendall(head(len(body)) + body)
        ingress.stop()
        go_on.set()
        answers = [client.recv(10_000) for client in waiting]
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 202"] * 200
    assert len(ingress.kafka.topic("messages")) == 200


def test_what_waits_in_the_backlog_at_a_stop_waits_for_the_end_of_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    accept_backlog = Acceptor._accept_backlog

    async def with_memory_soon(accepting: Acceptor) -> None:
        asyncio.get_running_loop().call_later(0.05, memory.give, 16 * MEBIBYTE)
        await accept_backlog(accepting)

    monkeypatch.setattr(Acceptor, "_accept_backlog", with_memory_soon)
    with running_ingress(tmp_path, memory_bytes=16 * MEBIBYTE) as ingress, contextlib.ExitStack() as clients:
        memory = ingress.service.ingress.memory
        ingress.on_loop(memory.add, 16 * MEBIBYTE)
        waiting = [clients.enter_context(socket.create_connection(ingress.service_address)) for _ in range(20)]
        for client, body in zip(waiting, bodies(20), strict=True):
            client.settimeout(30)
            client.sendall(head(len(body)) + body)
        ingress.stop()
        answers = [client.recv(10_000) for client in waiting]
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 202"] * 20


def test_what_was_on_its_way_as_an_idle_connection_ended_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is not answered, for this side has ended already; but it is read and published, rather than refused."""
    monkeypatch.setattr(server, "_ON_THEIR_WAY_S", 60.0)
    first, second = bodies(2)
    with running_ingress(tmp_path) as ingress, socket.create_connection(ingress.service_address) as client:
        client.settimeout(30)
        client.sendall(head(len(first)) + first)
        assert client.recv(10_000).startswith(b"HTTP/1.1 202")
        ingress.stop()
        assert client.recv(10_000) == b"", "the connection was idle until its end was announced"
        client.sendall(head(len(second)) + second)
        eventually(lambda: [record.key for record in ingress.kafka.topic("messages")] == [b"m0", b"m1"])
