"""What can be redriven, as what, and how often."""

import contextlib
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Self

import pytest
from rich.progress import Progress

from avro import codec, identity, instants, jsontext
from avro.codec import CodecError
from avro.schemas import latest
from bridge.client import Outcome
from bridge.dead_letters import commands
from bridge.dead_letters.letters import Letter, PositionError, Wanted, position_in
from bridge.dead_letters.plan import MOST_REDRIVES, NotRedrivableError, Planner
from openbsp.kafka.position import Position

DECODER = codec.Decoder("MessageEvent")
DECODER.learn(1, latest("MessageEvent").text)
FIELDS = {
    "event_id": "e",
    "action": "update",
    "received_at": 1,
    "id": "m1",
    "created_at": instants.parse("2026-05-06T03:39:23.104211-05:00"),
    "content": '{"n":12345678901234567890123}',
    "extra": {"new_column": '"kept"'},
    "nulls": ["agent_id"],
}
VALUE = codec.encoder("MessageEvent", 1)(FIELDS)


def letter(origin: str, reason: str, *, redriven: int = 0, **fields: object) -> Letter:
    names = (
        "detail entity action key organization_id topic partition offset payload payload_size".split()  # noqa: SIM905
    )
    all_fields = {
        **dict.fromkeys(names),
        "event_id": "d",
        "origin": origin,
        "reason": reason,
        "received_at": 1,
        **fields,
    }
    return Letter(Position("p.dead-letters", 0, 7), all_fields, redriven)


def planner(redriven_at: int = 0) -> Planner:
    return Planner("p.", {"messages": DECODER.decode}, lambda _: redriven_at, max_depth=100)


def test_the_record_of_an_event_becomes_the_webhook_that_says_the_same():
    refused = letter("bridge", "broker_refused", topic="p.messages", payload=VALUE)
    found = planner().plan(refused)
    data = {
        "id": "m1",
        "created_at": "2026-05-06T08:39:23.104211+00:00",
        "content": {"n": 12345678901234567890123},
        "new_column": "kept",
        "agent_id": None,
    }
    assert json.loads(found.body) == {"entity": "messages", "action": "update", "data": data}
    assert found.event.event_id == identity.event_id("messages", "update", jsontext.encode(data))
    assert planner().plan(refused) == found
    assert found.attempt == 1


def test_an_event_of_a_repair_stays_one():
    refused = letter("bridge", "broker_refused", topic="p.messages", payload=VALUE)
    assert planner().plan(refused).headers() == {"openbsp-redriven": "1"}
    value = codec.encoder("MessageEvent", 1)(FIELDS | {"reconciled": True})
    repaired = letter("bridge", "broker_refused", topic="p.messages", payload=value)
    assert planner().plan(repaired).headers() == {"openbsp-redriven": "1", "openbsp-reconciled": "true"}


def test_a_body_that_is_an_event_for_this_version_is_sent_as_it_was():
    body = b'{"entity": "messages", "action": "insert", "data": {"id": "m1"} }'
    assert planner().plan(letter("webhook", "invalid_event", payload=body)).body == body


@pytest.mark.parametrize(
    ("of", "why"),
    [
        (letter("webhook", "unsupported_entity", payload_size=9), "the catalogue does not have its table"),
        (letter("webhook", "malformed_json", payload_size=1), "what is no JSON"),
        (letter("webhook", "invalid_event", payload=b'{"entity":"messages","action":"x","data":{}}'), "neither insert"),
        (letter("webhook", "invalid_event", payload_size=90), "its 90 bytes were not kept"),
        (letter("streams", "undecodable", topic="p.messages", payload=b"\0\0\0\0\1"), "still cannot be read"),
        (letter("streams", "undecodable", topic="p.streams-contributions", payload=b"\0"), "is internal"),
        (letter("streams", "no_key", topic="p.messages"), "nothing of it was kept"),
        (letter("streams", "of_the_future", topic="p.messages", payload=VALUE), "does not know"),
        (letter("streams", "too_large", topic="p.messages", payload=VALUE), "of this size again"),
    ],
    ids=lambda value: value.reason if isinstance(value, Letter) else "",
)
def test_what_cannot_be_redriven_is_said_with_the_reason(of, why):
    with pytest.raises(NotRedrivableError, match=why):
        planner().plan(of)


def test_an_instant_that_no_text_can_say_is_a_reason():
    value = codec.encoder("MessageEvent", 1)(FIELDS | {"created_at": instants.LAST + 1})
    with pytest.raises(NotRedrivableError, match="years 1 to 9999"):
        planner().plan(letter("streams", "no_key", topic="p.messages", payload=value))


def test_the_guard_counts_by_the_header_of_the_dead_letter_or_of_the_record_that_the_worker_refused():
    of_bridge = letter("bridge", "broker_refused", topic="p.messages", payload=VALUE, redriven=MOST_REDRIVES - 1)
    assert planner().plan(of_bridge).attempt == MOST_REDRIVES
    of_worker = letter("streams", "no_key", topic="p.messages", partition=1, offset=2, payload=VALUE)
    assert planner(MOST_REDRIVES - 1).plan(of_worker).attempt == MOST_REDRIVES
    for exhausted in (of_worker, letter("bridge", "broker_refused", topic="p.messages", payload=VALUE, redriven=3)):
        with pytest.raises(NotRedrivableError, match="3 times already"):
            planner(MOST_REDRIVES).plan(exhausted)


