"""Forged values: only the two documented errors come out, and no length in the bytes is believed."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avro.catalogue import TOPICS
from avro.codec import PREFIX_BYTES, CodecError, Decoder, UnknownSchemaIdError, encoder, schema_id_of
from avro.schemas import latest

RECORDS = sorted(topic.schema for topic in TOPICS.values() if topic.schema)
PREFIXES = [b"\0\0\0\0\7", b"\0\0\0\0\x08"]
HUGE = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # zigzag of 2**63 - 1
NEGATIVE = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # zigzag of -2**63
ENDLESS = b"\xff" * 100


def decoder_of(record: str) -> Decoder:
    """Return a decoder that reads id 7 as its own version, and id 8 by resolution, as if another version wrote it."""
    decoder = Decoder(record)
    decoder.learn(7, latest(record).text)
    other = json.loads(latest(record).text)
    other["fields"].append({"name": "added_later", "type": ["null", "string"], "default": None})
    decoder.learn(8, json.dumps(other))
    return decoder


DECODERS = {record: decoder_of(record) for record in RECORDS}
GOOD: dict[str, bytes] = {
    "MessageEvent": encoder("MessageEvent", 7)(
        {
            "event_id": "e",
            "action": "insert",
            "received_at": 1,
            "id": "m",
            "status": {"sent": 1},
            "errors": ["{}"],
            "status_extra": {"x": "null"},
            "extra": {"wa_id": '"1"'},
            "nulls": ["agent_id"],
        }
    ),
    "StatusChange": encoder("StatusChange", 7)(
        {"id": "i", "message_id": "m", "conversation_id": "c", "status": "read", "at": 1, "conversation": {"name": "n"}}
    ),
}


def attempt(record: str, value: bytes) -> Any:
    try:
        return DECODERS[record].decode(value)
    except (CodecError, UnknownSchemaIdError) as error:
        return error


@given(st.sampled_from(RECORDS), st.sampled_from([b"", *PREFIXES]), st.binary(max_size=200))
def test_any_bytes_give_fields_or_a_documented_error(record: str, prefix: bytes, data: bytes) -> None:
    attempt(record, prefix + data)


@given(st.sampled_from(sorted(GOOD)), st.sampled_from(PREFIXES), st.data())
def test_damaged_values_give_fields_or_a_documented_error(record: str, prefix: bytes, data: st.DataObject) -> None:
    value = bytearray(prefix + GOOD[record][PREFIX_BYTES:])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(value)))
        end = data.draw(st.integers(start, min(len(value), start + 8)))
        value[start:end] = data.draw(st.one_of(st.binary(max_size=4), st.sampled_from([HUGE, NEGATIVE, ENDLESS])))
    attempt(record, bytes(value))


@pytest.mark.parametrize(
    "forged", [HUGE, NEGATIVE, ENDLESS, b"\x80\x80\x80\x80\x20"], ids=["huge", "negative", "endless", "4 GiB"]
)
@pytest.mark.parametrize("prefix", PREFIXES, ids=["own version", "by resolution"])
def test_a_forged_length_allocates_nothing(forged: bytes, prefix: bytes) -> None:
    """At each place of a value there stands a length for somebody: none of them may be believed."""
    good = prefix + GOOD["MessageEvent"][PREFIX_BYTES:] + b"\0"
    tracemalloc.start()
    try:
        for place in range(PREFIX_BYTES, len(good)):
            attempt("MessageEvent", good[:place] + forged + good[place + 1 :])
            attempt("MessageEvent", good[:place] + forged)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


@given(st.binary(max_size=10))
def test_the_schema_id_is_read_or_refused(value: bytes) -> None:
    if len(value) >= PREFIX_BYTES and value[0] == 0:
        assert value[:PREFIX_BYTES] == b"\0" + schema_id_of(value).to_bytes(4, "big")
        return
    with pytest.raises(CodecError) as refused:
        schema_id_of(value)
    assert refused.value.reason == "not_wire_format"
