"""Events of a slice are read before the first is merged; each is merged, or becomes a dead letter, in its order."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from avro.catalogue import MAX_MEMBERS
from avro.codec import CodecError, UnknownSchemaIdError
from streams.agents import intake as intakes
from streams.agents.intake import Intake
from streams.contract import Contract, Refused
from streams.engine.source import Record
from support.join import IDS
from support.wire import event_bytes


class World:
    """An intake and the inbox that it takes from: `seen` is what happens, in its order."""

    def __init__(self, *, known: bool = True) -> None:
        self.seen: list[tuple[str, int]] = []
        self.known = known
        self.ending = asyncio.Event()
        self.contract = Contract("", IDS)
        self.intake = Intake(self.contract, lambda: self, self.learn)
        self.refused: Counter[str] = Counter()
        self.intake.refused.add(lambda reason: self.refused.update([reason]))

    async def learn(self, name: str, schema_id: int) -> bool:
        assert name == "messages"
        self.seen.append(("learn", schema_id))
        if not self.known:
            raise Refused("unknown_schema", "not registered")
        return True

    def write(self, *record: Any, **_: Any) -> None:
        self.seen.append(("dead letter", int(record[1])))

    async def flush(self) -> None:
        self.seen.append(("flush", -1))

    def done(self, event: Record) -> None:
        self.seen.append(("done", event.offset))

    async def breathe(self) -> None:
        pass

    def read(self, event: Record) -> int:
        self.seen.append(("read", event.offset))
        if event.value == b"unknown" and not (self.known and ("learn", 9) in self.seen):
            raise UnknownSchemaIdError(9)
        if event.value == b"damaged":
            raise CodecError("undecodable", "no")
        return event.offset

    def merge(self, event: Record, told: int) -> None:
        assert told == event.offset
        self.seen.append(("merge", told))
        if event.value == b"refused":
            raise Refused("too_large", "no")

    def take(self, *values: bytes) -> list[tuple[str, int]]:
        events = [Record("messages", 0, at, b"%d" % at, value) for at, value in enumerate(values)]
        inbox: Any = self
        asyncio.run(self.intake.take(inbox, events, self.read, self.merge))
        return self.seen


def without_reads(seen: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return [one for one in seen if one[0] != "read"]


def test_all_are_read_before_the_first_is_merged_and_are_done_in_their_order() -> None:
    assert World().take(b"", b"") == [("read", 0), ("read", 1), ("merge", 0), ("done", 0), ("merge", 1), ("done", 1)]


def test_what_cannot_be_read_and_what_cannot_be_merged_are_dead_letters_in_their_place() -> None:
    world = World()
    assert without_reads(world.take(b"damaged", b"", b"refused")) == [
        ("dead letter", 0),
        ("done", 0),
        ("merge", 1),
        ("done", 1),
        ("merge", 2),
        ("dead letter", 2),
        ("done", 2),
    ]
    assert world.refused == {"undecodable": 1, "too_large": 1}


def test_what_comes_before_an_unknown_schema_is_done_and_written_before_anybody_is_asked() -> None:
    assert without_reads(World().take(b"", b"unknown", b"")) == [
        ("merge", 0),
        ("done", 0),
        ("flush", -1),
        ("learn", 9),
        ("merge", 1),
        ("done", 1),
        ("merge", 2),
        ("done", 2),
    ]


def test_an_event_whose_schema_nobody_has_is_a_dead_letter_and_the_rest_is_merged() -> None:
    world = World(known=False)
    seen = without_reads(world.take(b"unknown", b""))
    assert seen == [("flush", -1), ("learn", 9), ("dead letter", 0), ("done", 0), ("merge", 1), ("done", 1)]
    assert world.refused == {"unknown_schema": 1}


def test_however_many_events_of_a_slice_have_a_schema_that_nobody_has_the_registry_is_asked_once() -> None:
    world = World(known=False)
    seen = without_reads(world.take(b"unknown", b"", b"unknown", b"unknown"))
    assert [one for one in seen if one[0] != "done"] == [
        ("flush", -1),
        ("learn", 9),
        ("dead letter", 0),
        ("merge", 1),
        ("dead letter", 2),
        ("dead letter", 3),
    ]
    assert world.refused == {"unknown_schema": 3}


def test_what_waits_for_its_schema_is_left_when_the_partitions_are_taken_away() -> None:
    world = World()
    world.ending.set()
    assert without_reads(world.take(b"", b"unknown", b"")) == [("merge", 0), ("done", 0), ("flush", -1)]


def test_large_events_are_not_all_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intakes, "_READ_BYTES", 2)
    steps = [(step, at) for step, at in World().take(b"xxx", b"y") if step != "done"]
    assert steps == [("read", 0), ("merge", 0), ("read", 1), ("merge", 1)]


def test_others_have_their_turn_after_reading_and_between_the_steps_before_an_event_is_merged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()

    async def breathe() -> None:
        world.seen.append(("turn", -1))

    def before(event: Record, _: Any) -> Iterator[None]:
        for _ in range(2):
            world.seen.append(("step", event.offset))
            yield

    monkeypatch.setattr(world, "breathe", breathe)
    inbox: Any = world
    events = [Record("messages", 0, 0, b"0", b"")]
    asyncio.run(world.intake.take(inbox, events, world.read, world.merge, before=before))
    turn, step = ("turn", -1), ("step", 0)
    assert world.seen == [("read", 0), turn, step, turn, step, turn, ("merge", 0), ("done", 0), turn]


MANY = {f"x{number}": 0 for number in range(MAX_MEMBERS)}


@pytest.mark.parametrize(
    "row",
    [MANY | {"y": 0}, dict.fromkeys(MANY) | {"y": 0}, {"y": 0, "status": MANY}, {"status": {"errors": [0, *MANY]}}],
    ids=["columns", "nulls", "keys of status", "errors"],
)
def test_a_row_of_more_columns_and_keys_than_a_row_may_have_is_refused(row: dict[str, Any]) -> None:
    world = World()
    envelope = {"entity": "messages", "action": "update", "data": {"id": "m", **row}}
    record = Record("messages", 0, 0, b"m", event_bytes(envelope))
    with pytest.raises(Refused, match="columns, status keys and errors"):
        world.intake.row(record)


def test_a_status_key_counts_once_whatever_its_text_says() -> None:
    status = {f"x{number}": "2026-05-06T00:00:00.0000001+00:00" for number in range(MAX_MEMBERS - 100)}
    envelope = {"entity": "messages", "action": "update", "data": {"id": "m", "status": status}}
    told = World().intake.row(Record("messages", 0, 0, b"m", event_bytes(envelope)))
    assert told.fields["status"].keys() == told.fields["status_extra"].keys() == status.keys()
