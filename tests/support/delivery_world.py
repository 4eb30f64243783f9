"""A bridge, a worker and their servers under a load that never ends, and whether what was accepted is in the views."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, DeletedRecords, OffsetSpec
from prometheus_client.parser import text_string_to_metric_families

from support.bridge_process import TOKEN, TOKENS_FILE, Bridge
from support.consume import headers_of, read_all
from support.join_cases import at, conversation, inserted, status_of
from support.join_fleet import Fleet, Member
from support.join_outcome import Outcome, expected_of
from support.join_views import MEMBERS, comparable
from support.load import Attempt, Load
from support.local_servers import LocalStack
from support.registry_proxy import Proxy, proxy
from support.small_disk import mount, small_disk
from support.wait import SESSION_S, eventually
from support.wrong_clock import WrongClock

Envelope = Mapping[str, Any]
#: Messages of a conversation, and what else there is of each of them: its row, and a receipt that has no conversation.
_OF_A_CONVERSATION = 10
PAGE = 500
CONNECTIONS = 512


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


def identity(envelope: Envelope) -> tuple[str, str, str]:
    """Return what tells an event of `events_of` apart from all others."""
    return envelope["entity"], envelope["action"], envelope["data"]["id"]


@dataclass
class World:
    """What happens to it is told by the cases; nothing of it ends before the last of them."""

    servers: LocalStack
    between: Proxy
    bridge: Bridge
    fleet: Fleet
    admin: AdminClient
    load: Load
    #: Where the spool is, and where the stores are; whether those are small disks; and the clock of the machine.
    disk: Path
    stores: Path
    small: bool
    clock: WrongClock
    #: Of which events are sent at the moment.
    organization: str = "before"
    #: Ids of events that were in a topic when somebody deleted them there.
    gone: set[str] = field(default_factory=set)
    #: Ids of the events that were found in the topics, and what tells them apart.
    stored: set[str] = field(default_factory=set)
    found: set[tuple[str, str, str]] = field(default_factory=set)

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
                self.gone.add(attempt.answer["event_id"])

    # The bridge.

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

    @contextlib.contextmanager
    def without_worker(self) -> Iterator[None]:
        """End the worker in order, and start it again; return when it is ready."""
        try:
            assert self.fleet.remove(self.worker) == 0
            yield
        finally:
            self.worker.wanted = True
        self.fleet.wait_ready(90)

    def said(self, words: str, since: int) -> str:
        """Return what the worker has logged with these words in it, once it has, behind `since` lines."""

        def look() -> str:
            return next((line for line in self.fleet.lines[since:] if words in line), "")

        line = eventually(look, within=60)
        return str(json.loads(line[line.index("{") :])["message"])

    def metric(self, url: str, name: str, **labels: str) -> float:
        """Return the sum of the values of a metric that have these labels."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        try:
            answer = httpx.get(f"{url}/metrics", headers=headers, timeout=10, trust_env=False)
        except httpx.TransportError as error:
            raise AssertionError(f"no metrics: {error}") from error
        samples = (
            sample
            for family in text_string_to_metric_families(answer.text)
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
        """Return where the partitions of topics end."""
        admin = self.new_admin()
        asked = admin.list_offsets({place: OffsetSpec.latest() for place in self.partitions(*names)})
        return [TopicPartition(place.topic, place.partition, end.result(10).offset) for place, end in asked.items()]

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

    # The judge.

    def look_into_topics(self) -> None:
        """Note which events are in their topics."""
        for entity in ("messages", "conversations"):
            for message in read_all(self.bridge.kafka, f"{self.bridge.prefix}{entity}"):
                if message.headers() is not None and "ce_id" in (headers := headers_of(message)):
                    self.stored.add(headers["ce_id"])
                    self.found.add((entity, headers["ce_type"].rpartition(".")[2], _key(message)))

    def attempts_of(self, organization: str) -> list[Attempt]:
        """Return what was sent of an organization. A receipt does not name it."""
        return [attempt for attempt in list(self.load.attempts) if attempt.key.startswith(f"{organization}-")]

    def differences(self, organization: str) -> list[str]:
        """Return a line for each state in the views of an organization that is not what was sent."""
        sent = [
            one for one in self.attempts_of(organization) if one.status == httpx.codes.ACCEPTED or self.is_found(one)
        ]
        expected = expected_of([attempt.sent for attempt in sent])
        # Who deleted an event before the worker had read it has deleted it, and it is not known when that was.
        lost = [attempt.sent["data"] for attempt in sent if attempt.answer.get("event_id") in self.gone]
        spared = {row["id"] for row in lost} | {row["id"].rpartition("-")[0] for row in lost}
        return [
            f"{kind} {key}: {difference}"
            for kind, shown in self.shown(organization).items()
            for key, difference in _differences(kind, shown, expected, organization)
            if key not in spared
        ]

    def is_found(self, attempt: Attempt) -> bool:
        return identity(attempt.sent) in self.found

    def shown(self, organization: str) -> dict[str, dict[str, dict[str, Any]]]:
        """Return what the views have of an organization: messages and conversations by their ids."""
        (url,) = self.fleet.urls
        shown: dict[str, dict[str, dict[str, Any]]] = {"messages": {}, "conversations": {}}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=url, headers=headers, timeout=20, trust_env=False) as views:
            for kind, found in shown.items():
                query = {"organization_id": organization, "limit": str(PAGE)}
                while "cursor" not in query or query["cursor"]:
                    answer = views.get(f"/{kind}", params=query)
                    assert answer.status_code == httpx.codes.OK, answer.text
                    page = answer.json()
                    found.update((item["id"], item) for item in page[kind])
                    query["cursor"] = page["next_cursor"]
        return shown


