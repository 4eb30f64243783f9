"""The codec writes Confluent's wire format and reads every version of its record, and nothing else."""

import json
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import fastavro
import pytest

from avro.codec import CodecError, Decoder, UnknownSchemaIdError, encoder, schema_id_of
from avro.schemas import latest

CHANGE = {
    "id": "i",
    "message_id": "m",
    "conversation_id": "c",
    "organization_id": None,
    "direction": "outgoing",
    "status": "read",
    "at": 1_778_038_763_000_001,
    "previous": "delivered",
    "seconds_since_message": 1.5,
    "conversation": None,
    "errors": None,
}


def decoder(record: str = "StatusChange", schema_id: int = 258, text: str | None = None) -> Decoder:
    made = Decoder(record)
    made.learn(schema_id, text or latest(record).text)
    return made


def changed(edit: Any) -> str:
    schema = json.loads(latest("StatusChange").text)
    edit(schema)
    return json.dumps(schema)


def test_a_value_is_a_zero_byte_the_schema_id_and_plain_avro() -> None:
    value = encoder("StatusChange", 258)(CHANGE)
    assert value[:5] == b"\0\0\0\1\2"
    assert schema_id_of(value) == 258
    read: Any = fastavro.schemaless_reader(BytesIO(value[5:]), latest("StatusChange").parsed(), None)
    assert read == CHANGE | {"at": datetime(2026, 5, 6, 3, 39, 23, 1, UTC)}


def test_what_is_written_reads_back_with_instants_as_microseconds() -> None:
    assert decoder().decode(encoder("StatusChange", 258)(CHANGE)) == CHANGE


def test_absent_fields_are_written_as_their_defaults() -> None:
    needed = {name: CHANGE[name] for name in ("id", "message_id", "conversation_id", "status", "at")}
    optional = {name: None for name in CHANGE if name not in needed}
    assert decoder().decode(encoder("StatusChange", 258)(needed)) == needed | optional


def test_an_unknown_schema_id_can_be_learned() -> None:
    value = encoder("StatusChange", 9)(CHANGE)
    reader = decoder()
    with pytest.raises(UnknownSchemaIdError) as unknown:
        reader.decode(value)
    assert unknown.value.schema_id == 9
    reader.learn(9, latest("StatusChange").text)
    assert reader.decode(value) == CHANGE


def test_an_older_or_newer_version_is_resolved() -> None:
    def edit(schema: Any) -> None:
        schema["fields"] = [field for field in schema["fields"] if field["name"] != "previous"]
        schema["fields"].append({"name": "channel", "type": ["null", "string"], "default": None})

    text = changed(edit)
    buffer = BytesIO(b"\0\0\0\0\7")
    buffer.seek(5)
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(json.loads(text)), CHANGE | {"channel": "x"})
    assert decoder(schema_id=7, text=text).decode(buffer.getvalue()) == CHANGE | {"previous": None}


def test_values_that_take_a_default_do_not_share_it() -> None:
    schema = json.loads(latest("MessageEvent").text)
    schema["fields"] = [field for field in schema["fields"] if field["name"] not in {"extra", "nulls"}]
    buffer = BytesIO()
    event = {"event_id": "e", "action": "insert", "received_at": 1, "id": "m"}
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(schema), event)
    reader = decoder("MessageEvent", 7, json.dumps(schema))
    first, second = (reader.decode(b"\0\0\0\0\7" + buffer.getvalue()) for _ in range(2))
    first["extra"]["column"] = "1"
    first["nulls"].append("column")
    assert (second["extra"], second["nulls"]) == ({}, [])


@pytest.mark.parametrize(
    "text",
    [
        latest("DeadLetter").text,
        '"string"',
        '{"type": "enum", "name": "StatusChange", "namespace": "openbsp", "symbols": ["a"]}',
        '{"type": "record", "name": "StatusChange", "namespace": "other", "fields": []}',
        '{"type": "record", "name": "openbsp.StatusChange", "fields": [{"name": "a", "type": "not.here.Known"}]}',
        '{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}',
        'syntax = "proto3"; message StatusChange {}',
        "",
    ],
    ids=["record", "string", "enum", "namespace", "reference", "json schema", "protobuf", "nothing"],
)
def test_a_schema_id_of_something_else_makes_its_values_undecodable_for_good(text: str) -> None:
    reader = Decoder("StatusChange")
    reader.learn(258, text)
    with pytest.raises(CodecError) as refused:
        reader.decode(encoder("StatusChange", 258)(CHANGE))
    assert refused.value.reason == "wrong_subject"


def test_an_incompatible_writer_is_an_error_of_the_value_not_of_the_reader() -> None:
    def edit(schema: Any) -> None:
        schema["fields"][0]["type"] = "long"

    reader = decoder(text=changed(edit))
    with pytest.raises(CodecError) as refused:
        reader.decode(encoder("StatusChange", 258)(CHANGE))
    assert refused.value.reason == "undecodable"


@pytest.mark.parametrize("value", [b"", b"\0\0\0\0", b"\1\0\0\0\7abc", b"{}", b'{"id":1}'])
def test_values_without_the_prefix_are_refused(value: bytes) -> None:
    with pytest.raises(CodecError) as refused:
        decoder().decode(value)
    assert refused.value.reason == "not_wire_format"


@pytest.mark.parametrize("damage", [lambda value: value[:-1], lambda value: value + b"\0", lambda value: value[:5]])
def test_values_that_end_too_early_or_too_late_are_refused(damage: Any) -> None:
    with pytest.raises(CodecError) as refused:
        decoder().decode(damage(encoder("StatusChange", 258)(CHANGE)))
    assert refused.value.reason == "undecodable"


def test_the_text_of_an_error_never_quotes_the_value() -> None:
    value = encoder("StatusChange", 258)(CHANGE | {"status": "hunter2"}).replace(b"hunter2", b"hunter\xff")
    with pytest.raises(CodecError) as refused:
        decoder().decode(value)
    assert "hunter" not in str(refused.value)
