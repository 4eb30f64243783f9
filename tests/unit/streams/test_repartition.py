"""Which topics go along to more partitions: each one that is added has to be decided about."""

from avro.catalogue import TOPICS
from streams.repartition import FACTS, LISTS, SOURCES, STATES

#: Workers make the former again from the events; the latter are read where they are.
LEFT = {"streams-contributions", "dead-letters"}


def test_every_topic_is_copied_or_left_on_purpose() -> None:
    copied = [*FACTS, *STATES, *SOURCES, *LISTS]
    assert sorted(copied) == sorted(TOPICS.keys() - LEFT)
