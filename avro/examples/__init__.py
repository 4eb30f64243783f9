"""Examples of each schema version, accepted and rejected: `<Record>.v<N>.json`, all of them tests.

They are written for people: instants as ISO 8601 texts, bytes as text with a character for each byte (as Avro's JSON
encoding has it). `to_fields` turns them into what the codec writes.
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from io import BytesIO
from typing import Any

import fastavro

from avro import instants
from avro.schemas import Schema


@dataclass(frozen=True, slots=True)
class Example:
    """A value and what it shows; `why` explains what is wrong with a rejected one."""

    title: str
    value: dict[str, Any]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Examples:
    """The examples of one schema version."""

    accepted: tuple[Example, ...]
    rejected: tuple[Example, ...]


def load(schema: Schema, directory: Traversable | None = None) -> Examples:
    """Return the examples of a version. Raises FileNotFoundError if it has none."""
    directory = directory or files("avro.examples")
    read = json.loads((directory / f"{schema.record}.v{schema.version}.json").read_text("utf-8"))
    return Examples(
        accepted=tuple(Example(**example) for example in read["accepted"]),
        rejected=tuple(Example(**example) for example in read["rejected"]),
    )


def to_fields(schema: Schema, value: dict[str, Any]) -> dict[str, Any]:
    """Return an example's value as the codec writes it; values that do not match the schema are left as they are."""
    fields: dict[str, Any] = _convert(schema.parsed(), value)
    return fields


def fits(schema: Schema, value: dict[str, Any]) -> bool:
    """Return whether an example's value matches the schema, with nothing missing and nothing unknown."""
    fields = to_fields(schema, value)
    if not fastavro.validate(fields, schema.parsed_raw(), raise_errors=False):
        return False
    try:
        # Trap: the validator overlooks unknown fields, the writer lets wrong types pass; together they find both.
        fastavro.schemaless_writer(BytesIO(), schema.parsed_raw(), fields, strict_allow_default=True)
    except ValueError:
        return False
    return True


def _convert(schema: Any, value: Any) -> Any:
    if isinstance(schema, list):
        others = [branch for branch in schema if branch != "null"]
        return _convert(others[0], value) if value is not None and len(others) == 1 else value
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(value, str):
        return _convert_text(schema, kind, value)
    if isinstance(value, list) and kind == "array":
        return [_convert(schema["items"], item) for item in value]
    if isinstance(value, dict) and kind == "map":
        return {key: _convert(schema["values"], item) for key, item in value.items()}
    if isinstance(value, dict) and kind == "record":
        types = {field["name"]: field["type"] for field in schema["fields"]}
        return {name: _convert(types[name], item) if name in types else item for name, item in value.items()}
    return value


def _convert_text(schema: Any, kind: str, text: str) -> str | bytes | int:
    if kind == "bytes":
        return text.encode("latin-1")
    if kind == "long" and isinstance(schema, dict) and schema.get("logicalType") == "timestamp-micros":
        micros, exact = instants.read(text)
        return micros if micros is not None and exact else text
    return text
