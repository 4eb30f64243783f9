"""How long a webhook takes until the conversation's state tells of it.

Each event of the load changes a state in a way of its own (a row, the next message, the next status of the last
message), so the record that first tells of an event can be recognised even where several changes are written as one.
A bare record goes from a producer to a consumer on the same broker at the same time, for comparison.
"""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from support.machine import cpu_s
from support.post import Poster
from support.say import say

from avro import instants
from avro.catalogue import topic_name
from avro.codec import Decoder
from avro.schemas import latest
from join.cluster import CHANGELOGS, CONTRIBUTIONS, INPUTS, OUTPUTS, PREFIX, Cluster
from join.workload import STATUSES
from support import parts

RATE = 200  # events per second
ROUND_TRIPS = 20  # per second
_BETWEEN_S = 5  # two events of a conversation
_WARM_UP_S = 5
_LAST_S = 20  # for the last event to come through


@dataclass(frozen=True)
class Distribution:
    """Latencies in milliseconds."""

    name: str
    p50: float
    p99: float
    most: float
    count: int

    @classmethod
    def of(cls, name: str, seconds: list[float]) -> "Distribution":
        """Sum up what was measured."""
        cuts = quantiles(seconds, n=100)
        return cls(name, cuts[49] * 1000, cuts[98] * 1000, max(seconds) * 1000, len(seconds))


@dataclass(frozen=True)
class Use:
    """What each event has used: processor time of bridge, worker and broker, and bytes in Kafka, uncompressed."""

    bridge_s: float
    join_s: float
    broker_s: float
    source_bytes: float
    between_bytes: float
    changelog_bytes: float
    output_bytes: float


class NotThroughError(Exception):
    """Events were refused, or did not come through in time."""


def measure(cluster: Cluster, broker: psutil.Process, directory: Path, seconds: int) -> tuple[list[Distribution], Use]:
    """Send RATE events per second for `seconds` through a bridge and a worker. Raises NotThroughError."""
    cluster.reset()
    bridge, worker = parts.bridge(cluster.environment, directory), parts.worker(cluster.environment, directory)
    with ExitStack() as stack:
        for part in (worker, bridge):
            stack.callback(part.stop)
            part.launch()
        for part in (worker, bridge):
            part.wait_ready()
        say(f"latency: {RATE} events/s for {seconds} s")
        load = _Load((_WARM_UP_S + seconds) * RATE)
        stop = threading.Event()
        round_trips = _RoundTrips(cluster)
        used = [psutil.Process(bridge.pid), psutil.Process(worker.pid), broker]
        before_s = [cpu_s(process) for process in used]
        with ThreadPoolExecutor() as threads:
            beside = [threads.submit(_watch, cluster, load, stop), threads.submit(round_trips.run, stop)]
            try:
                asyncio.run(load.send(bridge.url))
                load.wait()
            finally:
                stop.set()
        for each in beside:
            each.result()
        events = len(load.seen)
        took_s = [(cpu_s(process) - before) / events for process, before in zip(used, before_s, strict=True)]
    sizes = (cluster.size(topics)[1] / events for topics in (INPUTS, (CONTRIBUTIONS,), CHANGELOGS, OUTPUTS))
    measured = range(_WARM_UP_S * RATE, events)
    return [
        Distribution.of("webhook accepted -> state readable", [load.after_answer(event) for event in measured]),
        Distribution.of("webhook sent -> state readable", [load.seen[event] - load.sent[event] for event in measured]),
        Distribution.of("webhook sent -> accepted", [load.answered[event] - load.sent[event] for event in measured]),
        Distribution.of("bare produce -> consume", round_trips.seconds[_WARM_UP_S * ROUND_TRIPS :]),
    ], Use(*took_s, *sizes)


