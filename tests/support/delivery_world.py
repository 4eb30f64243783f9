"""A bridge, a worker and their servers under a load that never ends, and whether what was accepted is in the views."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, DeletedRecords, OffsetSpec
from prometheus_client.parser import text_string_to_metric_families

from support.bridge_process import TOKEN, TOKENS_FILE, Bridge
from support.delivery_judge import Envelope, Judge
from support.join_cases import at, conversation, inserted, status_of
from support.join_fleet import Fleet, Member
from support.load import Attempt, Load
from support.local_servers import LocalStack
from support.look import look, shown
from support.registry_proxy import Proxy, proxy
from support.small_disk import mount, small_disk
from support.wait import SESSION_S, eventually
from support.wrong_clock import WrongClock

#: Messages of a conversation, and what else there is of each of them: its row, and a receipt that has no conversation.
_OF_A_CONVERSATION = 10
CONNECTIONS = 512
MEMORY_MIB = 16


def events_of(organization: str) -> Callable[[int], Envelope]:
    """Return what makes an organization's next event: conversations' rows, their messages, and receipts of these."""
    numbers = itertools.count()

    def event(_: int) -> Envelope:
        number = next(numbers)
        place, own = number % _OF_A_CONVERSATION, {"organization_id": organization}
        key = f"{organization}-{number // _OF_A_CONVERSATION}"
        if place == 0:
            return conversation(key, "insert", **own, name=key, service="whatsapp", updated_at=at(1), created_at=at(1))
        if place == _OF_A_CONVERSATION - 1:
            return status_of(f"{key}-1", "read", place)
        direction = "outgoing" if place % 2 else "incoming"
        row = inserted(f"{key}-{place}", key, direction, place)
        return {**row, "data": row["data"] | own}

    return event


@dataclass
class World:
    """What happens to it is told by the cases; nothing of it ends before the last of them."""

    servers: LocalStack
    between: Proxy
    bridge: Bridge
    fleet: Fleet
    admin: AdminClient
    load: Load
    judge: Judge
    #: Where the spool is, and where the stores are; whether those are small disks; and the clock of the machine.
    disk: Path
    stores: Path
    small: bool
    clock: WrongClock
    #: Of which events are sent at the moment.
    organization: str = "before"

    # The load.

    def send(self, organization: str) -> None:
        """Send events of another organization from now on."""
        self.organization, self.load.event = organization, events_of(organization)

    def some_more(self, count: int = 50) -> None:
        """Return when so many more events were accepted."""
        before = len(self.load.accepted)
        eventually(lambda: len(self.load.accepted) > before + count, within=60)

    def all_answered(self) -> None:
        """Return when the requests that were sent until now have been answered, or have been given up."""
        now = time.monotonic()
        eventually(lambda: all(started > now for started in list(self.load.waiting.values())), within=60)

    def published(self) -> set[str]:
        """Return the ids of the events that are in their topic, as their answers say."""
        answers = [attempt.answer for attempt in list(self.load.attempts)]
        return {answer["event_id"] for answer in answers if answer.get("disposition") == "published"}

    def lose(self, since: float) -> None:
        """Note that what was published between `since` and now may have been deleted by somebody."""
        now = time.monotonic()
        self.all_answered()
        for attempt in list(self.load.attempts):
            if since < attempt.started <= now and attempt.answer.get("disposition") == "published":
                self.judge.gone.add(attempt.answer["event_id"])

    def posted(self, envelope: Envelope, content: bytes | None = None, **headers: str) -> Attempt:
        """Send an event once, as another sender would; `content` is how it is written, with more `headers`."""
        began = time.monotonic()
        own = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", **headers}
        body = json.dumps(envelope).encode() if content is None else content
        answer = httpx.post(f"{self.bridge.url}/webhooks", content=body, headers=own, timeout=5, trust_env=False)
        key, seconds = envelope["data"]["id"], time.monotonic() - began
        return Attempt(key, seconds, began, answer.status_code, answer.json(), envelope)

    def post(self, envelope: Envelope, content: bytes | None = None, **headers: str) -> Attempt:
        """Do that, and count it as the load's own."""
        attempt = self.posted(envelope, content, **headers)
        self.load.attempts.append(attempt)
        return attempt

    # The bridge.

    def run(self, program: str, *arguments: str, **variables: str) -> None:
        """Run a command with the settings of the bridge and the worker, and others; it must succeed."""
        own = {"STREAMS_TOKENS": f"tests={TOKEN}", "STREAMS_APP_ID": f"{self.bridge.prefix}streams"}
        command = [Path(sys.executable).with_name(program), *arguments]
        environment = {**self.bridge.environment, **own, **variables}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done

    @property
    def log(self) -> str:
        return self.bridge.log.read_text("utf-8", "replace")

    def logged(self, event: str, since: int) -> str:
        """Return the event's name once it is in the bridge's log behind `since` characters."""
        eventually(lambda: f'"event":"{event}"' in self.log[since:], within=60)
        return event

    def degraded(self, member: str, text: str) -> str:
        """Return what a member of /readyz says once it has `text` in it and the bridge says that it is degraded."""

        def look() -> str:
            state = self.bridge.readiness()
            said = str(state[member])
            return said if state["status"] == "degraded" and text in said else ""

        return f"{member}: {eventually(look, within=60)}"

    def replaced(self, kill: Callable[[int], None]) -> None:
        """Return when another process of the bridge has taken the place of one that was killed."""
        (worker,) = self.bridge.workers
        kill(worker)
        eventually(lambda: len(self.bridge.workers) == 1 and self.bridge.workers != [worker], within=60)

    # The worker.

    @property
    def worker(self) -> Member:
        return self.fleet.members[0]

    def start_worker(self, **variables: str) -> None:
        """Start one for the topics of the bridge, with nothing on its disk, and return when it is ready."""
        self.add_worker(**variables)
        self.fleet.wait_ready()

    def add_worker(self, **variables: str) -> Member:
        """Start one, and do not wait for it."""
        own = {"STREAMS_APP_ID": f"{self.bridge.prefix}streams", "STREAMS_STORE": "rocksdb"}
        own["STREAMS_DATA_DIR"] = str(self.stores / f"{self.bridge.prefix}worker")
        return self.fleet.add(**self.bridge.topics.environment, **own, **self.clock.variables, **variables)

    def view(self, path: str) -> int:
        """Return the status with which the worker answers for a view."""
        (url,) = self.fleet.urls
        answer = look(f"{url}/{path}", TOKEN, timeout=10)
        assert answer is not None, "the worker does not answer"
        return answer[0]

    @contextlib.contextmanager
    def without_worker(self) -> Iterator[None]:
        """End the worker in order, and start it again; return when it is ready."""
        try:
            assert self.fleet.remove(self.worker) == 0
            yield
        finally:
            self.worker.wanted = True
        self.fleet.wait_ready(90)

    def said(self, words: str, since: int, within: float = 60) -> str:
        """Return what the worker has logged with these words in it, once it has, behind `since` lines."""

        def look() -> str:
            return next((line for line in self.fleet.lines[since:] if words in line), "")

        line = eventually(look, within=within)
        return str(json.loads(line[line.index("{") :])["message"])

    def metric(self, url: str, name: str, **labels: str) -> float:
        """Return the sum of the values of a metric that have these labels."""
        samples = (
            sample
            for family in text_string_to_metric_families(shown(f"{url}/metrics", TOKEN))
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )
        return sum(sample.value for sample in samples)

    def counted(self, name: str, least: float = 1, **labels: str) -> str:
        """Return the name and the value of a metric of the worker, once it is so large."""
        (url,) = self.fleet.urls
        return f"{name} {eventually(lambda: (v := self.metric(url, name, **labels)) >= least and v, within=60):g}"

    # The broker.

    def partitions(self, *names: str) -> list[TopicPartition]:
        return [TopicPartition(f"{self.bridge.prefix}{name}", number) for name in names for number in range(4)]

    def new_admin(self) -> AdminClient:
        """Return a client that knows no leaders yet. Trap: one that does may keep asking by a former leader's epoch."""
        return AdminClient({"bootstrap.servers": self.servers.kafka, "log_level": 0})

    def ends(self, *names: str) -> list[TopicPartition]:
        """Return where the partitions of topics end; raise AssertionError if that is not known yet."""
        admin = self.new_admin()
        try:
            asked = admin.list_offsets({place: OffsetSpec.latest() for place in self.partitions(*names)})
            return [TopicPartition(place.topic, place.partition, end.result(10).offset) for place, end in asked.items()]
        except KafkaException as error:
            raise AssertionError(error) from error

    def delete_records(self, *names: str) -> bool:
        """Delete all records of topics, as retention does; raise AssertionError if their policy is not known yet."""
        try:
            admin = self.new_admin()
            deleted = admin.delete_records(self.ends(*names)).values()
            return all(isinstance(one.result(10), DeletedRecords) for one in deleted)
        except KafkaException as error:
            raise AssertionError(error) from error

    @contextlib.contextmanager
    def spooling(self) -> Iterator[None]:
        """Let the broker stand still, with some events in the spool. Trap: after 9 s it is fenced when it goes on."""
        kafka = self.servers.pids["kafka"]
        os.kill(kafka, signal.SIGSTOP)
        try:
            eventually(lambda: self.bridge.spooled > 20, within=60)
            yield
        finally:
            os.kill(kafka, signal.SIGCONT)

    # The disk.

    @contextlib.contextmanager
    def full(self, disk: Path) -> Iterator[None]:
        """Leave no room on a disk."""
        self.need_root()
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        try:
            yield
        finally:
            ballast.unlink()

    @contextlib.contextmanager
    def mounted_over(self, directory: Path, options: str) -> Iterator[None]:
        """Let an empty disk hide a directory."""
        self.need_root()
        assert mount(directory, options)
        try:
            yield
        finally:
            subprocess.check_call(["umount", "--lazy", directory])

    def need_root(self) -> None:
        if not self.small:
            pytest.skip("only root can mount a small file system")


