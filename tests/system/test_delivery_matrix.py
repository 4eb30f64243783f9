"""One bridge under load from a sender that never retries; one accident after the other happens to it.

For each: what was lost of what was answered with a 2xx (nothing), and what the operator saw, in `/readyz` or the log.
What the documentation lists besides these has a test of its own, which its row names.
"""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from support.bridge_process import TOKEN, Bridge
from support.consume import headers_of, read_all
from support.load import SENDER_PATIENCE_S, Load
from support.local_servers import LocalStack, listen, new_token
from support.wait import eventually
from support.wrong_clock import WrongClock

pytestmark = [pytest.mark.integration]


@dataclass
class World:
    """A bridge whose socket somebody holds, its servers, and a load that never ends."""

    servers: LocalStack
    bridge: Bridge
    admin: AdminClient
    load: Load
    #: Where the spool is; whether that is a small disk of its own; and the clock of the bridge's machine.
    disk: Path
    small: bool
    clock: WrongClock
    #: Ids of events that were in a topic when that was deleted.
    gone: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)

    def some_more(self, count: int = 50) -> None:
        """Return when so many more events were accepted."""
        before = len(self.load.accepted)
        eventually(lambda: len(self.load.accepted) > before + count, within=60)

    def logged(self, event: str, since: int) -> str:
        """Return the event's name once it is in the log behind `since` characters."""
        eventually(lambda: f'"event":"{event}"' in self.log[since:], within=60)
        return event

    @property
    def log(self) -> str:
        return self.bridge.log.read_text("utf-8", "replace")

    def degraded(self, member: str, text: str) -> str:
        """Return what a member of /readyz says once it has `text` in it and the bridge says that it is degraded."""

        def look() -> str:
            state = self.bridge.readiness()
            said = str(state[member])
            return said if state["status"] == "degraded" and text in said else ""

        return f"{member}: {eventually(look, within=60)}"

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Leave no room on the disk of the spool."""
        if not self.small:
            pytest.skip("only root can mount a small file system")
        ballast = self.disk / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        try:
            yield
        finally:
            ballast.unlink()

    def published(self) -> set[str]:
        answers = [attempt.answer for attempt in list(self.load.attempts)]
        return {answer["event_id"] for answer in answers if answer.get("disposition") == "published"}

    def replaced(self, kill: Callable[[int], None]) -> None:
        """Return when another worker has taken the place of one that was killed."""
        (worker,) = self.bridge.workers
        kill(worker)
        eventually(lambda: len(self.bridge.workers) == 1 and self.bridge.workers != [worker], within=60)


Case = Callable[[World, int], str]


def sigkill_of_a_worker(world: World, since: int) -> str:
    world.replaced(lambda worker: os.kill(worker, signal.SIGKILL))
    world.some_more()
    return world.logged("worker.replaced", since)


def restart(world: World, since: int) -> str:
    assert world.bridge.terminate()[0] == 0
    world.bridge.start()
    world.some_more()
    return world.logged("http.listening", since)


def upgrade(world: World, since: int) -> str:
    world.bridge.upgrade()
    world.some_more()
    return world.logged("upgrade.completed", since)


def tokens_file_that_is_broken(world: World, since: int) -> str:
    tokens = world.bridge.directory / "tokens"
    text = tokens.read_text()
    tokens.write_text("half a li")
    seen = world.logged("tokens.not_reloaded", since)
    world.replaced(lambda worker: os.kill(worker, signal.SIGKILL))
    world.some_more()
    tokens.write_text(text)
    world.logged("tokens.reloaded", since)
    return seen


def kafka_that_does_not_answer(world: World, _: int) -> str:
    kafka = world.servers.pids["kafka"]
    os.kill(kafka, signal.SIGSTOP)
    try:
        seen = world.degraded("last_publish_failure", "deadline")
        world.some_more()
    finally:
        os.kill(kafka, signal.SIGCONT)
    return seen


def kafka_that_is_killed(world: World, _: int) -> str:
    world.servers.broker.kill()
    seen = world.degraded("publishing", "False")
    world.some_more()
    world.servers.broker.start(120)
    return seen


def registry_that_is_killed(world: World, since: int) -> str:
    world.servers.schema_registry.kill()
    world.replaced(lambda worker: os.kill(worker, signal.SIGKILL))
    seen = world.degraded("waiting_for", "schema_registry")
    before = world.load.count("published")
    eventually(lambda: world.load.count("published") > before + 50, within=60)
    seen = f"{seen}; {world.logged('schemas.unknown', since)}"
    world.servers.schema_registry.start(120)
    return seen


def topic_that_is_deleted(world: World, since: int) -> str:
    topic = world.bridge.topic
    world.admin.delete_topics([topic])[topic].result(10)
    world.gone |= world.published()
    seen = world.degraded("waiting_for", f"{topic}: missing")
    world.some_more()
    world.bridge.prepare()
    return f"{seen}; {world.logged('topics.wrong', since)}"


def topic_with_wrong_settings(world: World, since: int) -> str:
    topic = world.bridge.topic

    def delete() -> None:
        world.admin.delete_topics([topic])[topic].result(10)
        eventually(lambda: topic not in world.admin.list_topics(timeout=10).topics, within=30)

    def create() -> bool:
        world.admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)
        return True

    delete()
    eventually(create)
    world.gone |= world.published()
    seen = world.degraded("waiting_for", f"{topic}: 1 partitions")
    world.some_more()
    delete()
    world.bridge.prepare()
    return f"{seen}; {world.logged('topics.replaced', since)}"


def spool_that_is_removed(world: World, since: int) -> str:
    """While it holds events; what it held is there again."""
    kafka = world.servers.pids["kafka"]
    os.kill(kafka, signal.SIGSTOP)
    try:
        eventually(lambda: world.bridge.spooled > 20, within=60)
        for path in (world.disk / "spool").glob("spool-*"):
            path.unlink(missing_ok=True)
        # Those that were waiting for Kafka when it stopped are in the spool after the deadline, and none is under way.
        world.some_more(220)
        seen = world.logged("spool.recovered", since)
        world.bridge.kill()  # what is not on the disk is gone now
    finally:
        # Trap: a broker that does not answer for 9 s is fenced.
        os.kill(kafka, signal.SIGCONT)
    world.bridge.start()
    return seen


def no_descriptor_is_left(world: World, since: int) -> str:
    (worker,) = world.bridge.workers
    soft, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    in_use = len(list(Path(f"/proc/{worker}/fd").iterdir()))
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (in_use, hard))
    with contextlib.ExitStack() as clients:
        try:
            for _ in range(20):
                clients.enter_context(socket.create_connection(("127.0.0.1", world.bridge.port)))
            seen = world.logged("gate.limit_reached", since)
        finally:
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (soft, hard))
    return f"{seen}; {world.degraded('limits_reached', 'descriptors')}"


def many_at_once(world: World, _: int) -> str:
    with Load(world.bridge.url, TOKEN, per_second=2_000, prefix="flood") as flood:
        eventually(lambda: len(flood.attempts) > 1_000, within=60)
    lost = flood.accepted.keys() - {attempt.key for attempt in flood.attempts if attempt.status == 202}
    assert not lost
    assert flood.outcomes.keys() <= {"published", "spooled"}
    # They count as its own.
    world.load.attempts.extend(flood.attempts)
    return f"nothing: {len(flood.attempts)} answered, the slowest after {flood.slowest:.1f} s"


def disk_that_is_full(world: World, since: int) -> str:
    """While Kafka does not answer: what comes then cannot be kept, and is not answered as if it were."""
    kafka = world.servers.pids["kafka"]
    with world.full():
        os.kill(kafka, signal.SIGSTOP)
        try:
            seen = world.logged("spool.not_written", since)
            eventually(lambda: world.bridge.readiness()["status"] == "unready", within=60)
        finally:
            os.kill(kafka, signal.SIGCONT)
    world.logged("spool.repaired", since)
    return f"status: unready; {seen}"


def restart_while_the_disk_is_full(world: World, since: int) -> str:
    """Kafka takes events, so the disk must keep no bridge from starting, nor a worker from being replaced."""
    with world.full():
        restart(world, since)
        seen = world.degraded("spool", "'failing': '")
        first = len(world.log)
        world.replaced(lambda worker: os.kill(worker, signal.SIGKILL))
        world.some_more()
        world.logged("spool.not_opened", first)
    world.logged("spool.opened", first)
    return seen


def clock_that_is_wrong(world: World, since: int) -> str:
    """40 days behind while it runs, and two hours ahead from a start on."""
    try:
        world.clock.set(-40 * 86_400)
        seen = world.degraded("remarks", "behind the brokers'")
        world.some_more()
        world.clock.set(7_200)
        assert world.bridge.terminate()[0] == 0
        world.bridge.start()
        world.degraded("remarks", "ahead of the brokers'")
        world.some_more()
        world.logged("clock.skewed", since)
    finally:
        world.clock.set(0)
    world.logged("clock.right", since)
    # With the bridge's time, retention would delete them at once, or the broker refuse them.
    written = {message.timestamp()[1] / 1000 for message in read_all(world.bridge.kafka, world.bridge.topic)}
    assert max(abs(at - time.time()) for at in written) < 3_600
    return f"{seen}; clock.skewed"


CASES: dict[str, Case] = {
    "SIGKILL of a worker": sigkill_of_a_worker,
    "restart": restart,
    "tokens file is broken, and a worker dies": tokens_file_that_is_broken,
    "Kafka does not answer": kafka_that_does_not_answer,
    "Kafka is killed": kafka_that_is_killed,
    "registry is killed, and a worker dies": registry_that_is_killed,
    "topic is deleted": topic_that_is_deleted,
    "topic has wrong settings": topic_with_wrong_settings,
    "spool is removed, and all processes die": spool_that_is_removed,
    "no descriptor is left": no_descriptor_is_left,
    "a thousand at once": many_at_once,
    "disk is full": disk_that_is_full,
    "restart while the disk is full, and a worker dies": restart_while_the_disk_is_full,
    "machine's clock is wrong": clock_that_is_wrong,
    # The last one: the successor is in the group of processes of the first.
    "upgrade": upgrade,
}
#: Requests that a killed process had read and not answered, on a connection that was new.
KILLED = {name for name in CASES if "die" in name or "SIGKILL" in name}
#: What neither Kafka nor the spool can take is refused, as `not_stored`.
REFUSED = {"disk is full"}


@contextlib.contextmanager
def small_disk(directory: Path) -> Iterator[bool]:
    """Mount a small disk there, if that may be done; yield whether it was."""
    directory.mkdir()
    mounted = os.geteuid() == 0 and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", directory], stderr=subprocess.DEVNULL
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.check_call(["umount", directory])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        servers = stack.enter_context(LocalStack(kafka_properties={"auto.create.topics.enable": "true"}))
        directory = tmp_path_factory.mktemp("matrix")
        (directory / "tokens").write_text(new_token("other")[1])
        clock, disk = WrongClock(directory), directory / "disk"
        small = stack.enter_context(small_disk(disk))
        variables = {
            "BRIDGE_TOKENS_FILE": str(directory / "tokens"),
            "BRIDGE_WORKERS": "1",
            "BRIDGE_SPOOL_DIR": str(disk / "spool"),
            **clock.variables,
        }
        bridge = Bridge(servers.kafka, servers.registry, directory, variables=variables)
        bridge.listener = stack.enter_context(listen("127.0.0.1", bridge.port))
        stack.callback(bridge.close)
        bridge.prepare()
        bridge.start()
        load = stack.enter_context(Load(bridge.url, TOKEN, per_second=60))
        admin = AdminClient({"bootstrap.servers": servers.kafka, "log_level": 0})
        yield World(servers, bridge, admin, load, disk, small, clock)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_lost_and_the_operator_sees_why(world: World, name: str):
    world.some_more()
    first = len(world.load.attempts)
    seen = CASES[name](world, len(world.log))
    before = world.load.count("published")
    eventually(lambda: world.load.count("published") > before + 20, within=90)
    attempts = world.load.attempts[first:]
    eventually(lambda: world.bridge.spooled == 0, within=90)
    world.stored |= {headers_of(message)["ce_id"] for message in read_all(world.bridge.kafka, world.bridge.topic)}
    accepted = {attempt.answer["event_id"] for attempt in attempts if attempt.status == 202}
    lost = accepted - world.stored - world.gone
    unanswered = sum(attempt.status is None for attempt in attempts)
    refused = [attempt.answer["reason"] for attempt in attempts if attempt.status not in {202, None}]
    slowest = max(attempt.seconds for attempt in attempts)
    print(
        f"\nfigure: {name}: lost: {len(lost)} of {len(accepted)}, unanswered: {unanswered}, refused: {len(refused)},"
        f" slowest: {slowest:.1f} s;"
        f" the operator saw: {seen}"
    )
    assert accepted
    assert lost == set()
    assert unanswered <= (5 if name in KILLED else 0)
    assert set(refused) == ({"not_stored"} if name in REFUSED else set())
    assert slowest < SENDER_PATIENCE_S + 1
