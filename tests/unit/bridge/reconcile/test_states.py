"""What is read of the topics that say what is known, and what happens where one of them may not be read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError

from bridge.reconcile.comparison import Facts
from bridge.reconcile.errors import ReconcileError
from bridge.reconcile.index import Index, Posted, Progress, State
from bridge.reconcile.states import States
from openbsp.kafka.findings import NO_ID
from openbsp.merge import contact
from support.reconcile_world import begin, unconnected

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
    with unconnected(index, unused_port) as states:
        states._next = {(CONTACTS, 0): 0, (MESSAGES, 0): 0}
        yield states


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


TWO = [(0, 9), (0, 9)]


def kept(states: States, noted: str | None, identity: str, bounds: list[tuple[int, int]]) -> list[bool]:
    """Begin with a topic, 5 records of two of whose partitions former runs have read; return what is left of them."""
    index = states._index
    for entity in ("messages", "conversations"):
        index.take(entity, [State("a", Facts(0, 0, 1, {}), "o", "c")], {0: 5, 1: 5})
        index.advance(entity, "", Progress(0, 9))
        index.cover(entity, "o", 7)
        index.post(entity, "run", [("b", Posted(7, None, heard=True, organization="o"))])
        index.turn(entity, "a")
    if noted is not None:
        index.note("topic messages", noted)
    begin(states, "messages", identity, bounds)
    assert index.positions("messages") == {}, "an index of long ago is read again, and that alone"
    assert index.meta("topic messages") == identity
    assert index.progress("conversations", "") == Progress(0, 9)
    assert index.posted("conversations", ["b"])
    return [
        index.progress("messages", "") is not None,
        index.coverage("messages") != {},
        index.posted("messages", ["b"]) != {},
        index.circle("messages") == "a",
    ]


def test_a_leader_that_changes_is_waited_for_and_no_right_to_read_is_told(states: States):
    begin(states, "messages", "A", TWO, [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE])
    assert states._index.meta("topic messages") == "A"
    with pytest.raises(ReconcileError, match=r"no broker answered: .*[Aa]uthorization"):
        begin(states, "messages", "A", TWO, [KafkaError.TOPIC_AUTHORIZATION_FAILED])


@pytest.mark.parametrize(
    ("identity", "bounds"),
    [("B", TWO), ("A", [(0, 9), (0, 4)]), ("A", [(6, 9), (0, 9)]), ("A", [(0, 9)])],
    ids=["created again", "restored", "cut", "with fewer partitions"],
)
def test_how_far_runs_came_with_a_topic_counts_for_no_other(
    states: States, identity: str, bounds: list[tuple[int, int]]
):
    assert kept(states, "A", identity, bounds) == [False] * 4
    assert states.replaced == {"messages": MESSAGES}


@pytest.mark.parametrize(
    ("noted", "identity", "bounds"),
    [("A", "A", TWO), ("A", "A", [*TWO, (0, 9)]), (NO_ID, "B", TWO), ("A", NO_ID, TWO), (None, "B", TWO)],
    ids=["old", "with more partitions", "given an id", "without an id meanwhile", "of an index that noted none"],
)
def test_how_far_runs_came_counts_on_for_the_same_topic(
    states: States, noted: str | None, identity: str, bounds: list[tuple[int, int]]
):
    assert kept(states, noted, identity, bounds) == [True] * 4
    assert states.replaced == {}
