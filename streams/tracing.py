"""The join's part of a trace: from the record of an event to the event stream that shows its result.

messages merge -> message-state publish
      `---------> streams-contributions publish -> merge -> conversation-state publish -> event stream send

The context travels with records, in their header `traceparent`, and in between by the keys of merged rows. If several
events lead to one state, its record belongs to the trace of the last, with links to the others.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from avro.codec import CodecError
from openbsp.tracing import HEADER, Kind, Tracing, header_of, is_sampled, record_attributes
from streams.agents.intake import Before, Intake, Merge, Read, Then
from streams.contract import Contract, Refused
from streams.engine.source import Record
from streams.engine.stream import Inbox
from streams.engine.table import Sender
from streams.tables.contributions import ContributionRecord, decode_record
from streams.tables.idle import EVICTION

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

#: Limit of keys whose state is not written yet, and of states that no event stream has sent: the oldest are dropped.
_REMEMBERED = 10_000
#: Limit of links to the events that led to one state.
_LINKS = 16


class Trail:
    """Finds the trace of merged rows. Only events whose trace is sampled leave anything here."""

    def __init__(self, tracing: Tracing, contract: Contract) -> None:
        """Name the topics by the contract."""
        self.tracing = tracing
        self._names = contract.names
        self._messages = contract.topic("messages")
        self._contributions = contract.topic("streams-contributions")
        self._message_state = contract.topic("message-state")
        self._conversation_state = contract.topic("conversation-state")
        self._status_changes = contract.topic("status-changes")
        #: By the key of a merged row, the spans of merging it, of messages and of conversations.
        self._merged_messages: OrderedDict[bytes, deque[SpanContext]] = OrderedDict()
        self._merged_conversations: OrderedDict[bytes, deque[SpanContext]] = OrderedDict()
        #: By partition of the conversations' states, the spans of the unacknowledged ones, in the order of writing.
        self._on_their_way: dict[int, deque[SpanContext | None]] = {}
        #: Acknowledged states by partition and position after them, and when that was.
        self._acknowledged: OrderedDict[tuple[int, int], tuple[SpanContext, int]] = OrderedDict()

    def reading(self, read: Read) -> Read:
        """Return `read` with a span for each event whose trace is sampled and whose value is unusable."""

        def read_traced(event: Record) -> Any:
            started = time.time_ns()
            try:
                return read(event)
            except (Refused, CodecError) as error:
                parent = self._parent(event)
                if parent is not None:
                    self._merged(event, parent, started, error.reason)
                raise

        return read_traced

    def merging(self, merge: Merge) -> Merge:
        """Return `merge` with a span for each event whose trace is sampled."""

        def merge_traced(event: Record, told: Any) -> None:
            parent = self._parent(event)
            if parent is None:
                merge(event, told)
                return
            started = time.time_ns()
            try:
                merge(event, told)
            except Refused as error:
                self._merged(event, parent, started, error.reason)
                raise
            context = self._merged(event, parent, started, None)
            group = self._merged_messages if event.topic == self._messages else self._merged_conversations
            _remember(group, event.key or b"", context)

        return merge_traced

    def _parent(self, event: Record) -> "SpanContext | None":
        for name, value in event.headers or ():
            if name == HEADER and isinstance(value, bytes) and is_sampled(value):
                return self.tracing.parent(value)
        return None

    def _merged(self, event: Record, parent: "SpanContext", started: int, reason: str | None) -> "SpanContext":
        span = self.tracing.span(
            f"{self._names[event.topic]} merge",
            Kind.CONSUMER,
            parent,
            start_ns=started,
            # The time inside Kafka lies between the two.
            links=[parent],
            attributes=record_attributes(event.topic, event.partition, event.offset),
        )
        if reason is not None:
            self.tracing.failed(span, reason)
        span.end()
        return span.get_span_context()

    def publishing(self, topic: str, key: bytes | None, value: bytes | None, partition: int) -> "SpanContext | None":
        """Return the span of a record that is about to be written, None if no sampled event has led to it."""
        context = None
        if key is not None:
            context = self._published(topic, self._causes(topic, key, value))
        if topic == self._conversation_state:
            self._on_their_way.setdefault(partition, deque()).append(context)
        return context

    def _causes(self, topic: str, key: bytes, value: bytes | None) -> "Sequence[SpanContext]":
        if topic == self._message_state:
            return self._merged_messages.pop(key, ())
        if topic == self._conversation_state:
            return self._merged_conversations.pop(key, ())
        if topic == self._status_changes:
            return self._merged_conversations.get(key, ())
        # Trap: requests for removals go over the same topic, and are no contribution.
        if topic == self._contributions and value and self._merged_messages and not value.startswith(EVICTION):
            told = decode_record(value)
            if isinstance(told, ContributionRecord):
                return self._merged_messages.get(told.message_id.encode(), ())
        return ()

    def _published(self, topic: str, causes: "Sequence[SpanContext]") -> "SpanContext | None":
        if not causes:
            return None
        *others, last = causes
        span = self.tracing.span(
            f"{self._short(topic)} publish",
            Kind.PRODUCER,
            last,
            links=others,
            attributes={"messaging.system": "kafka", "messaging.destination.name": topic},
        )
        span.end()
        return span.get_span_context()

    def _short(self, topic: str) -> str:
        return topic.removeprefix(self._messages.removesuffix("messages"))

    def acknowledged(self, topic: str, partition: int, offset: int) -> None:
        """Record that the oldest unacknowledged state is acknowledged."""
        if topic != self._conversation_state:
            return
        queue = self._on_their_way.get(partition)
        context = queue.popleft() if queue else None
        if context is not None:
            self._acknowledged[partition, offset + 1] = context, time.time_ns()
            while len(self._acknowledged) > _REMEMBERED:
                self._acknowledged.popitem(last=False)

    def sent(self, positions: "Iterable[tuple[int, int] | None]") -> None:
        """Record that an event stream has sent everything before these positions of partitions."""
        for position in positions:
            known = None if position is None else self._acknowledged.get(position)
            if known is not None:
                context, since = known
                self.tracing.span("event stream send", Kind.PRODUCER, context, start_ns=since).end()


class TracedSender:
    """Writes records with the trace context of their causes."""

    def __init__(self, sender: Sender, trail: Trail) -> None:
        """Write by `sender`."""
        self._sender = sender
        self._trail = trail

    def write(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int = -1, headers: Any = None
    ) -> None:
        """See Sender."""
        context = self._trail.publishing(topic, key, value, partition)
        if context is not None:
            headers = [*(headers or ()), (HEADER, header_of(context))]
        self._sender.write(topic, key, value, partition, headers)


class TracedIntake(Intake):
    """An intake with a span for each event that is merged."""

    def __init__(self, *arguments: Any, trail: Trail) -> None:
        """Take what an Intake takes."""
        super().__init__(*arguments)
        self._trail = trail

    async def take(
        self,
        inbox: Inbox,
        events: Sequence[Record],
        read: Read,
        merge: Merge,
        *,
        before: Before | None = None,
        then: Then | None = None,
    ) -> None:
        """See Intake."""
        await super().take(
            inbox, events, self._trail.reading(read), self._trail.merging(merge), before=before, then=then
        )


def _remember(group: "OrderedDict[bytes, deque[SpanContext]]", key: bytes, context: "SpanContext") -> None:
    group.setdefault(key, deque(maxlen=_LINKS + 1)).append(context)
    if len(group) > _REMEMBERED:
        group.popitem(last=False)