@contextlib.contextmanager
def running_world(directory: Path) -> Iterator[World]:
    """Start all of it."""
    with contextlib.ExitStack() as stack:
        properties = {"auto.create.topics.enable": "true", "group.min.session.timeout.ms": SESSION_S * 1000}
        servers = stack.enter_context(LocalStack(directory / "servers", kafka_properties=properties))
        between = stack.enter_context(proxy(servers.registry))
        (directory / "tokens").write_text(TOKENS_FILE)
        clock = WrongClock(directory)
        own = {"BRIDGE_TOKENS_FILE": str(directory / "tokens"), **clock.variables}
        world = stack.enter_context(_bridge_and_worker(directory, servers, between, clock, own))
        world.bridge.prepare()
        world.bridge.start()
        world.start_worker()
        stack.enter_context(world.load)
        yield world


@contextlib.contextmanager
def another_world(world: World, directory: Path, **variables: str) -> Iterator[World]:
    """Make a bridge and a worker with topics of their own on the servers of a world, and start nothing of it."""
    directory.mkdir()
    with _bridge_and_worker(directory, world.servers, world.between, world.clock, variables) as other:
        yield other


@contextlib.contextmanager
def _bridge_and_worker(
    directory: Path, servers: LocalStack, between: Proxy, clock: WrongClock, variables: Mapping[str, str]
) -> Iterator[World]:
    """Make what starts neither of them yet, nor the load."""
    with contextlib.ExitStack() as stack:
        disk, stores = directory / "disk", directory / "stores"
        small = stack.enter_context(small_disk(disk, "32m")) and stack.enter_context(small_disk(stores, "128m"))
        bridge = Bridge(
            servers.kafka,
            between.url,
            directory,
            variables={
                "BRIDGE_WORKERS": "1",
                "BRIDGE_SPOOL_DIR": str(disk / "spool"),
                "BRIDGE_MEMORY_BYTES": str(MEMORY_MIB << 20),
                "BRIDGE_CONNECTIONS": str(CONNECTIONS),
                **variables,
            },
        )
        bridge.listener = stack.enter_context(bridge.listen())
        stack.callback(bridge.close)
        fleet = stack.enter_context(Fleet(bridge.topics, directory, STREAMS_SESSION_TIMEOUT_S=str(SESSION_S)))
        load = Load(bridge.url, TOKEN, per_second=60, event=events_of("before"))
        admin = AdminClient({"bootstrap.servers": servers.kafka, "log_level": 0})
        judge = Judge(servers.kafka, bridge.prefix, lambda: fleet.urls[0], load)
        yield World(servers, between, bridge, fleet, admin, load, judge, disk, stores, small, clock)