def _key(message: Message) -> str:
    return message.key().decode("utf-8", "replace")


def _differences(
    kind: str, shown: Mapping[str, dict[str, Any]], expected: Outcome, organization: str
) -> Iterator[tuple[str, str]]:
    states = getattr(expected, kind)
    # Of a message of which only a receipt was accepted nobody knows whose it is.
    wanted = {key: state for key, state in states.items() if state["organization_id"] == organization}
    for key in shown.keys() | wanted.keys():
        if key not in shown or key not in wanted:
            yield key, "not shown" if key in wanted else "shown, and was never accepted"
            continue
        names = [name for name in MEMBERS[kind] if name in shown[key]]
        wrong = [name for name in names if comparable(shown[key][name]) != wanted[key][name]]
        if wrong:
            yield key, ", ".join(f"{name} {shown[key][name]} instead of {wanted[key][name]}" for name in wrong)


@contextlib.contextmanager
def running_world(directory: Path) -> Iterator[World]:
    """Start all of it."""
    with contextlib.ExitStack() as stack:
        properties = {"auto.create.topics.enable": "true", "group.min.session.timeout.ms": SESSION_S * 1000}
        servers = stack.enter_context(LocalStack(directory / "servers", kafka_properties=properties))
        between = stack.enter_context(proxy(servers.registry))
        (directory / "tokens").write_text(TOKENS_FILE)
        clock, disk, stores = WrongClock(directory), directory / "disk", directory / "stores"
        small = stack.enter_context(small_disk(disk, "32m")) and stack.enter_context(small_disk(stores, "128m"))
        bridge = Bridge(
            servers.kafka,
            between.url,
            directory,
            variables={
                "BRIDGE_TOKENS_FILE": str(directory / "tokens"),
                "BRIDGE_WORKERS": "1",
                "BRIDGE_SPOOL_DIR": str(disk / "spool"),
                "BRIDGE_MEMORY_BYTES": str(16 << 20),
                "BRIDGE_CONNECTIONS": str(CONNECTIONS),
                **clock.variables,
            },
        )
        bridge.listener = stack.enter_context(bridge.listen())
        stack.callback(bridge.close)
        bridge.prepare()
        bridge.start()
        fleet = stack.enter_context(Fleet(bridge.topics, directory, STREAMS_SESSION_TIMEOUT_S=str(SESSION_S)))
        fleet.add(STREAMS_STORE="rocksdb", STREAMS_DATA_DIR=str(stores / "worker"), **clock.variables)
        fleet.wait_ready()
        load = stack.enter_context(Load(bridge.url, TOKEN, per_second=60, event=events_of("before")))
        admin = AdminClient({"bootstrap.servers": servers.kafka, "log_level": 0})
        yield World(servers, between, bridge, fleet, admin, load, disk, stores, small, clock)
