"""The compiled writers and readers agree with fastavro byte for byte, over every schema of the contract."""

import io
import struct
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avro import compiled
from avro.catalogue import TOPICS
from avro.schemas import latest

RECORDS = sorted({topic.schema for topic in TOPICS.values() if topic.schema is not None})
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.just("x" * 3000)
LONG = st.integers(-(2**63), 2**63 - 1) | st.integers(1_600_000_000_000_000, 1_900_000_000_000_000)


def values(schema: Any) -> st.SearchStrategy[Any]:
    if isinstance(schema, list):
        return st.none() | values(schema[1])
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "record":
        return st.fixed_dictionaries({field["name"]: values(field["type"]) for field in schema["fields"]})
    if kind == "array":
        return st.lists(values(schema["items"]), max_size=4)
    if kind == "map":
        return st.dictionaries(TEXT, values(schema["values"]), max_size=4)
    return {
        "string": TEXT,
        "bytes": st.binary(max_size=20),
        "long": LONG,
        "int": st.integers(-(2**31), 2**31 - 1),
        "double": st.floats(allow_nan=False),
        "boolean": st.booleans(),
    }[kind]


@pytest.mark.parametrize("record", RECORDS)
def test_writes_what_fastavro_writes_and_reads_it_back(record: str) -> None:
    schema = latest(record).parsed_raw()
    write, read = compiled.writer(schema), compiled.reader(schema)

    @given(values(schema))
    def agrees(fields: dict[str, Any]) -> None:
        expected = io.BytesIO()
        fastavro.schemaless_writer(expected, schema, fields)
        assert write(fields) == expected.getvalue()
        assert read(expected.getvalue(), 0) == (fields, len(expected.getvalue()))

    agrees()


@pytest.mark.parametrize("record", RECORDS)
def test_reads_only_what_fastavro_reads(record: str) -> None:
    schema = latest(record).parsed_raw()
    write, read = compiled.writer(schema), compiled.reader(schema)

    @given(values(schema), st.data())
    def agrees(fields: dict[str, Any], data: st.DataObject) -> None:
        damaged = bytearray(write(fields))
        for _ in range(data.draw(st.integers(1, 3))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        try:
            ours = read(bytes(damaged), 0)
        except (ValueError, IndexError, struct.error):
            return
        buffer = io.BytesIO(damaged)
        theirs = fastavro.schemaless_reader(buffer, schema, None)
        assert ours == (theirs, buffer.tell()) or ours[0] != ours[0]

    agrees()


@given(LONG)
def test_longs_are_zigzag_varints(value: int) -> None:
    expected = io.BytesIO()
    fastavro.schemaless_writer(expected, "long", value)
    assert compiled._long(value) == expected.getvalue()
    assert compiled._read_long(expected.getvalue(), 0) == (value, len(expected.getvalue()))
