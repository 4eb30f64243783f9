"""Consumers of each version of a schema read what every other version wrote, each field with its value or default."""

import json
from io import BytesIO
from itertools import permutations
from typing import Any

import fastavro
import pytest

from avro import codec, examples
from avro.schemas import Schema, latest, records, versions

PAIRS = [
    pytest.param(writer, reader, example, id=f"{writer.record}.v{writer.version} by v{reader.version}: {example.title}")
    for record in records()
    for writer, reader in permutations(versions(record), 2)
    for example in examples.load(writer).accepted
]


def fields_of(schema: Schema) -> dict[str, Any]:
    return {field["name"]: field for field in json.loads(schema.text)["fields"]}


def expected(writer: Schema, reader: Schema, value: dict[str, Any]) -> dict[str, Any]:
    """Return what the reader is to see: what was written, else the writer's default, else its own."""
    written, own = fields_of(writer), fields_of(reader)
    told = examples.to_fields(writer, value)
    return {
        name: told.get(name, written[name].get("default")) if name in written else own[name]["default"] for name in own
    }


@pytest.mark.parametrize(("writer", "reader", "example"), PAIRS)
def test_a_consumer_that_was_compiled_against_another_version_reads_the_values(
    writer: Schema, reader: Schema, example: examples.Example
) -> None:
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, writer.parsed_raw(), examples.to_fields(writer, example.value))
    buffer.seek(0)
    read: Any = fastavro.schemaless_reader(buffer, writer.parsed_raw(), reader.parsed_raw())
    found, wanted = (partly(reader, fields) for fields in (read, expected(writer, reader, example.value)))
    assert found == wanted


def partly(schema: Schema, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields without those of inner records, which other tests write and read back."""
    plain = {name for name, field in fields_of(schema).items() if "record" not in json.dumps(field["type"])}
    return {name: value for name, value in fields.items() if name in plain}


@pytest.mark.parametrize("record", [record for record in records() if len(versions(record)) > 1])
def test_the_decoder_reads_what_the_first_version_wrote_with_the_defaults_of_the_newest(record: str) -> None:
    first, newest = versions(record)[0], latest(record)
    for example in examples.load(first).accepted:
        buffer = BytesIO(b"\0\0\0\0\7")
        buffer.seek(5)
        fastavro.schemaless_writer(buffer, first.parsed_raw(), examples.to_fields(first, example.value))
        decoder = codec.Decoder(record)
        decoder.learn(7, first.text)
        added = fields_of(newest).keys() - fields_of(first).keys()
        read = decoder.decode(buffer.getvalue())
        assert {name: read[name] for name in added} == {name: fields_of(newest)[name]["default"] for name in added}
