"""The dead letters in their topic: their positions, their fields, and which of them are selected."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self, cast

from confluent_kafka import Message

from avro import writers
from avro.catalogue import TOPICS
from avro.codec import CodecError
from avro.columns import ENTITIES
from avro.dead_letters import REDRIVEN_HEADER, redrives
from bridge.cluster import Cluster
from openbsp.kafka.position import Position, position_of
from openbsp.kafka.reading import Range, ValueReader

#: How much earlier than its time in the topic a dead letter may have been made, by clocks that differ.
_SLACK_MS = 60_000


class PositionError(ValueError):
    """An invalid position of a dead letter."""


def position_in(topic: str, text: str) -> Position:
    """Read a position, with or without its topic. Raises PositionError unless it is one of `topic`."""
    position = position_of(text, topic)
    if position is None:
        raise PositionError(f"{text!r} is not a position: give topic:partition:offset, as `list` prints it")
    if position.topic != topic:
        raise PositionError(f"the dead letters are in {topic}, not in {position.topic}")
    return position


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. `redriven`: how often its event had been redriven before it became this one.

    `organizations`: those that its sender may write for, None for all.
    """

    position: Position
    fields: dict[str, Any]
    redriven: int
    organizations: frozenset[str] | None = None

    @property
    def origin(self) -> str:
        """Its origin: webhook, bridge or streams."""
        return cast("str", self.fields["origin"])

    @property
    def reason(self) -> str:
        """Its stable code."""
        return cast("str", self.fields["reason"])

    @property
    def entity(self) -> str | None:
        """The entity that the envelope named; of a record that the worker refused, that of its topic."""
        named = cast("str | None", self.fields["entity"])
        if named is not None or self.fields["topic"] is None:
            return named
        prefix = self.position.topic.removesuffix(TOPICS["dead-letters"].name)
        topic = self.fields["topic"].removeprefix(prefix)
        return next((entity.name for entity in ENTITIES.values() if entity.topic == topic), None)

    @property
    def received_at(self) -> int:
        """When it was refused, in microseconds since the epoch."""
        return cast("int", self.fields["received_at"])

    @property
    def payload(self) -> bytes | None:
        """The refused bytes, if they were kept."""
        return cast("bytes | None", self.fields["payload"])

    @property
    def size(self) -> int | None:
        """How many bytes were refused."""
        return cast("int | None", self.fields["payload_size"])

    @property
    def source(self) -> Position | None:
        """The position of the refused record, for origin streams."""
        topic, partition, offset = (self.fields[name] for name in ("topic", "partition", "offset"))
        return None if topic is None or partition is None or offset is None else Position(topic, partition, offset)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Selects dead letters; moments in microseconds since the epoch, an empty set selects all.

    `reasons` are codes, also with the origin before them (`streams: too_large`), as a list shows them.
    """

    reasons: frozenset[str] = frozenset()
    entities: frozenset[str] = frozenset()
    organizations: frozenset[str] = frozenset()
    since: int | None = None
    until: int | None = None

    def has(self, letter: Letter) -> bool:
        """Return whether a dead letter is selected."""
        return (
            (not self.reasons or not self.reasons.isdisjoint({letter.reason, f"{letter.origin}: {letter.reason}"}))
            and (not self.entities or letter.entity in self.entities)
            and (not self.organizations or letter.fields["organization_id"] in self.organizations)
            and (self.since is None or letter.received_at >= self.since)
            and (self.until is None or letter.received_at < self.until)
        )


class DeadLetterTopic:
    """Reads the dead letters. A context manager; see TopicReader for what its methods raise."""

    def __init__(self, cluster: Cluster) -> None:
        """Find the topic."""
        self._reader = cluster.reader("dead-letters")
        self.name = self._reader.topic
        self._values = ValueReader("DeadLetter", cluster.registry)
        #: Positions of records that are no dead letters, with the reason.
        self.unreadable: dict[Position, str] = {}

    def __enter__(self) -> Self:
        """Return the topic."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._reader.close()

    def range(self, wanted: Wanted) -> Range:
        """Return the offsets that can hold selected ones, as of now."""
        return self._reader.range(None if wanted.since is None else max(0, wanted.since // 1000 - _SLACK_MS))

    def read(self, within: Range, wanted: Wanted) -> Iterator[Letter]:
        """Yield the selected ones within a range, those of one row in their order."""
        for message in self._reader.read(within):
            letter = self._letter(message)
            if letter is not None and wanted.has(letter):
                yield letter

    def at(self, position: Position) -> Letter | None:
        """Return the dead letter at a position; None if it is not there, or unreadable."""
        message = self._reader.one(position.partition, position.offset)
        return None if message is None else self._letter(message)

    def _letter(self, message: Message) -> Letter | None:
        position = Position(self.name, cast("int", message.partition()), cast("int", message.offset()))
        value = message.value()
        if value is None:
            self.unreadable[position] = "a record without a value"
            return None
        try:
            fields = self._values.decode(value)
        except CodecError as error:
            self.unreadable[position] = str(error)
            return None
        return Letter(position, fields, redrives(header_of(message, REDRIVEN_HEADER)), _organizations(message))


def _organizations(message: Message) -> frozenset[str] | None:
    headers = cast("list[tuple[str, str | bytes | None]] | None", message.headers())
    try:
        return writers.organizations_of(headers)
    except ValueError:
        return frozenset()


def header_of(message: Message, name: str) -> bytes | None:
    """Return the value of a record's header, the last of several."""
    found = None
    for header in message.headers() or []:
        if header[0] == name:
            found = header[1]
    return found.encode() if isinstance(found, str) else found
