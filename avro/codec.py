"""Avro in Confluent wire format: a zero byte, the schema id in four bytes big-endian, the Avro binary."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from io import BytesIO
from struct import Struct
from typing import Any, cast

import fastavro

from avro import compiled
from avro.schemas import Schema, latest

_PREFIX = Struct(">bI")
PREFIX_BYTES = _PREFIX.size


class CodecError(ValueError):
    """Bytes that are not a value of the expected topic. `reason` is a stable code."""

    def __init__(self, reason: str, detail: str) -> None:
        """Store the code separately from the text for people."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class UnknownSchemaIdError(LookupError):
    """A well-formed value whose schema id is not loaded yet; ask the registry, then retry."""

    def __init__(self, schema_id: int) -> None:
        """Store the id to ask for."""
        super().__init__(f"schema id {schema_id} is not loaded")
        self.schema_id = schema_id


def encoder(record: str, schema_id: int) -> Callable[[Mapping[str, Any]], bytes]:
    """Return a function that writes records of the newest schema version under the registry's id for it."""
    return compiled.writer(latest(record).parsed_raw(), _PREFIX.pack(0, schema_id))


def schema_id_of(value: bytes) -> int:
    """Return the schema id of a value. Raises CodecError if it is not in wire format."""
    if len(value) < PREFIX_BYTES or value[0] != 0:
        raise CodecError("not_wire_format", f"{len(value)} bytes without a Confluent prefix")
    return int(_PREFIX.unpack_from(value)[1])


class Decoder:
    """Reads values of one record type, whichever of its versions wrote them. Instants come as microseconds."""

    def __init__(self, record: str) -> None:
        """Start with no known writer schema; `learn` adds them."""
        self._record = record
        self._schema = latest(record).parsed_raw()
        self._readers: dict[int, compiled.Reader | None] = {}

    def learn(self, schema_id: int, text: str) -> None:
        """Load the writer schema of an id. Anything but a version of the record makes values under it a CodecError."""
        try:
            schema = Schema(self._record, 0, text).parsed_raw()
        except Exception:  # noqa: BLE001 the registry also holds JSON Schema, Protobuf and Avro with references
            schema = None
        full_name = self._schema["name"]
        same = isinstance(schema, dict) and schema.get("type") == "record" and schema.get("name") == full_name
        if not same:
            self._readers[schema_id] = None
        elif schema == self._schema:
            self._readers[schema_id] = compiled.reader(schema)
        else:
            self._readers[schema_id] = _resolving_reader(schema, self._schema)

    def decode(self, value: bytes) -> dict[str, Any]:
        """Return the fields, with defaults for those that the writer did not have.

        Raises CodecError for unreadable values, UnknownSchemaIdError for those that may be readable after `learn`.
        """
        schema_id = schema_id_of(value)
        try:
            read = self._readers[schema_id]
        except KeyError:
            raise UnknownSchemaIdError(schema_id) from None
        if read is None:
            raise CodecError("wrong_subject", f"schema id {schema_id} is not a {self._record}")
        try:
            fields, end = read(value, PREFIX_BYTES)
        except Exception as error:  # errors of fastavro's parsing: EOFError, IndexError, ValueError, ...
            raise CodecError("undecodable", f"not Avro of schema id {schema_id}: {type(error).__name__}") from error
        if end != len(value):
            raise CodecError("undecodable", f"bytes left over after schema id {schema_id}")
        return fields


def _resolving_reader(writer_schema: Any, reader_schema: Any) -> compiled.Reader:
    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        buffer = BytesIO(data)
        buffer.seek(at)
        fields = fastavro.schemaless_reader(buffer, writer_schema, reader_schema)
        # Trap: a default of the schema, such as {}, is one object for all values that take it.
        return cast("dict[str, Any]", deepcopy(fields)), buffer.tell()

    return read
