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


def as_read(written: Any, own: Any, told: Any) -> Any:
    """Return what a reader with the type `own` is to see of a value of the type `written`, inner records included.

    Of each field that is what was written, else the writer's default, else the reader's own.
    """
    written, own = (next((t for t in of if t != "null"), of) if isinstance(of, list) else of for of in (written, own))
    if isinstance(told, list) and isinstance(own, dict) and own["type"] == "array":
        return [as_read(written["items"], own["items"], item) for item in told]
    if isinstance(told, dict) and isinstance(own, dict) and own["type"] == "map":
        return {key: as_read(written["values"], own["values"], item) for key, item in told.items()}
    if not isinstance(told, dict) or not isinstance(own, dict) or own["type"] != "record":
        return told
    sent = {field["name"]: field for field in written["fields"]}
    return {
        name: as_read(sent[name]["type"], field["type"], told.get(name, sent[name].get("default")))
        if name in sent
        else field["default"]
        for name, field in ((field["name"], field) for field in own["fields"])
    }


@pytest.mark.parametrize(("writer", "reader", "example"), PAIRS)
def test_a_consumer_that_was_compiled_against_another_version_reads_the_values(
    writer: Schema, reader: Schema, example: examples.Example
) -> None:
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, writer.parsed_raw(), examples.to_fields(writer, example.value))
    buffer.seek(0)
    read: Any = fastavro.schemaless_reader(buffer, writer.parsed_raw(), reader.parsed_raw())
    told = examples.to_fields(writer, example.value)
    assert read == as_read(json.loads(writer.text), json.loads(reader.text), told)


def test_each_inner_record_of_several_versions_is_in_an_example() -> None:
    """Else the comparison above would say nothing of it."""
    for record in records():
        for writer in versions(record) if len(versions(record)) > 1 else []:
            inner = {name for name, field in fields_of(writer).items() if "record" in json.dumps(field["type"])}
            told = [examples.to_fields(writer, example.value) for example in examples.load(writer).accepted]
            assert {name for name in inner if any(fields.get(name) for fields in told)} == inner, writer


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
