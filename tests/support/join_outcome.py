"""What the join has made of its events, read from its topics as any consumer would, beside what it should have made."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from support.consume import AvroReader, newest_by_key, read_all
from support.reference import fold
from support.told import contradictions
from support.wait import eventually

SOURCES = ("messages", "conversations", "contacts", "contacts-addresses", "streams-contributions")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Fields = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """States by id, without those whose last record is a tombstone, and `(message id, status)` by id of the change."""

    messages: dict[str, Fields]
    conversations: dict[str, Fields]
    status_changes: dict[str, tuple[str, str]]
    #: All status changes, those of a conversation in the order in which they were told; of what is expected the events.
    told: Sequence[Mapping[str, Any]] = ()

    def differences(self, expected: "Outcome") -> list[str]:
        """Return a line for each key that is not as expected."""
        lines = []
        for kind in ("messages", "conversations", "status_changes"):
            have, want = getattr(self, kind), getattr(expected, kind)
            if kind == "status_changes":
                # Of a message that is no more it may have been told what it was, or not.
                have = {key: pair for key, pair in have.items() if key in want or pair[0] in expected.messages}
            for key in sorted(have.keys() | want.keys()):
                found, wanted = have.get(key), want.get(key)
                if found != wanted:
                    lines.append(f"{kind} {key!r}: {_difference(found, wanted)}")
        return lines + contradictions(map(dict, self.told), map(dict, expected.told), expected.messages)

    def __str__(self) -> str:
        """Return how much there is."""
        return (
            f"{len(self.messages)} messages, {len(self.conversations)} conversations, "
            f"{len(self.status_changes)} status changes"
        )


def expected_of(events: Iterable[Mapping[str, Any]]) -> Outcome:
    """Return what the reference model says."""
    told = list(events)
    return Outcome(*fold(told), told)


def outcome_of(contract: Any) -> Outcome:
    """Read the state topics and the status changes."""
    reader = AvroReader(contract.registry.url)
    changes, told = {}, []
    for record in records(contract, "status-changes"):
        fields = plain(reader.value(record))
        told.append(fields)
        assert record.key().decode() == fields["conversation_id"]
        pair = fields["message_id"], fields["status"]
        assert changes.setdefault(fields["id"], pair) == pair
    return Outcome(states(contract, "message-state"), states(contract, "conversation-state"), changes, told)


def states(contract: Any, topic: str) -> dict[str, Fields]:
    """Return the last state of each key of a state topic, without tombstones; each key is in one partition only."""
    reader = AvroReader(contract.registry.url)
    found = records(contract, topic)
    places = {(message.key(), message.partition()) for message in found}
    assert len(places) == len({key for key, _ in places}), f"{topic}: a key is in two partitions"
    return {
        key: plain(reader.value(message))
        for key, message in newest_by_key(found).items()
        if message.value() is not None
    }


def records(contract: Any, topic: str) -> list[Message]:
    """Return all records of a catalogue topic."""
    return read_all(contract.kafka.bootstrap_servers, contract.topic(topic), within=120)


def plain(value: Any) -> Any:
    """Return a decoded value with its instants as microseconds, as the reference model has them."""
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(microseconds=1)
    if isinstance(value, Mapping):
        return {name: plain(member) for name, member in value.items()}
    return value


def await_committed(contract: Any, *, within: float = 120.0) -> None:
    """Wait until everything in the source topics is done: committed up to the end, and nothing follows from it."""
    with _Positions(contract) as positions:
        eventually(lambda: positions.lag() == {}, within=within, every=0.2)


def lag_of(contract: Any) -> dict[tuple[str, int], int]:
    """Return how many records of each source partition are not committed, only of those that have some."""
    with _Positions(contract) as positions:
        return positions.lag()


_NOT_YET = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}


class _Positions:
    def __init__(self, contract: Any) -> None:
        self._consumer = Consumer(
            {
                **contract.kafka.librdkafka(),
                "group.id": f"{contract.prefix}streams",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        self._partitions = [
            TopicPartition(contract.topic(topic), partition)
            for topic in SOURCES
            for partition in range(contract.topics.partitions)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def lag(self) -> dict[tuple[str, int], int]:
        # The order matters: contributions come before the positions of what caused them are committed, so ends that
        # are asked for after the committed positions include them.
        try:
            committed = self._consumer.committed(self._partitions, timeout=30)
        except KafkaException as error:
            # A broker that was started again answers so until it has read its offsets topic.
            if error.args[0].code() not in _NOT_YET:
                raise
            raise AssertionError(f"positions are not known yet: {error}") from error
        found = {}
        for at in committed:
            _, end = self._consumer.get_watermark_offsets(TopicPartition(at.topic, at.partition), timeout=30)
            behind = end - max(at.offset, 0)
            if behind:
                found[at.topic, at.partition] = behind
        return found


def _difference(found: Any, wanted: Any) -> str:
    if not isinstance(found, dict) or not isinstance(wanted, dict):
        return f"{_kind(found)} instead of {_kind(wanted)}"
    return ", ".join(
        f"{name}={found.get(name)!r} instead of {wanted.get(name)!r}"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name)
    )


def _kind(value: Any) -> str:
    return "none" if value is None else "one that should not be" if isinstance(value, dict) else repr(value)
