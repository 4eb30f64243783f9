"""Values in Confluent's wire format, decoded as any Avro library decodes them.

With the standard library alone: your Avro library, and its version, do not matter.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from io import BytesIO
from typing import Any

from openbsp_testkit import web

_Read = Callable[[BytesIO], Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MAGIC = 0
_PREFIX = 5  # the magic byte and the id of the schema


class DecodeError(ValueError):
    """Bytes that are not a value of their schema."""


class Decoder:
    """Decodes the values of one registry's schemas, each of which is fetched once."""

    def __init__(self, schema_registry: str) -> None:
        """Decode with the registry at this base URL."""
        self._registry = schema_registry.rstrip("/")
        self._readers: dict[int, _Read] = {}

    def decode(self, value: bytes) -> Any:
        """Return the value; instants are datetimes, as far as those reach, else microseconds. DecodeError."""
        if len(value) < _PREFIX or value[0] != _MAGIC:
            raise DecodeError("not in Confluent's wire format")
        (schema_id,) = struct.unpack(">I", value[1:_PREFIX])
        if schema_id not in self._readers:
            self._readers[schema_id] = self._fetch(schema_id)
        return read_value(self._readers[schema_id], value[_PREFIX:])

    def _fetch(self, schema_id: int) -> _Read:
        answer = web.get(f"{self._registry}/schemas/ids/{schema_id}")
        if not answer.is_success:
            raise DecodeError(f"the schema registry does not have schema {schema_id}: {answer.text}")
        return reader_of(json.loads(answer.json()["schema"]))


def reader_of(schema: Any) -> _Read:
    """Return a function that reads values of a schema, which is given as parsed JSON."""
    return _Compiler().compile(schema, "")


def read_value(read: _Read, content: bytes) -> Any:
    """Read one value, which must be all of the bytes. DecodeError."""
    stream = BytesIO(content)
    try:
        value = read(stream)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise DecodeError(f"not a value of its schema: {error}") from error
    if rest := stream.read():
        raise DecodeError(f"{len(rest)} bytes follow the value")
    return value


class _Compiler:
    """Makes a reader of a schema; named types can be used again by their name."""

    def __init__(self) -> None:
        self._named: dict[str, _Read] = {}

    def compile(self, schema: Any, namespace: str) -> _Read:
        if isinstance(schema, list):
            return _union([self.compile(branch, namespace) for branch in schema])
        if isinstance(schema, str):
            return _PRIMITIVES.get(schema) or self._use(schema, namespace)
        kind = schema["type"]
        if kind == "array":
            return _array(self.compile(schema["items"], namespace))
        if kind == "map":
            return _map(self.compile(schema["values"], namespace))
        if kind in {"record", "error", "enum", "fixed"}:
            return self._define(kind, schema, namespace)
        read = self.compile(kind, namespace)
        unit = _INSTANTS.get(schema.get("logicalType", "")) if kind == "long" else None
        return read if unit is None else _instant(read, unit)

    def _use(self, name: str, namespace: str) -> _Read:
        full = _full_name(name, namespace)
        # Looked up when it is used: a record may contain itself.
        return lambda stream: self._named[full](stream)  # noqa: PLW0108 not before, that is

    def _define(self, kind: str, schema: Mapping[str, Any], namespace: str) -> _Read:
        full = _full_name(schema["name"], schema.get("namespace", namespace))
        if kind == "enum":
            read = _enum(schema["symbols"])
        elif kind == "fixed":
            read = _fixed(schema["size"])
        else:
            inside = full.rpartition(".")[0]
            read = _record([(field["name"], self.compile(field["type"], inside)) for field in schema["fields"]])
        self._named[full] = read
        return read


def _full_name(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _exactly(stream: BytesIO, size: int) -> bytes:
    content = stream.read(size)
    if size < 0 or len(content) != size:
        raise DecodeError("the value ends too early")
    return content


def _long(stream: BytesIO) -> int:
    result = shift = 0
    while True:
        byte = stream.read(1)[0]
        result |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004
            return (result >> 1) ^ -(result & 1)
        shift += 7


def _bytes(stream: BytesIO) -> bytes:
    return _exactly(stream, _long(stream))


def _fixed(size: int) -> _Read:
    return lambda stream: _exactly(stream, size)


def _enum(symbols: list[str]) -> _Read:
    return lambda stream: symbols[_long(stream)]


def _union(branches: list[_Read]) -> _Read:
    return lambda stream: branches[_long(stream)](stream)


def _record(fields: list[tuple[str, _Read]]) -> _Read:
    return lambda stream: {name: read(stream) for name, read in fields}


def _instant(read: _Read, unit: int) -> _Read:
    def instant(stream: BytesIO) -> datetime | int:
        number: int = read(stream)
        try:
            return _EPOCH + timedelta(microseconds=number * unit)
        except OverflowError:
            return number * unit

    return instant


def _blocks(stream: BytesIO) -> int:
    """Return the number of items in the next block of an array or a map; 0 at the end."""
    count = _long(stream)
    if count < 0:
        _long(stream)  # the size of the block in bytes
    return abs(count)


def _array(item: _Read) -> _Read:
    def array(stream: BytesIO) -> list[Any]:
        items: list[Any] = []
        while count := _blocks(stream):
            items += [item(stream) for _ in range(count)]
        return items

    return array


def _map(value: _Read) -> _Read:
    def mapping(stream: BytesIO) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while count := _blocks(stream):
            for _ in range(count):
                name = _bytes(stream).decode()
                items[name] = value(stream)
        return items

    return mapping


_INSTANTS = {"timestamp-micros": 1, "timestamp-millis": 1000}
_PRIMITIVES: dict[str, _Read] = {
    "null": lambda _: None,
    "boolean": lambda stream: stream.read(1)[0] == 1,
    "int": _long,
    "long": _long,
    "float": lambda stream: struct.unpack("<f", stream.read(4))[0],
    "double": lambda stream: struct.unpack("<d", stream.read(8))[0],
    "bytes": _bytes,
    "string": lambda stream: _bytes(stream).decode(),
}
