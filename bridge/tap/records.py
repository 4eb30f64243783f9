"""Records, decoded as any consumer would: with the schema that each was written with."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import fastavro
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from avro.codec import PREFIX_BYTES, CodecError, schema_id_of
from avro.schemas import Schema, latest
from openbsp.kafka.reading import schema_text
from openbsp.kafka.registry import Registry


@dataclass(frozen=True, slots=True)
class Tapped:
    """A record. `value` is None for a tombstone, and if undecodable; then `fault` says why."""

    partition: int
    offset: int
    time: datetime | None
    key: str | None
    headers: Mapping[str, str]
    value: Mapping[str, Any] | None
    fault: str | None = None

    def as_json(self) -> str:
        """Return it as a line of JSON; instants as ISO text, bytes as text where they are UTF-8."""
        line = {
            "partition": self.partition,
            "offset": self.offset,
            "time": self.time,
            "key": self.key,
            "headers": self.headers,
            "value": self.value,
        }
        if self.fault is not None:
            line["fault"] = self.fault
        return json.dumps(line, default=text_of, ensure_ascii=False)


class Decoding:
    """Decodes records of any of the topics. Raises RegistryError when the registry is unavailable."""

    def __init__(self, registry: Registry) -> None:
        """Start without schemas: each is fetched once."""
        self._registry = registry
        self._schemas: dict[int, Any] = {}

    def tapped(self, message: Message) -> Tapped:
        """Return a record of Kafka, decoded."""
        value, fault = message.value(), None
        decoded: Mapping[str, Any] | None = None
        if value is not None:
            try:
                decoded = self._decoded(value)
            except CodecError as error:
                fault = f"{len(value)} bytes that cannot be read: {error}"
        kind, millis = message.timestamp()
        key = message.key()
        return Tapped(
            cast("int", message.partition()),
            cast("int", message.offset()),
            None if kind == TIMESTAMP_NOT_AVAILABLE else datetime.fromtimestamp(millis / 1000, UTC),
            None if key is None else text_of(key),
            {header[0]: "" if header[1] is None else text_of(header[1]) for header in message.headers() or []},
            decoded,
            fault,
        )

    def _decoded(self, value: bytes) -> Mapping[str, Any]:
        schema_id = schema_id_of(value)
        try:
            if schema_id not in self._schemas:
                self._schemas[schema_id] = Schema("of the registry", 0, schema_text(self._registry, schema_id)).parsed()
            read = fastavro.schemaless_reader(io.BytesIO(value[PREFIX_BYTES:]), self._schemas[schema_id], None)
        except CodecError:
            raise
        except Exception as error:  # errors of the parsing: EOFError, IndexError, OverflowError, ...
            raise CodecError("undecodable", f"not Avro of schema id {schema_id}: {type(error).__name__}") from error
        return read if isinstance(read, dict) else {"": read}


def text_of(value: object) -> str:
    """Return the text of a value without a JSON form: an instant, bytes."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)


#: What a record has besides the fields of its value.
_OWN = ("key", "partition", "headers")


class ConditionError(ValueError):
    """An invalid condition."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A field, and the text that it must have."""

    path: tuple[str, ...]
    wanted: str

    @staticmethod
    def parse(text: str) -> "Condition":
        """Read `field=value`; `conversation.status=open` asks within a record or a map. Raises ConditionError."""
        name, equals, wanted = text.partition("=")
        if not equals or not name:
            raise ConditionError(f"{text!r} is not a condition: give field=value, such as organization_id=ID")
        return Condition(tuple(name.split(".")), wanted)

    def fault(self, record: str | None) -> str | None:
        """Return why no record fits, as far as this version knows the topic's schema (None: it has none)."""
        if record is None or self.path[0] in _OWN:
            return None
        names = [field["name"] for field in json.loads(latest(record).text)["fields"]]
        if self.path[0] in names:
            return None
        return f"{record} has no field {self.path[0]!r}: there are {', '.join((*_OWN, *names))}"

    def holds(self, tapped: Tapped) -> bool:
        """Return whether a record matches: `key` and `partition` are its own, `headers.NAME` a header, others fields.

        A field that is null matches `null`, and an absent one matches nothing.
        """
        own: Mapping[str, Any] = dict(zip(_OWN, (tapped.key, tapped.partition, tapped.headers), strict=True))
        found: Any = {**own, **(tapped.value or {})}
        for name in self.path:
            if not isinstance(found, Mapping) or name not in found:
                return False
            found = found[name]
        return self.wanted in spellings(found)


def spellings(value: object) -> Sequence[str]:
    """Return the texts by which a condition can name a value: as JSON, and a text without its quotes."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, datetime):
        return (value.isoformat(), value.isoformat().replace("+00:00", "Z"))
    if isinstance(value, bytes):
        return (text_of(value),)
    return (json.dumps(value, default=text_of, ensure_ascii=False),)
