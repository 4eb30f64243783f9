"""The static check against fastavro's resolution: what passes reads in both directions, whatever was written."""

import copy
import json
from io import BytesIO
from typing import Any

import fastavro
from fastavro.read import SchemaResolutionError
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from avro.compatibility import differences
from avro.schemas import Schema, latest, records

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "bytes": st.binary(max_size=5),
    "string": TEXT,
}


def values(schema: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for the values of a schema without recursion."""
    if isinstance(schema, list):
        return st.one_of([values(branch) for branch in schema])
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "record":
        return st.fixed_dictionaries({field["name"]: values(field["type"]) for field in schema["fields"]})
    if kind == "array":
        return st.lists(values(schema["items"]), max_size=2)
    if kind == "map":
        return st.dictionaries(TEXT, values(schema["values"]), max_size=2)
    return PRIMITIVES[kind]


INSTANT = {"type": "long", "logicalType": "timestamp-micros"}
TYPES = st.sampled_from(
    [
        *PRIMITIVES,
        INSTANT,
        ["null", "string"],
        ["null", "long"],
        ["string", "null"],
        ["null", INSTANT],
        {"type": "array", "items": "string"},
        {"type": "map", "values": "string"},
        {"type": "map", "values": INSTANT},
        ["null", {"type": "map", "values": "string"}],
    ]
)


def fields_of(schema: Any) -> list[list[dict[str, Any]]]:
    """Return the field lists of a record and of the records in it."""
    found = [schema["fields"]]
    for field in schema["fields"]:
        branches = field["type"] if isinstance(field["type"], list) else [field["type"]]
        for branch in branches:
            if isinstance(branch, dict) and branch["type"] == "record":
                found += fields_of(branch)
    return found


@st.composite
def edited(draw: st.DrawFn, record: str) -> Schema:
    """Draw a next version: anything that a hurried developer could do to the last one."""
    schema = copy.deepcopy(json.loads(latest(record).text))
    for _ in range(draw(st.integers(1, 3))):
        fields = draw(st.sampled_from(fields_of(schema)))
        edit = draw(st.sampled_from(["add", "remove", "retype", "rename", "move", "no default"]))
        if edit == "add":
            kind = draw(TYPES)
            field: dict[str, Any] = {"name": f"added_{len(fields)}", "type": kind}
            if isinstance(kind, list) and draw(st.booleans()):
                field["default"] = None if kind[0] == "null" else ""
            fields.append(field)
        elif fields:
            field = draw(st.sampled_from(fields))
            if edit == "remove":
                fields.remove(field)
            elif edit == "retype":
                field["type"] = draw(TYPES)
                field.pop("default", None)
            elif edit == "rename":
                field["name"] = f"{field['name']}_2"
            elif edit == "move":
                fields.reverse()
            else:
                field.pop("default", None)
    return Schema(record, latest(record).version + 1, json.dumps(schema))


def reads(writer: Schema, reader: Schema, value: Any) -> bool:
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, writer.parsed_raw(), value)
    buffer.seek(0)
    try:
        fastavro.schemaless_reader(buffer, writer.parsed_raw(), reader.parsed_raw())
    except (SchemaResolutionError, UnicodeDecodeError):  # the second: bytes that are read as a string
        return False
    return True


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.sampled_from(records()), st.data())
def test_versions_without_differences_read_each_other(record: str, data: st.DataObject) -> None:
    older, newer = latest(record), data.draw(edited(record))
    assume(not differences(older, newer))
    for writer, reader in ((older, newer), (newer, older)):
        assert reads(writer, reader, data.draw(values(writer.parsed_raw())))


@given(st.sampled_from(records()), st.data())
def test_versions_that_cannot_read_each_other_have_differences(record: str, data: st.DataObject) -> None:
    older, newer = latest(record), data.draw(edited(record))
    for writer, reader in ((older, newer), (newer, older)):
        if not reads(writer, reader, data.draw(values(writer.parsed_raw()))):
            assert differences(older, newer)
