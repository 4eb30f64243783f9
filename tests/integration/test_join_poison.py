"""Records that nobody should write: each becomes a dead letter with its bytes and its place, and the stream goes on."""

import struct
import time
from dataclasses import dataclass

import msgspec
import pytest

from avro.codec import encoder
from support.consume import AvroReader
from support.join_cases import at, conversation, inserted, message, opened, status_of
from support.join_outcome import await_committed, expected_of, outcome_of, plain, records
from support.join_sources import Sources

pytestmark = pytest.mark.integration

UNKNOWN_ID = 2_000_000_000
MIB = 1 << 20


@dataclass(frozen=True)
class Poison:
    """A record, the reason why it is refused, and the key of the dead letter if it is another."""

    topic: str
    reason: str
    key: bytes | None
    value: bytes | None
    kept_key: bytes | None = b"the same"


@pytest.fixture
def sources(contract):
    return Sources(contract)


def contribution(*, message_id="m1", value=None, status=None, announce=()):
    """Return a record of the topic between the tables, with some value in a register."""
    register = None if value is None else [0, value]
    return msgspec.msgpack.encode(
        [message_id, [[0, "c1"], None, [0, "incoming"], register, None, None, status or {}], list(announce)]
    )


def beyond(sources, **columns):
    """Return a message event with an instant that no calendar has."""
    fields = {"event_id": "e", "action": "update", "received_at": 0, "extra": {}, "nulls": [], **columns}
    return encoder("MessageEvent", sources.ids["MessageEvent"])({"id": "m1", **fields})


def poisons(sources):
    good = {
        "messages": sources.value(inserted("m1", "c1", "incoming", 1)),
        "conversations": sources.value(opened("c1", 1)),
    }
    other = {"messages": good["conversations"], "conversations": good["messages"]}
    ids = {"messages": b"m1", "conversations": b"c1"}
    for topic, value in good.items():
        key = ids[topic]
        yield Poison(topic, "not_wire_format", key, b"")
        yield Poison(topic, "not_wire_format", key, b"\x00\x00\x00")
        yield Poison(topic, "not_wire_format", key, b"\x01" + value[1:])
        yield Poison(topic, "not_wire_format", key, b'{"id": "m1"}')
        yield Poison(topic, "unknown_schema", key, struct.pack(">bI", 0, UNKNOWN_ID) + value[5:])
        yield Poison(topic, "wrong_subject", key, other[topic])
        yield Poison(topic, "undecodable", key, value[:-7])
        yield Poison(topic, "undecodable", key, value + b"\x00")
        yield Poison(topic, "undecodable", key, value[:5])
        yield Poison(topic, "undecodable", key, value[:5] + bytes(range(256)) * 40)
        yield Poison(topic, "no_key", None, value)
        yield Poison(topic, "no_key", None, None)
        yield Poison(topic, "bad_key", b"\xff\xfe", value, None)
        yield Poison(topic, "bad_key", b"\xff\xfe", None, None)
        yield Poison(topic, "key_mismatch", b"another", value)
        yield Poison(topic, "no_key", b"", value)
        yield Poison(topic, "too_large", b"k" * 400_000, value, None)
        yield Poison(topic, "too_large", b"k" * 400_000, None, None)
        yield Poison(topic, "not_wire_format", key, b"\x07" * (16 * MIB - 500))
        yield Poison(topic, "not_wire_format", key, b"\x07" * (28 * MIB))
    far = sources.value(inserted("m1", "c" * 400_000, "incoming", 1))
    yield Poison("messages", "too_large", b"m1", far)
    yield Poison("messages", "out_of_range", b"m1", beyond(sources, updated_at=2**62))
    yield Poison("messages", "out_of_range", b"m1", beyond(sources, created_at=-(2**62), status={"sent": 0}))
    yield Poison("messages", "out_of_range", b"m1", beyond(sources, conversation_id="c1", status={"sent": 2**62}))
    topic = "streams-contributions"
    yield Poison(topic, "undecodable", b"c1", b"")
    yield Poison(topic, "undecodable", b"c1", b"\xc1 nothing")
    yield Poison(topic, "undecodable", b"c1", msgspec.msgpack.encode(["m1"]))
    yield Poison(topic, "undecodable", b"c1", msgspec.msgpack.encode({"message_id": "m1"}))
    yield Poison(topic, "undecodable", b"c1", contribution(value=["a", "list"]))
    yield Poison(topic, "undecodable", b"c1", contribution(value=1.5))
    yield Poison(topic, "undecodable", b"c1", contribution(value=2**63))
    yield Poison(topic, "undecodable", b"c1", contribution(status={"sent": 2**63}))
    yield Poison(topic, "undecodable", b"c1", contribution(status={"sent": 2**62}, announce=["sent"]))
    yield Poison(topic, "undecodable", b"c1", contribution(announce=["sent"]))
    yield Poison(topic, "undecodable", b"c1", contribution() + b"\x00")
    yield Poison(topic, "undecodable", b"c1", contribution(message_id=""))
    yield Poison(topic, "undecodable", b"c1", None)
    yield Poison(topic, "no_key", None, contribution())
    yield Poison(topic, "bad_key", b"\xff", contribution(), None)


