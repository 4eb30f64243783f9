"""Load on an endpoint, and the floor that disk and broker set."""

import asyncio
import itertools
import os
import selectors
import time
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from confluent_kafka import Producer
from support.closed_loop import Measured as Answers
from support.closed_loop import has_wrk, in_turn, of_times, run, wrk
from support.post import Poster

_PAYLOADS = Path(__file__).parents[2] / "examples" / "payloads"
_MESSAGE_ID = "a4a8f56f-4570-47e2-bc2a-2f0d7db288b1"
#: More than it takes to make the tasks of a steady load, of which the first would be late otherwise.
_TASKS_MADE_S = 1.0
#: Open before a steady load begins; it opens more only while more answers are outstanding.
_STEADY_CONNECTIONS = 16

#: Every event is another one: nothing on the way can be quick because it has seen it before.
_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {token}"
local file = io.open("{body}"); local body = file:read("*a"); file:close()
local head, tail = body:match("^(.-){id}(.*)$")
local number = 0
function request()
  number = number + 1
  return wrk.format(nil, nil, nil, head .. string.format("%08x-{stamp}", number) .. tail)
end
"""


@dataclass(frozen=True)
class Measured(Answers):
    """The processor time of endpoint and broker for each answer, too."""

    cpu_s: float = 0.0
    broker_s: float = 0.0

    def with_cpu(self, used_s: float, seconds: float, broker_s: float = 0.0) -> "Measured":
        """Return the same with what endpoint and broker used in all, in so many seconds."""
        answers = self.per_second * seconds
        return replace(self, cpu_s=used_s / answers, broker_s=broker_s / answers)


def wait_for(port: int, token: str) -> None:
    """Return when an endpoint takes events."""
    deadline = time.monotonic() + 60
    body = (_PAYLOADS / "1-incoming-message-insert.json").read_bytes()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    while True:
        try:
            if httpx.post(
                f"http://127.0.0.1:{port}/webhooks", content=body, headers=headers, trust_env=False
            ).is_success:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing answers on port {port}")
        time.sleep(0.1)


def closed_loop(port: int, token: str, connections: int, seconds: float) -> Measured:
    """Send with so many connections, each as fast as it is answered. Every answer must be a 2xx."""
    if not has_wrk():
        return run(_closed_loop(port, token, connections, seconds))
    script = (
        _SCRIPT.replace("{token}", token)
        .replace("{body}", str(_PAYLOADS / "1-incoming-message-insert.json"))
        .replace("{id}", _MESSAGE_ID.replace("-", "%-"))
        .replace("{stamp}", f"{time.monotonic_ns():x}")
    )
    return _measured(wrk(f"http://127.0.0.1:{port}/webhooks", script, connections, seconds, ["--timeout", "5s"]))


async def _closed_loop(port: int, token: str, connections: int, seconds: float) -> Measured:
    # No two loads send the same events.
    stamp, numbers = f"{time.monotonic_ns():x}", itertools.count()
    async with Poster("127.0.0.1", port, "/webhooks", token) as poster:

        async def ask() -> None:
            await _post(poster, f"{stamp}-{next(numbers)}")

        return _measured(await in_turn(poster, connections, seconds, ask))


def steady(port: int, token: str, per_second: int, seconds: int) -> Measured:
    """Send at a steady rate, whether answered or not. A time counts from when an event was due."""
    # Trap: epoll, which asyncio's loop waits with, wakes up to a millisecond late; select does not.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return runner.run(_steady(port, token, per_second, seconds))


async def _steady(port: int, token: str, per_second: int, seconds: int) -> Measured:
    times: list[float] = []
    stamp = f"{time.monotonic_ns():x}"

    async def client(poster: Poster, number: int) -> None:
        due = started + number / per_second
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await _post(poster, f"{stamp}-{number}")
        times.append(time.monotonic() - due)

    async with Poster("127.0.0.1", port, "/webhooks", token) as poster:
        await poster.connect(_STEADY_CONNECTIONS)
        started = time.monotonic() + _TASKS_MADE_S
        async with asyncio.TaskGroup() as group:
            for number in range(per_second * seconds):
                group.create_task(client(poster, number))
    return _measured(of_times(times, seconds))


def fsync_s(directory: Path, per_second: int | None = None) -> float:
    """Return the median time of a small append and its fsync, one right after the other or at that rate."""
    times = []
    with (directory / "fsync").open("wb", buffering=0) as file:
        for _ in range(200):
            if per_second is not None:
                time.sleep(1 / per_second)
            started = time.perf_counter()
            file.write(b"x" * 1000)
            os.fsync(file.fileno())
            times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def round_trip_s(servers: str, topic: str, per_second: int | None = None) -> float:
    """Return the median time of a record to the broker and its acknowledgement, one at a time.

    They follow each other at once, or at that rate: processors that have nothing to do in between take longer.
    """
    producer = Producer({"bootstrap.servers": servers, "acks": "all", "linger.ms": 0, "enable.idempotence": True})
    times = []
    for _ in range(200):
        if per_second is not None:
            time.sleep(1 / per_second)
        started = time.perf_counter()
        producer.produce(topic, b"x" * 500, b"benchmark")
        producer.flush(10)
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


async def _post(poster: Poster, key: str) -> None:
    status, answer = await poster.post(_BODY % key.encode())
    if not 200 <= status < 300:
        raise RuntimeError(f"{status}: {answer!r}")


def _measured(answers: Answers) -> Measured:
    return Measured(answers.per_second, answers.p50_s, answers.p99_s)


_BODY = (
    (_PAYLOADS / "1-incoming-message-insert.json")
    .read_bytes()
    .replace(b"%", b"%%")
    .replace(_MESSAGE_ID.encode(), b"%s")
)
