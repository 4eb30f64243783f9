"""Which versions of a schema are compatible: each must read what each other one wrote.

This is the registry's FULL_TRANSITIVE, checked without a registry, and stricter where Avro is blind: a logical type
that changes, a default that changes, and string against bytes all resolve in Avro and all mislead readers.
"""

import json
from collections.abc import Iterator
from io import BytesIO
from itertools import combinations
from typing import Any

import fastavro

from avro import column_check, examples, readable, released
from avro.errors import SchemasError
from avro.schemas import Schema, records, versions

#: The level of every subject, as the registry names it.
COMPATIBILITY = "FULL_TRANSITIVE"

_PROMOTIONS = {"long": {"int"}, "float": {"int", "long"}, "double": {"int", "long", "float"}}
#: The meaning of an annotated type for a reader, beside its bytes.
_MEANING = ("logicalType", "precision", "scale")


def check() -> None:
    """Check all schemas of this installation. Raises SchemasError with a line for each fault.

    Faults are: a file that cannot be read (then nothing else is checked), a released file that changed or is gone, a
    file that is not in the list of released ones, two incompatible versions, an example that another version cannot
    read, and a column that has no field somewhere.
    """
    unreadable = readable.faults()
    if unreadable:
        raise SchemasError(unreadable)
    faults = [*released.faults(), *column_check.faults()]
    for record in records():
        for older, newer in combinations(versions(record), 2):
            faults += differences(older, newer)
            faults += unreadable_examples(older, newer)
    if faults:
        raise SchemasError(faults)


def differences(older: Schema, newer: Schema) -> list[str]:
    """Return why two versions are incompatible, a line for each reason; none if each reads what the other wrote."""
    return [
        f"{_name(reader)} cannot read {_name(writer)}: {fault}"
        for reader, writer in ((newer, older), (older, newer))
        for fault in _Resolution(reader.parsed(), writer.parsed()).faults()
    ]


def unreadable_examples(older: Schema, newer: Schema) -> list[str]:
    """Return a line for each accepted example of one version that the other version cannot read."""
    faults = []
    for reader, writer in ((newer, older), (older, newer)):
        for example in examples.load(writer).accepted:
            buffer = BytesIO()
            fastavro.schemaless_writer(buffer, writer.parsed_raw(), examples.to_fields(writer, example.value))
            buffer.seek(0)
            try:
                fastavro.schemaless_reader(buffer, writer.parsed_raw(), reader.parsed_raw())
            except Exception as error:  # noqa: BLE001 fastavro raises what its resolution ran into
                faults.append(f"{_name(reader)} cannot read the example {example.title!r} of {_name(writer)}: {error}")
    return faults


def _name(schema: Schema) -> str:
    return f"{schema.record}.v{schema.version}"


class _Resolution:
    """Avro's rules of schema resolution, applied to the schemas alone. Aliases do not count: writers ignore them."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self._reader, self._reader_names = reader, _named(reader)
        self._writer, self._writer_names = writer, _named(writer)
        self._open: set[tuple[str, str]] = set()

    def faults(self) -> list[str]:
        return list(self._resolve(self._reader, self._writer, ""))

    def _resolve(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        reader, writer = self._reader_names.get(_key(reader), reader), self._writer_names.get(_key(writer), writer)
        if isinstance(writer, list):
            for branch in writer:
                yield from self._resolve(reader, branch, path)
        elif isinstance(reader, list):
            branch = self._branch(reader, writer)
            if branch is None:
                yield f"{_at(path)}no branch for {_type(writer)}"
            else:
                yield from self._resolve(branch, writer, path)
        elif _type(reader) != _type(writer):
            if not _promotes(reader, writer):
                yield f"{_at(path)}{_type(writer)} is not {_type(reader)}"
        elif _meaning(reader) != _meaning(writer):
            yield f"{_at(path)}{_meaning(writer)} is not {_meaning(reader)}"
        elif isinstance(reader, dict):
            yield from self._resolve_complex(reader, writer, path)

    def _branch(self, union: list[Any], writer: Any) -> Any:
        branches = [self._reader_names.get(_key(branch), branch) for branch in union]
        same = [branch for branch in branches if _type(branch) == _type(writer)]
        named = [branch for branch in same if _full_name(branch) == _full_name(writer)]
        return next(iter([*named, *same, *(branch for branch in branches if _promotes(branch, writer))]), None)

    def _resolve_complex(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        kind = reader["type"]
        if kind in {"record", "error", "enum", "fixed"}:
            if reader["name"] != writer["name"]:
                yield f"{_at(path)}{writer['name']} is not {reader['name']}"
                return
            if (reader["name"], writer["name"]) in self._open:
                return
            self._open.add((reader["name"], writer["name"]))
        if kind in {"record", "error"}:
            yield from self._resolve_fields(reader, writer, path)
        elif kind == "enum":
            unknown = sorted(set(writer["symbols"]) - set(reader["symbols"]))
            if unknown and "default" not in reader:
                yield f"{_at(path)}no symbol for {', '.join(unknown)}"
        elif kind == "fixed" and reader["size"] != writer["size"]:
            yield f"{_at(path)}{writer['size']} bytes are not {reader['size']}"
        elif kind == "array":
            yield from self._resolve(reader["items"], writer["items"], f"{path}[]")
        elif kind == "map":
            yield from self._resolve(reader["values"], writer["values"], f"{path}{{}}")

    def _resolve_fields(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            inner = f"{path}.{field['name']}" if path else field["name"]
            if field["name"] not in written:
                if "default" not in field:
                    yield f"{inner}: absent and without a default"
                continue
            other = written[field["name"]]
            yield from self._resolve(field["type"], other["type"], inner)
            if "default" in field and "default" in other and not _equal(field["default"], other["default"]):
                yield f"{inner}: the default {json.dumps(other['default'])} is not {json.dumps(field['default'])}"


def _named(schema: Any) -> dict[str, Any]:
    names = schema.get("__named_schemas", {}) if isinstance(schema, dict) else {}
    return dict(names)


def _key(schema: Any) -> str:
    return schema if isinstance(schema, str) else ""


def _type(schema: Any) -> str:
    return str(schema["type"] if isinstance(schema, dict) else schema)


def _full_name(schema: Any) -> Any:
    return schema.get("name") if isinstance(schema, dict) else None


def _promotes(reader: Any, writer: Any) -> bool:
    return _type(writer) in _PROMOTIONS.get(_type(reader), ())


def _meaning(schema: Any) -> str:
    given = schema if isinstance(schema, dict) else {}
    return " ".join(str(given[name]) for name in _MEANING if name in given) or f"plain {_type(schema)}"


def _equal(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _at(path: str) -> str:
    return f"{path}: " if path else ""