@pytest.mark.parametrize("coalesce_ms", ["0", "50"])
def test_each_poison_becomes_a_dead_letter_and_the_stream_goes_on(contract, sources, start_streams, coalesce_ms):
    before = [opened("c1", 1), inserted("m1", "c1", "incoming", 2)]
    after = [status_of("m1", "read", 3), conversation("c1", status="closed", updated_at=at(4))]
    sources.send(before)
    wanted = {}
    for poison in poisons(sources):
        wanted[sources.raw(poison.topic, poison.key, poison.value)] = poison
    sources.send(after)
    start_streams(STREAMS_STORE="memory", STREAMS_COALESCE_MS=coalesce_ms)
    await_committed(contract)

    reader = AvroReader(contract.registry.url)
    letters = {}
    for record in records(contract, "dead-letters"):
        letter = plain(reader.value(record))
        letters[letter["topic"], letter["partition"], letter["offset"]] = letter
        poison = wanted[letter["topic"], letter["partition"], letter["offset"]]
        assert record.key() == (poison.key if poison.kept_key else None)
    assert letters.keys() == wanted.keys()
    for place, poison in wanted.items():
        letter = letters[place]
        size = None if poison.value is None else len(poison.value)
        # Bytes that no record could hold beside what is said of them stay where they are.
        kept = poison.value if size is None or size < 12 * MIB else None
        assert (letter["reason"], letter["payload"], letter["payload_size"]) == (poison.reason, kept, size), poison
        assert letter["origin"] == "streams"
        assert letter["detail"]
    assert outcome_of(contract).differences(expected_of(before + after)) == []


def test_rows_that_grow_beyond_a_record_are_refused_event_by_event(contract, sources, start_streams):
    """Whether an event alone, many in one batch, or many one after another make the row too large."""
    before = [opened("c1", 1), inserted("m1", "c1", "incoming", 2)]
    sources.send(before)
    for key, entity, count, size in (
        ("m1", message, 3, 4 * MIB),
        ("c1", conversation, 3, 4 * MIB),
        ("m2", message, 9, 1_600_000),
        ("c2", conversation, 9, 1_600_000),
        ("m3", message, 400, 40_000),
        ("c3", conversation, 400, 40_000),
    ):
        sources.send(entity(key, **{f"column {n}": "x" * size}, updated_at=at(n)) for n in range(count))
    start_streams(STREAMS_STORE="rocksdb")
    await_committed(contract)
    for n in range(3):
        sources.send([message("m4", **{f"column {n}": "x" * (4 * MIB)}, updated_at=at(n))])
        sources.send([conversation("c4", **{f"column {n}": "x" * (4 * MIB)}, updated_at=at(n))])
        await_committed(contract)

    reader = AvroReader(contract.registry.url)
    refused = [plain(reader.value(record)) for record in records(contract, "dead-letters")]
    assert {letter["reason"] for letter in refused} == {"too_large"}
    places = {(letter["topic"], letter["partition"], letter["offset"]) for letter in refused}
    taken = []
    for topic in ("messages", "conversations"):
        for record in records(contract, topic):
            if (record.topic(), record.partition(), record.offset()) not in places:
                fields = reader.value(record)
                taken.append((topic, record.key().decode(), {name for name in fields["extra"] if "column" in name}))
    outcome = outcome_of(contract)
    for topic, states in (("messages", outcome.messages), ("conversations", outcome.conversations)):
        for key in {key for _, key, _ in taken}:
            columns = set().union(*(columns for kind, name, columns in taken if (kind, name) == (topic, key)))
            if columns:
                assert set(states[key]["extra"]) == columns, key
                assert sum(map(len, states[key]["extra"].values())) > 4 * MIB - 10, key
    assert {letter["key"] for letter in refused} == {"m1", "c1", "m2", "c2", "m3", "c3", "m4", "c4"}
    last = [status_of("m1", "read", 500), conversation("c1", status="closed", updated_at=at(500))]
    sources.send(last)
    await_committed(contract)
    after = outcome_of(contract)
    assert after.messages["m1"]["delivery_status"] == "read"
    assert after.conversations["c1"]["status"] == "closed"


def test_a_row_with_32000_keys_of_status_holds_nobody_up(contract, sources, start_streams, tmp_path):
    """More than a megabyte as JSON: each step of the join is linear in it, and no worker that joins it is replaced."""
    keys = {f"k{number:05}": at(3) for number in range(32_000)}
    large = [opened("c1", 1), inserted("m1", "c1", "outgoing", 2), message("m1", status=keys, updated_at=at(3))]
    others = [opened("c2", 4), *(inserted(f"x{number}", "c2", "incoming", 5) for number in range(40))]
    worker = start_streams(STREAMS_STORE="rocksdb")
    pid, began = worker.pid, time.monotonic()
    sources.send([*large, *others, status_of("m1", "read", 6)])
    await_committed(contract)
    joined_s = time.monotonic() - began
    differences = outcome_of(contract).differences(expected_of([*large, *others, status_of("m1", "read", 6)]))
    size = len(sources.value(large[-1]))
    print(
        f"figure: a row of {size:,} bytes and what came after it: joined after {joined_s:.1f} s, {len(differences)}"
        " differences; the operator saw nothing"
    )
    assert differences == []
    assert worker.running
    assert worker.pid == pid
    assert "event loop has not run" not in (tmp_path / "streams-1.log").read_text("utf-8")