def test_redriving_again_and_again_while_the_cause_stays_ends():
    """Each run redrives all that it may; every time the event becomes a dead letter again."""
    letters = [letter("bridge", "broker_refused", topic="p.messages", payload=VALUE)]
    for _ in range(10):
        last = planner().last_of_each(letters)
        for one in list(letters):
            with contextlib.suppress(NotRedrivableError):
                found = planner().plan(one)
                if one.position in last:
                    position = Position("p.dead-letters", 0, 7 + len(letters))
                    letters.append(replace(one, position=position, redriven=found.attempt))
    assert [one.redriven for one in letters] == [0, 1, 2, 3]


def test_a_dead_letter_stands_for_those_of_the_same_event_and_the_same_writer():
    def refused(offset: int, redriven: int = 0, **fields: object) -> Letter:
        made = letter("bridge", "broker_refused", topic="p.messages", redriven=redriven, **{"payload": VALUE, **fields})
        return replace(made, position=Position("p.dead-letters", 0, offset))

    other = codec.encoder("MessageEvent", 1)(FIELDS | {"id": "m2"})
    repaired = codec.encoder("MessageEvent", 1)(FIELDS | {"reconciled": True})
    letters = [
        refused(0),
        refused(1, 1, received_at=9),
        # By a clock that is behind.
        refused(2, 2, received_at=2),
        refused(3, payload=other),
        refused(4, payload=repaired),
        replace(refused(5), organizations=frozenset({"o"})),
        refused(6, payload=b"cannot be read"),
        refused(7, payload=other, received_at=5),
    ]
    assert {position.offset for position in planner().last_of_each(letters)} == {2, 4, 5, 7}
    # By its position one can still be asked for alone.
    assert {position.offset for position in planner().last_of_each(letters[:1])} == {0}


def test_a_codec_error_of_an_unknown_schema_is_a_reason():
    def decode(_: bytes) -> dict[str, object]:
        raise CodecError("unknown_schema", "schema id 9 is not in the registry")

    with pytest.raises(NotRedrivableError, match="schema id 9 is not in the registry"):
        Planner("p.", {"messages": decode}, lambda _: 0, max_depth=100).plan(
            letter("streams", "unknown_schema", topic="p.messages", payload=b"x")
        )


def test_positions_are_read_as_they_are_printed():
    position = Position("openbsp.dead-letters", 3, 17)
    assert position_in(position.topic, str(position)) == position
    assert position_in(position.topic, "3:17") == position
    for text in ("", "3", "3:-1", "other:3:17", "a:b:c", "3:17\n"):
        with pytest.raises(PositionError):
            position_in(position.topic, text)


def test_filters_are_all_of_them_and_each_is_one_of_several():
    found = letter("webhook", "invalid_event", entity="messages", organization_id="o1")
    assert Wanted(entities=frozenset({"messages"})).has(letter("streams", "no_key", topic="p.messages"))
    assert Wanted().has(found)
    # As a list shows it, for both have a `too_large`.
    assert Wanted(frozenset({"webhook: invalid_event"})).has(found)
    assert not Wanted(frozenset({"streams: invalid_event"})).has(found)
    assert Wanted(frozenset({"invalid_event", "x"}), frozenset({"messages"}), frozenset({"o1"}), 1, 2).has(found)
    for wanted in (
        Wanted(reasons=frozenset({"x"})),
        Wanted(entities=frozenset({"conversations"})),
        Wanted(organizations=frozenset({"o2"})),
        Wanted(since=2),
        Wanted(until=1),
    ):
        assert not wanted.has(found)


BODY = b'{"entity": "messages", "action": "insert", "data": {"id": "m1"}}'
POSSIBLE = letter("webhook", "invalid_event", payload=BODY)
IMPOSSIBLE = letter("webhook", "invalid_event", payload_size=90)


class Topic:
    """A topic of dead letters that has these; without one, its only record is none."""

    def __init__(self, *letters: Letter) -> None:
        self.name = "p.dead-letters"
        self.letters = letters
        self.unreadable = {} if letters else {POSSIBLE.position: "a record without a value"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def at(self, position: Position) -> Letter | None:
        return next((letter for letter in self.letters if letter.position == position), None)

    def range(self, _: Wanted) -> dict[int, tuple[int, int]]:
        return {0: (0, 9)}

    def read(self, _: object, wanted: Wanted) -> list[Letter]:
        return [letter for letter in self.letters if wanted.has(letter)]


@pytest.mark.parametrize(
    ("topic", "reasons", "done"),
    [
        (Topic(POSSIBLE), frozenset(), True),
        (Topic(IMPOSSIBLE), frozenset(), False),
        (Topic(POSSIBLE), frozenset({"broker_refused"}), False),
        (Topic(), frozenset(), False),
    ],
    ids=["possible", "impossible", "not of the reason", "no dead letter"],
)
def test_who_names_one_that_is_not_redriven_does_not_take_it_for_done(
    topic: Topic,
    reasons: frozenset[str],
    done: bool,  # noqa: FBT001 a case
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(commands, "DeadLetterTopic", lambda _: topic)
    monkeypatch.setattr(commands, "_planner", lambda _: contextlib.nullcontext(planner()))
    monkeypatch.setattr(commands, "_progress", lambda: Progress(disable=True))
    client: Any = SimpleNamespace(send=lambda *_: Outcome(taken=True, disposition="published", event_id="e", text=""))
    cluster: Any = None
    assert commands.execute(cluster, Wanted(reasons), None, client)
    assert commands.execute(cluster, Wanted(reasons), "0:7", client) is done