class _Load:
    """Event `i` is step `i // conversations` of conversation `i % conversations`; times as of perf_counter."""

    def __init__(self, events: int) -> None:
        self.conversations = [str(uuid4()) for _ in range(RATE * _BETWEEN_S)]
        self.numbers = {conversation: number for number, conversation in enumerate(self.conversations)}
        self.messages = [str(uuid4()) for _ in self.conversations]
        self.sent = [0.0] * events
        self.answered = [0.0] * events
        self.seen = [0.0] * events
        self.steps = [-1] * len(self.conversations)
        self.faults: list[str] = []
        self._outstanding = events
        self._all_seen = threading.Event()

    async def send(self, url: str) -> None:
        """Post every event at its time."""
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        async with Poster(address.hostname, address.port, "/webhooks", parts.TOKEN) as poster:
            begin = time.perf_counter()
            async with asyncio.TaskGroup() as posts:
                for event in range(len(self.sent)):
                    await asyncio.sleep(max(0.0, begin + event / RATE - time.perf_counter()))
                    posts.create_task(self._post(poster, event))
        if self.faults:
            raise NotThroughError(f"{len(self.faults)} webhooks were not published, the first: {self.faults[0]}")

    async def _post(self, poster: Poster, event: int) -> None:
        body = msgspec.json.encode(self._body(event))
        self.sent[event] = time.perf_counter()
        status, answer = await poster.post(body)
        self.answered[event] = time.perf_counter()
        if status != HTTPStatus.ACCEPTED or msgspec.json.decode(answer)["disposition"] != "published":
            self.faults.append(f"{status} {answer.decode()}")

    def _body(self, event: int) -> dict[str, object]:
        step, number = divmod(event, len(self.conversations))
        now = instants.render(instants.now())
        conversation = self.conversations[number]
        if step == 0:
            row: dict[str, object] = {"organization_id": "benchmark", "id": conversation, "service": "whatsapp"}
            row |= {"status": "open", "created_at": now, "updated_at": now}
            return {"entity": "conversations", "action": "insert", "data": row}
        stage = (step - 1) % len(STATUSES)
        status = dict.fromkeys(STATUSES[: stage + 1], now)
        if stage:
            row = {"id": self.messages[number], "status": status, "updated_at": now}
            return {"entity": "messages", "action": "update", "data": row}
        self.messages[number] = str(uuid4())
        row = {"organization_id": "benchmark", "conversation_id": conversation, "id": self.messages[number]}
        row |= {
            "direction": "outgoing",
            "content": {"type": "text", "kind": "text", "text": "Hello!"},
            "status": status,
        }
        row |= {"timestamp": now, "created_at": now, "updated_at": now}
        return {"entity": "messages", "action": "insert", "data": row}

    def see(self, conversation: str, messages: int, delivery_status: str | None) -> None:
        """Take note of a state: it tells of the step that made it, and of all before."""
        now = time.perf_counter()
        number = self.numbers[conversation]
        reached = 0
        if messages and delivery_status is not None:
            reached = 1 + (messages - 1) * len(STATUSES) + STATUSES.index(delivery_status)
        for step in range(self.steps[number] + 1, reached + 1):
            self.seen[step * len(self.conversations) + number] = now
            self._outstanding -= 1
        self.steps[number] = max(self.steps[number], reached)
        if not self._outstanding:
            self._all_seen.set()

    def wait(self) -> None:
        """Return when every event has been seen in a state."""
        if not self._all_seen.wait(_LAST_S):
            raise NotThroughError(f"{self._outstanding} events were in no state {_LAST_S} s after the last was sent")

    def after_answer(self, event: int) -> float:
        """Seconds from the answer to the state; 0 if the state was there before the answer."""
        return max(0.0, self.seen[event] - self.answered[event])


def _watch(cluster: Cluster, load: _Load, stop: threading.Event) -> None:
    decoder = Decoder("ConversationState")
    decoder.learn(cluster.schema_ids["ConversationState"], latest("ConversationState").text)
    consumer = _consumer(cluster, topic_name(PREFIX, "conversation-state"), cluster.partitions)
    try:
        while not stop.is_set():
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                fields = decoder.decode(message.value() or b"")
                last = fields["last_message"]
                load.see(fields["id"], fields["message_count"], last and last["delivery_status"])
    finally:
        consumer.close()


class _RoundTrips:
    """A record at a time from a producer to a consumer, on a topic of one partition."""

    def __init__(self, cluster: Cluster) -> None:
        self.seconds: list[float] = []
        self._topic = "benchmark-round-trip"
        admin = AdminClient(cluster.client)
        for future in admin.create_topics([NewTopic(self._topic, 1, 1)], operation_timeout=30).values():
            future.result(30)
        self._producer = Producer({**cluster.client, "acks": "all", "linger.ms": 0})
        self._consumer = _consumer(cluster, self._topic, 1)
        self._consumer.poll(1.0)

    def run(self, stop: threading.Event) -> None:
        """Go on until `stop`."""
        try:
            while not stop.wait(1 / ROUND_TRIPS):
                begin = time.perf_counter()
                self._producer.produce(self._topic, b"x" * 500)
                self._producer.poll(0)
                message = self._consumer.poll(10.0)
                if message is None or message.error() is not None:
                    raise NotThroughError("a bare record did not come through")
                self.seconds.append(time.perf_counter() - begin)
        finally:
            self._producer.flush()
            self._consumer.close()


def _consumer(cluster: Cluster, topic: str, partitions: int) -> Consumer:
    consumer = Consumer({**cluster.client, "group.id": "benchmark", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    return consumer
