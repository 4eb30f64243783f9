"""With load running from a client that never retries, processes are killed, restarted and upgraded.

Connections wait in the backlog of a socket that outlives the processes. What a killed process had read and not answered
cannot be answered by another: it is told apart here, by the moment of the kill.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from support.bridge_process import TOKEN, TOKENS_FILE, Bridge
from support.consume import headers_of, read_all
from support.kills import Kill, kill
from support.load import SENDER_PATIENCE_S, Load
from support.local_servers import LocalStack
from support.wait import eventually

pytestmark = [pytest.mark.integration]

NewBridge = Callable[..., Bridge]


@pytest.fixture
def new_bridge(servers: LocalStack, tmp_path: Path) -> Iterator[NewBridge]:
    with contextlib.ExitStack() as stack:

        def new(*, held: bool = False, **variables: str) -> Bridge:
            bridge = Bridge(servers.kafka, servers.registry, tmp_path, variables=variables)
            if held:
                bridge.listener = stack.enter_context(bridge.listen())
            stack.callback(bridge.close)
            bridge.prepare()
            bridge.start()
            return bridge

        yield new


def assert_nothing_lost(bridge: Bridge, load: Load, what: str, kills: list[Kill]) -> None:
    eventually(lambda: bridge.spooled == 0, within=60)
    stored: dict[str, set[str]] = {}
    for message in read_all(bridge.kafka, bridge.topic):
        stored.setdefault(message.key().decode(), set()).add(headers_of(message)["ce_id"])
    lost = [key for key, event_id in load.accepted.items() if event_id not in stored.get(key, ())]
    unanswered = [attempt for attempt in load.attempts if attempt.status is None]
    refused = [attempt for attempt in unanswered if not any(one.hit(attempt) for one in kills)]
    print(
        f"\nfigure: {what}: {len(load.attempts)} sent, lost of those answered 2xx: {len(lost)}, never answered:"
        f" {len(refused)}, in the hands of a killed process: {len(unanswered) - len(refused)} (of these stored:"
        f" {sum(attempt.key in stored for attempt in unanswered)}), slowest answer: {load.slowest:.2f} s,"
        f" {dict(load.outcomes)}"
    )
    assert load.accepted
    assert lost == []
    assert refused == []
    # A connection has one request at a time, and a kill hits what is under way within milliseconds.
    assert len(unanswered) <= 5 * len(kills)
    assert load.outcomes.keys() <= {"published", "spooled", "no answer"}
    assert load.slowest < SENDER_PATIENCE_S


def more_answers(load: Load, count: int = 100) -> None:
    """Return when so many more requests were accepted."""
    before = len(load.accepted)
    eventually(lambda: len(load.accepted) > before + count)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigkill_of_each_worker_in_turn(new_bridge: NewBridge, workers: str):
    bridge = new_bridge(BRIDGE_WORKERS=workers)
    kills = []
    with Load(bridge.url, TOKEN) as load:
        more_answers(load)
        for _ in range(3):
            before = bridge.workers
            kills.append(kill(before[:1], partial(os.kill, before[0], signal.SIGKILL)))
            eventually(lambda before=before: before[0] not in bridge.workers and len(bridge.workers) == len(before))
            more_answers(load)
    assert_nothing_lost(bridge, load, f"three workers killed, {workers} at once", kills)


def test_sigkill_of_the_supervisor_whose_socket_is_held_by_a_service_manager(new_bridge: NewBridge):
    """Its workers answer what they have and end; the next supervisor goes on with what waits in the backlog."""
    bridge = new_bridge(held=True)
    with Load(bridge.url, TOKEN) as load:
        more_answers(load)
        os.kill(bridge.process.pid, signal.SIGKILL)
        bridge.process.wait()
        bridge.start()
        more_answers(load)
    assert_nothing_lost(bridge, load, "SIGKILL of the supervisor", [])


def test_sigkill_of_all_at_once_with_a_socket_held_by_a_service_manager(new_bridge: NewBridge):
    bridge = new_bridge(held=True)
    with Load(bridge.url, TOKEN) as load:
        more_answers(load)
        killed = kill(bridge.workers, bridge.kill)
        bridge.start()
        more_answers(load)
    assert_nothing_lost(bridge, load, "SIGKILL of all processes", [killed])


def test_restart_with_a_socket_held_by_a_service_manager(new_bridge: NewBridge):
    bridge = new_bridge(held=True)
    with Load(bridge.url, TOKEN) as load:
        for _ in range(2):
            more_answers(load)
            assert bridge.terminate()[0] == 0
            bridge.start()
        more_answers(load)
    assert_nothing_lost(bridge, load, "two restarts", [])


@pytest.mark.parametrize(("workers", "held"), [("1", False), ("2", True)])
def test_an_upgrade_takes_the_socket_over(new_bridge: NewBridge, workers: str, *, held: bool):
    """SIGUSR2: the new process serves before the former ends; and once more, with the new one. Whoever opened it."""
    bridge = new_bridge(held=held, BRIDGE_WORKERS=workers)
    with Load(bridge.url, TOKEN) as load:
        for _ in range(2):
            more_answers(load)
            bridge.upgrade()
        more_answers(load)
    assert_nothing_lost(bridge, load, f"two upgrades with {workers} workers", [])


def test_an_upgrade_that_cannot_start_leaves_everything_as_it_was(new_bridge: NewBridge, tmp_path: Path):
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKENS_FILE)
    bridge = new_bridge(BRIDGE_TOKENS_FILE=str(tokens))
    before = bridge.workers
    with Load(bridge.url, TOKEN) as load:
        more_answers(load)
        tokens.write_text("no token file")
        bridge.process.send_signal(signal.SIGUSR2)
        eventually(lambda: "upgrade.failed" in bridge.log.read_text())
        more_answers(load)
        assert bridge.workers == before
    assert_nothing_lost(bridge, load, "an upgrade that failed", [])


def test_sighup_under_load(new_bridge: NewBridge):
    bridge = new_bridge()
    with Load(bridge.url, TOKEN) as load:
        for _ in range(5):
            more_answers(load, 20)
            os.kill(bridge.process.pid, signal.SIGHUP)
    assert_nothing_lost(bridge, load, "SIGHUP", [])


def test_a_connection_that_waits_for_its_first_byte_is_not_refused_by_a_restart(new_bridge: NewBridge):
    bridge = new_bridge(held=True)
    bridge.terminate()
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        bridge.start()
        assert client.recv(100).startswith(b"HTTP/1.1 200")
