"""Moving to more partitions: copies everything to topics of another prefix, each record to its key's partition there.

The running group and its topics are only read. The copy is what a dead worker would have left: the tables' facts, marks
that cover them, and all events of the sources, which are merged once more. So the join of the new topics comes to the
same states by the same rules as after a crash, whatever happens here meanwhile.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from avro.catalogue import topic_name
from openbsp.kafka import reports
from openbsp.kafka.clients import admin_config, producer_config, reader_config
from openbsp.kafka.connection import KafkaSettings, TopicSettings
from openbsp.kafka.reading import patiently
from openbsp.kafka.topics import Topics
from streams.engine.layout import mark_value
from streams.engine.outside import Clients
from streams.engine.partitioner import hash_of
from streams.engine.stores import MARK_KEY, split_key
from streams.errors import RepartitionError
from streams.tables.owned import ADDRESSES, CONTACTS, CONVERSATIONS, MESSAGES

At = tuple[str, int]

#: In this order: all facts were made of source records that are copied after them.
FACTS = (MESSAGES, CONVERSATIONS, CONTACTS, ADDRESSES)
STATES = ("message-state", "conversation-state", "status-changes")
#: Of each of the tables, in their order.
SOURCES = ("messages", "conversations", "contacts", "contacts-addresses")
#: What no worker has, but bridges and commands: the contacts that stay out, and what was found missing.
LISTS = ("suppressions", "audits")
_ALL = (*FACTS, *STATES, *SOURCES, *LISTS)

_TIMEOUT_S = 30.0
_BULK = 10_000
_WAIT_S = 0.2


class Repartition:
    """A move from the topics of one prefix to those of another, which exist already. Blocking."""

    def __init__(
        self, kafka: KafkaSettings, former: TopicSettings, topics: TopicSettings, former_group: str, group: str
    ) -> None:
        """Connect to nothing yet; `group` is the application id of the workers of the new topics.

        Raises RepartitionError if both ends are the same.
        """
        if former.prefix == topics.prefix:
            raise RepartitionError(f"the new topics have the prefix of the former ones, {former.prefix!r}")
        if former_group == group:
            raise RepartitionError(f"the workers of the new topics need an STREAMS_APP_ID that is not {group}")
        self._former, self._topics, self._group = former, topics, group
        self._verified = Topics(kafka, topics)
        self._admin = AdminClient(admin_config(kafka.librdkafka()))
        clients = Clients()
        #: Its committed positions say how far everything is copied.
        self._own_group = f"{group}-repartition"
        self._consumer: Consumer = clients.consumer(reader_config(kafka.librdkafka(), self._own_group))
        self._producer = clients.producer(
            producer_config(
                kafka.producer(),
                message_timeout_s=_TIMEOUT_S,
                linger_ms=20,
                queue_messages=100_000,
                queue_kibibytes=256 * 1024,
            )
        )
        self._failure: str | None = None

    #: Copied for as long as the former topics are written to.
    followed = (*SOURCES, *LISTS)

    def check(self) -> None:
        """Raise what prevents the move: TopicsError, KafkaUnavailableError, RepartitionError."""
        self._verified.check()
        for name in _ALL:
            self._partitions(name)
        if self.seeded:
            return
        members = self._admin.describe_consumer_groups([self._group], request_timeout=_TIMEOUT_S)[self._group]
        if members.result(_TIMEOUT_S).members:
            raise RepartitionError(
                f"workers of group {self._group} run already: they would write over what is copied. Stop them, and "
                "start them once the tables are copied"
            )
        asked = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(self._group)])[self._group]
        ours = [tp for tp in asked.result(_TIMEOUT_S).topic_partitions if tp.topic.startswith(self._topics.prefix)]
        if ours:
            raise RepartitionError(
                f"workers of group {self._group} have joined these topics before; choose a prefix and an application "
                "id that were never used"
            )

    @property
    def seeded(self) -> bool:
        """Whether tables and states are copied, so that workers of the new topics may run."""
        found = self._consumer.committed([self._seed_mark], timeout=_TIMEOUT_S)
        return found[0].offset > 0

    def left(self) -> dict[str, int]:
        """Return how many records of each topic are not copied yet, at most."""
        names = self.followed if self.seeded else _ALL
        return {name: sum(end - start for start, end in self._bounds([name]).values()) for name in names}

    def seed(self, progress: Callable[[str, int], None]) -> None:
        """Copy everything, once; `progress` is called with the number of copied records of a topic.

        An interrupted copy resumes where it was. Raises RepartitionError, KafkaException.
        """
        if self.seeded:
            return
        for name in _ALL:
            progress(name, self.copy([name]))
        for table, source in zip(FACTS, SOURCES, strict=True):
            self._write_marks(topic_name(self._topics.prefix, table), topic_name(self._topics.prefix, source))
        self._consumer.commit(offsets=[self._seed_mark], asynchronous=False)

    def copy(self, names: Iterable[str], *, until: threading.Event | None = None) -> int:
        """Copy the topics' current records; with `until` go on with new ones until that is set, then copy the rest.

        Returns how many records were copied. Raises RepartitionError, KafkaException.
        """
        bounds = self._bounds(names)
        self._consumer.assign([TopicPartition(*at, start) for at, (start, _) in bounds.items()])
        waiting = {at: end for at, (start, end) in bounds.items() if start < end}
        count = 0
        while waiting or (until is not None and not until.is_set()):
            copied, reached = self._copy_some()
            count += copied
            waiting = {at: end for at, end in waiting.items() if reached.get(at, 0) < end}
        if until is not None:
            count += self.copy(names)
        return count

    def close(self) -> None:
        """Leave everything as it is."""
        self._consumer.close()

    def _copy_some(self) -> tuple[int, dict[At, int]]:
        """Copy the current records; return how many, and up to where partitions are copied."""
        first = self._consumer.poll(_WAIT_S)
        reached: dict[At, int] = {}
        if first is None:
            return 0, reached
        count = 0
        for message in [first, *self._consumer.consume(_BULK - 1, 0)]:
            at = cast("At", (message.topic(), message.partition()))
            error = message.error()
            if error is None:
                self._write(message)
                count += 1
                reached[at] = cast("int", message.offset()) + 1
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 the library has no other name for it
                reached[at] = cast("int", message.offset())
            elif error.fatal() or not error.retriable():
                raise KafkaException(error)
        self._flush()
        if reached:
            self._consumer.commit(
                offsets=[TopicPartition(*at, offset) for at, offset in reached.items()], asynchronous=False
            )
        return count, reached

    def _write(self, message: Message) -> None:
        name = str(message.topic()).removeprefix(self._former.prefix)
        key = message.key()
        if name in FACTS and key == MARK_KEY:
            return
        if key is None:
            partition = cast("int", message.partition()) % self._topics.partitions
        else:
            partition = hash_of(split_key(key)[0] if name == CONVERSATIONS else key) % self._topics.partitions
        self._produce(topic_name(self._topics.prefix, name), key, message.value(), partition, message.headers())

    def _write_marks(self, changelog: str, source: str) -> None:
        """Make the new owners treat all copied events as merged before: they announce their statuses once more."""
        for number in range(self._topics.partitions):
            _, end = self._watermarks(TopicPartition(source, number))
            self._produce(changelog, MARK_KEY, mark_value(end, self._topics.partitions), number, None)
        self._flush()

    def _produce(self, topic: str, key: Any, value: Any, partition: int, headers: Any) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, partition, self._delivered, headers=headers)
            except BufferError:
                self._producer.poll(_WAIT_S)
            else:
                return

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = error.str()
        elif reports.is_unwritten(message):
            self._failure = reports.UNWRITTEN

    def _flush(self) -> None:
        waiting = self._producer.flush(_TIMEOUT_S * 2)
        if self._failure is not None:
            raise RepartitionError(f"a record was not taken: {self._failure}; run it again, it goes on")
        if waiting:
            raise RepartitionError(f"{waiting} records were not taken in time; run it again, it goes on")

    @property
    def _seed_mark(self) -> TopicPartition:
        return TopicPartition(topic_name(self._topics.prefix, MESSAGES), 0, 1)

    def _partitions(self, name: str) -> int:
        topic = topic_name(self._former.prefix, name)
        found = self._consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        if found.error is not None:
            raise RepartitionError(f"{topic}: {found.error.str()}")
        return len(found.partitions)

    def _bounds(self, names: Iterable[str]) -> Mapping[At, tuple[int, int]]:
        """Return for each partition of topics where copying resumes, and where it ends now. Raises RepartitionError."""
        places = [
            TopicPartition(topic_name(self._former.prefix, name), number)
            for name in names
            for number in range(self._partitions(name))
        ]
        bounds = {}
        for left in self._consumer.committed(places, timeout=_TIMEOUT_S):
            first, end = self._watermarks(left)
            # Below 0: nothing is committed.
            if 0 <= left.offset < first:
                raise self._gap(left, f"{first - left.offset} records were deleted before they were copied")
            if left.offset > end:
                raise self._gap(left, f"it ends at {end} now: it was created again, or lost records")
            bounds[left.topic, left.partition] = (max(first, left.offset), end)
        return bounds

    def _watermarks(self, place: TopicPartition) -> tuple[int, int]:
        first, end = patiently(_TIMEOUT_S, self._consumer.get_watermark_offsets, place, timeout=_TIMEOUT_S)
        return first, end

    def _gap(self, left: TopicPartition, what: str) -> RepartitionError:
        return RepartitionError(
            f"{left.topic}[{left.partition}]: copied up to offset {left.offset}, but {what}. Start again with a prefix "
            f"and an application id that were never used; or set the position of group {self._own_group} to the first "
            "record, go on, and run `bridge reconcile` with the new topics afterwards"
        )
