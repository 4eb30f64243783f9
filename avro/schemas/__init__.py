"""The published schemas: one file a version, `<Record>.v<N>.avsc`, never edited once released (`released.lock`).

A new column: `make column`, which docs/howto/column.md explains; columns are declared in `avro/columns.py`.
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import fastavro

#: How the file of a version is called.
FILE = re.compile(r"(?P<record>\w+)\.v(?P<version>\d+)\.avsc")


@dataclass(frozen=True, slots=True)
class Schema:
    """One version of a record's schema. `text` is what is registered, byte for byte."""

    record: str
    version: int
    text: str

    def parsed(self) -> Any:
        """Return the schema as fastavro uses it, logical types included."""
        return fastavro.parse_schema(json.loads(self.text))

    def parsed_raw(self) -> Any:
        """Return the schema without logical types: instants are read as microseconds, much faster than datetimes."""
        return fastavro.parse_schema(without(json.loads(self.text), "logicalType"))


def without(schema: Any, attribute: str) -> Any:
    """Return the schema without an attribute, wherever it stands.

    Without `logicalType`, each logical type is the primitive that carries it.
    """
    if isinstance(schema, dict):
        return {name: without(value, attribute) for name, value in schema.items() if name != attribute}
    if isinstance(schema, list):
        return [without(part, attribute) for part in schema]
    return schema


@cache
def records() -> list[str]:
    """Return the names of all records that have a schema, sorted."""
    matches = (FILE.fullmatch(resource.name) for resource in files("avro.schemas").iterdir())
    return sorted({match["record"] for match in matches if match})


@cache
def versions(record: str) -> tuple[Schema, ...]:
    """Return all versions of a record's schema, oldest first. Raises KeyError for an unknown record."""
    found = []
    for resource in files("avro.schemas").iterdir():
        match = FILE.fullmatch(resource.name)
        if match and match["record"] == record:
            text = json.dumps(json.loads(resource.read_text("utf-8")), separators=(",", ":"))
            found.append(Schema(record, int(match["version"]), text))
    if not found:
        raise KeyError(record)
    return tuple(sorted(found, key=lambda schema: schema.version))


def latest(record: str) -> Schema:
    """Return the newest version, the one that is written."""
    return versions(record)[-1]
