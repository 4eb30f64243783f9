"""A whole bridge at the limits of its machine: descriptors and memory. Nothing is refused, and it stays small."""

import asyncio
import contextlib
import json
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.bridge_process import TOKEN, Bridge
from support.consume import read_all
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


def largest_mib(pid: int) -> int:
    """Return the most memory that a process ever had, in MiB."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


async def post_at_once(bridge: Bridge, count: int, size: int) -> dict[str, str]:
    """Send so many requests on as many connections, and wait for the answer of each, however long that takes.

    Return disposition or reason by key.
    """
    content = "0123456789abcdef" * (size // 16)

    async def post(number: int) -> str:
        body = json.dumps(
            {"entity": "messages", "action": "insert", "data": {"id": f"m{number}", "content": content}}
        ).encode()
        head = (
            f"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", bridge.port)
        try:
            writer.write(head.encode())
            writer.write(body)
            answer = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
        except (ConnectionError, ValueError) as error:
            return f"no answer: {type(error).__name__}"
        finally:
            writer.close()
        return answer.get("disposition") or answer["reason"]

    answers = await asyncio.gather(*(post(number) for number in range(count)))
    return {f"m{number}": answer for number, answer in enumerate(answers)}


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
    outcomes = Counter(answers.values())
    lost = [key for key, answer in answers.items() if answer in {"published", "spooled"} and key not in stored]
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
