"""A whole bridge at the limits of its machine: descriptors and memory. Nothing is refused, and it stays small."""

import asyncio
import contextlib
import json
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from support.bridge_process import TOKEN, Bridge
from support.consume import read_all
from support.largest_mib import largest_mib
from support.load import Load
from support.local_servers import LocalStack
from support.wait import eventually

pytestmark = [pytest.mark.integration]

MEBIBYTE = 1024 * 1024

NewBridge = Callable[..., Bridge]


@pytest.fixture
def new_bridge(servers: LocalStack, tmp_path: Path) -> Iterator[NewBridge]:
    with contextlib.ExitStack() as stack:

        def new(**variables: str) -> Bridge:
            bridge = Bridge(servers.kafka, servers.registry, tmp_path, variables=variables)
            stack.callback(bridge.close)
            bridge.prepare()
            bridge.start()
            return bridge

        yield new


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


class Answered(NamedTuple):
    """The answer to a request: its status, 0 if there was none, its disposition or reason, and when it was there."""

    status: int
    said: str
    seconds: float


async def post_at_once(bridge: Bridge, count: int, size: int) -> dict[str, Answered]:
    """Send so many requests on as many connections, and wait for the answer of each, however long that takes.

    Return the answers by key.
    """
    content = "0123456789abcdef" * (size // 16)

    async def post(number: int) -> Answered:
        body = json.dumps(
            {"entity": "messages", "action": "insert", "data": {"id": f"m{number}", "content": content}}
        ).encode()
        head = (
            f"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        started = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", bridge.port)
        try:
            writer.write(head.encode())
            writer.write(body)
            line, _, text = (await reader.read()).partition(b"\r\n\r\n")
            answer = json.loads(text)
        except (ConnectionError, ValueError) as error:
            return Answered(0, f"no answer: {type(error).__name__}", time.monotonic() - started)
        finally:
            writer.close()
        said = answer.get("disposition") or answer["reason"]
        return Answered(int(line.split()[1]), said, time.monotonic() - started)

    answers = await asyncio.gather(*(post(number) for number in range(count)))
    return {f"m{number}": answer for number, answer in enumerate(answers)}


@pytest.mark.usefixtures("many_descriptors")
def test_1500_requests_at_once(new_bridge: NewBridge):
    """With a Kafka that is well each is accepted: none is refused for being one of many."""
    # The sender is one process, and slow on a busy machine, whose disk may be slow as well when the deadline is over.
    bridge = new_bridge(BRIDGE_HEADER_TIMEOUT_S="60", BRIDGE_BODY_TIMEOUT_S="60", BRIDGE_DEADLINE_S="4")
    eventually(lambda: bridge.readiness()["status"] == "ready")
    answers = asyncio.run(asyncio.wait_for(post_at_once(bridge, 1500, 256), 120))
    eventually(lambda: bridge.spooled == 0, within=60)
    stored = {message.key().decode() for message in read_all(bridge.kafka, bridge.topic)}
    slowest = max(answer.seconds for answer in answers.values())
    outcomes = Counter(answer.said for answer in answers.values())
    lost = len(answers.keys() - stored)
    print(f"\nfigure: 1,500 requests at once: {dict(outcomes)}, lost: {lost}, slowest answer: {slowest:.2f} s")
    assert {answer.status for answer in answers.values()} == {202}, outcomes
    assert lost == 0


#: What BRIDGE_MEMORY_BYTES is in MiB, and by how much more than that a process may grow: see the setting.
LIMIT_MIB = 64
BESIDES_MIB = 64


def test_1000_requests_of_1_mib_at_once(new_bridge: NewBridge):
    """With a gigabyte of bodies and 64 MiB of memory for them, nothing is lost."""
    bridge = new_bridge(
        BRIDGE_MEMORY_BYTES=str(LIMIT_MIB * MEBIBYTE),
        BRIDGE_MAX_BODY_BYTES=str(2 * MEBIBYTE),
        BRIDGE_SPOOL_MAX_BYTES=str(2048 * MEBIBYTE),
        # The sender is one process that has a gigabyte to send as well.
        BRIDGE_HEADER_TIMEOUT_S="60",
        BRIDGE_BODY_TIMEOUT_S="60",
    )
    (worker,) = bridge.workers
    before = largest_mib(worker)
    answers = asyncio.run(asyncio.wait_for(post_at_once(bridge, 1000, MEBIBYTE), 300))
    most = largest_mib(worker)
    assert bridge.workers == [worker]
    eventually(lambda: bridge.spooled == 0, within=120)
    stored = {message.key().decode() for message in read_all(bridge.kafka, bridge.topic)}
    outcomes = Counter(answer.said for answer in answers.values())
    lost = [key for key, answer in answers.items() if answer.status == 202 and key not in stored]
    print(
        f"\nfigure: 1,000 requests of 1 MiB with 64 MiB for them: {dict(outcomes)}, lost: {len(lost)},"
        f" stored: {len(stored)}, memory of the process: {before} MiB before, {most} MiB at most"
    )
    assert lost == []
    # A disk that is busy with all this may not confirm within its 0.9 s. Nobody is refused for want of memory.
    assert outcomes.keys() <= {"published", "spooled", "not_stored"}
    assert outcomes["not_stored"] < 100
    assert most - before < LIMIT_MIB + BESIDES_MIB


def test_at_the_limit_of_descriptors_connections_wait(new_bridge: NewBridge):
    """What is asked meanwhile is answered when there are some again."""
    bridge = new_bridge()
    (worker,) = bridge.workers
    soft, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (descriptors(worker) + 2, hard))
    with Load(bridge.url, TOKEN, per_second=200) as load:
        eventually(lambda: "gate.limit_reached" in bridge.log.read_text())
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (soft, hard))
        before = len(load.accepted)
        eventually(lambda: len(load.accepted) > before + 100)
    print(f"\nfigure: at the limit of descriptors: {dict(load.outcomes)}, slowest answer: {load.slowest:.2f} s")
    assert load.outcomes.keys() <= {"published", "spooled"}
    readiness = bridge.readiness()
    assert (readiness["status"], readiness["limits_reached"]) == ("degraded", ["descriptors"])
