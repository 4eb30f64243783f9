"""What is read of the topics that say what is known, and what happens where one of them may not be read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError

from bridge.reconcile.errors import ReconcileError
from bridge.reconcile.index import Index
from bridge.reconcile.states import States
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.merge import contact

CONTACTS, MESSAGES = "openbsp.streams-contacts-changelog", "openbsp.message-state"


class Record:
    def __init__(self, topic: str, error: KafkaError | None = None, value: bytes | None = None) -> None:
        self._topic, self._error, self._value = topic, error, value

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 4

    def error(self) -> KafkaError | None:
        return self._error

    def key(self) -> bytes:
        return b"p1"

    def value(self) -> bytes | None:
        return self._value


def take(states: States, *records: Record) -> None:
    given: list[Any] = list(records)
    states._take(given)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index(tmp_path) as opened:
        yield opened


@pytest.fixture
def states(index: Index, unused_port: int) -> Iterator[States]:
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{unused_port}")
    states = States(kafka, RegistrySettings(url=f"http://127.0.0.1:{unused_port}"), TopicSettings(), index)
    states._next = {(CONTACTS, 0): 0, (MESSAGES, 0): 0}
    yield states
    states._consumer.close()
    states._registry.close()


def test_without_the_right_to_read_a_table_of_the_workers_the_others_are_read(states: States, index: Index):
    take(states, Record(CONTACTS, KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)), Record(MESSAGES))
    assert states.unreadable.keys() == {"contacts"}
    assert f"{CONTACTS} cannot be read" in states.unreadable["contacts"]
    assert states._next == {(MESSAGES, 0): 5}
    assert index.positions("contacts") == {}


def test_without_the_right_to_read_a_state_topic_there_is_no_run(states: States):
    with pytest.raises(ReconcileError, match=f"{MESSAGES} cannot be read"):
        take(states, Record(MESSAGES, KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))


def test_rows_of_another_version_of_the_workers_are_not_compared(states: States, index: Index):
    take(states, Record(CONTACTS, value=contact.encode(contact.ContactRow(contact.ContactFacts(format=2)))))
    assert "a row of format 2" in states.unreadable["contacts"]
    assert index.positions("contacts") == {}


def test_a_table_that_becomes_unreadable_while_rows_are_compared_ends_the_run(states: States):
    """Every row would count as missing."""
    states._is_read = True
    with pytest.raises(ReconcileError, match="cannot be read"):
        take(states, Record(CONTACTS, KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))
