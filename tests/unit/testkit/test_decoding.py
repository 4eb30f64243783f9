"""The test kit's own Avro reader agrees with fastavro, for our schemas and for what else Avro has."""

import io
import json
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fastavro
import pytest
from fastavro.utils import generate_many

from openbsp_testkit import decoding, web
from openbsp_testkit.decoding import DecodeError, Decoder, read_value, reader_of

ROOT = Path(__file__).parents[3]
SCHEMAS = sorted((ROOT / "avro" / "schemas").glob("*.avsc"))

NODE = {
    "type": "record",
    "name": "Node",
    "namespace": "team",
    "fields": [
        {"name": "next", "type": ["null", "Node"]},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
        {"name": "again", "type": "team.Kind"},
        {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 3}},
        {"name": "numbers", "type": {"type": "array", "items": "long"}},
        {"name": "names", "type": {"type": "map", "values": ["null", "string"]}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "half", "type": "double"},
        {"name": "third", "type": "float"},
        {"name": "flag", "type": "boolean"},
        {"name": "raw", "type": "bytes"},
        {"name": "small", "type": "int"},
    ],
}
LEAF = {
    "next": None,
    "kind": "B",
    "again": "A",
    "hash": b"abc",
    "numbers": [0, -1, 2**62, -(2**63)],
    "names": {"ñ": "x", "none": None},
    "at": datetime(2026, 5, 6, 1, 2, 3, 4000, tzinfo=UTC),
    "half": 0.5,
    "third": 0.25,
    "flag": True,
    "raw": bytes(range(256)),
    "small": -123456,
}


def encode(schema, value) -> bytes:
    output = io.BytesIO()
    fastavro.schemaless_writer(output, fastavro.parse_schema(json.loads(json.dumps(schema))), value)
    return output.getvalue()


def test_it_reads_what_avro_has():
    tree = {**LEAF, "next": {**LEAF, "numbers": []}}
    assert read_value(reader_of(NODE), encode(NODE, tree)) == tree


def test_blocks_with_a_size_are_read():
    """As some writers make them."""
    read = reader_of({"type": "array", "items": "int"})
    assert read_value(read, bytes([0x03, 0x04, 0x02, 0x04, 0x00])) == [1, 2]


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_it_reads_our_schemas_as_fastavro_does(path):
    # Instants as numbers: at random, most of them are no datetimes.
    schema = json.loads(path.read_text("utf-8").replace("timestamp-micros", "unknown"))
    parsed = fastavro.parse_schema(json.loads(json.dumps(schema)))
    read = reader_of(schema)
    for value in generate_many(parsed, 20):
        content = encode(schema, value)
        assert read_value(read, content) == fastavro.schemaless_reader(io.BytesIO(content), parsed, None)


def test_an_instant_that_no_datetime_can_hold_stays_a_number():
    schema = {"type": "long", "logicalType": "timestamp-micros"}
    at = datetime(2026, 5, 6, tzinfo=UTC)
    micros = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert read_value(reader_of(schema), encode("long", micros)) == at
    assert read_value(reader_of(schema), encode("long", 2**62)) == 2**62


@pytest.mark.parametrize("content", [b"", b"\x04a", b"\x02ab", b"\x02\xff", b"\x01"], ids=repr)
def test_what_is_no_value_is_an_error(content):
    with pytest.raises(DecodeError):
        read_value(reader_of("string"), content)


def test_a_schema_is_asked_for_once(monkeypatch):
    asked = []

    def get(url, **_):
        asked.append(url)
        return web.Response(200, {}, json.dumps({"schema": '"string"'}).encode())

    monkeypatch.setattr(decoding.web, "get", get)
    decoder = Decoder("http://registry/ccompat/")
    for _ in range(2):
        assert decoder.decode(b"\0" + struct.pack(">I", 7) + b"\x02a") == "a"
    assert asked == ["http://registry/ccompat/schemas/ids/7"]
    with pytest.raises(DecodeError, match="wire format"):
        decoder.decode(b"{}")
