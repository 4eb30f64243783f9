"""Which topics go along to more partitions, each of which has to be decided about, and where a copy goes on."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import OFFSET_INVALID, TopicPartition

from avro.catalogue import TOPICS
from openbsp.kafka.connection import KafkaSettings, TopicSettings
from streams.errors import RepartitionError
from streams.repartition import FACTS, LISTS, SOURCES, STATES, Repartition

#: Workers make the former again from the events; the latter are read where they are.
LEFT = {"streams-contributions", "dead-letters"}


def test_every_topic_is_copied_or_left_on_purpose() -> None:
    copied = [*FACTS, *STATES, *SOURCES, *LISTS]
    assert sorted(copied) == sorted(TOPICS.keys() - LEFT)


@pytest.fixture
def move(unused_port: int) -> Iterator[Repartition]:
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{unused_port}")
    move = Repartition(kafka, TopicSettings(), TopicSettings(prefix="other."), "former", "later")
    yield move
    move.close()


def bounds(move: Repartition, committed: int) -> list[tuple[int, int]]:
    """Return where a topic of one partition is copied, that has the records from 3 up to 9."""
    found = SimpleNamespace(error=None, partitions={0: None})
    consumer = SimpleNamespace(
        list_topics=lambda topic, timeout: SimpleNamespace(topics={topic: found}),  # noqa: ARG005
        committed=lambda places, timeout: [  # noqa: ARG005
            TopicPartition(place.topic, place.partition, committed) for place in places
        ],
        get_watermark_offsets=lambda _, timeout: (3, 9),  # noqa: ARG005
    )
    own, move._consumer = move._consumer, cast("Any", consumer)
    try:
        return list(move._bounds(["messages"]).values())
    finally:
        move._consumer = own


@pytest.mark.parametrize(("committed", "start"), [(OFFSET_INVALID, 3), (3, 3), (9, 9)])
def test_a_copy_goes_on_where_it_was(move: Repartition, committed: int, start: int) -> None:
    assert bounds(move, committed) == [(start, 9)]


@pytest.mark.parametrize(
    ("committed", "what"), [(1, "2 records were deleted before they were copied"), (10, "ends at 9 now")]
)
def test_a_copy_does_not_go_on_over_a_gap(move: Repartition, committed: int, what: str) -> None:
    with pytest.raises(RepartitionError, match=rf"openbsp\.messages\[0\]: copied up to offset {committed}, .*{what}"):
        bounds(move, committed)
