"""An event or dead letter as bytes that survive restarts, new schema versions and unknown schema ids."""

from typing import Any

import msgspec

from avro import jsontext
from avro.catalogue import ENTITIES
from bridge.delivery.records import DeadLetter
from bridge.http.events import Event

Item = Event | DeadLetter


class _Event(msgspec.Struct, tag="event", array_like=True, gc=False):
    entity: str
    action: str
    event_id: str
    received_at: int
    traceparent: bytes | None
    data: bytes
    # Later members come last and have a default: what former versions spooled has none of them.
    redriven: int = 0
    reconciled: bool = False
    organizations: list[str] | None = None


class _DeadLetter(msgspec.Struct, tag="dead letter", array_like=True, gc=False):
    fields: dict[str, Any]
    redriven: int = 0
    organizations: list[str] | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Event | _DeadLetter).decode


class UnreadableError(ValueError):
    """The bytes are not an item."""


def pack(item: Item) -> bytes:
    """Return the bytes of an item: canonical JSON, not Avro. The encoding is chosen when it is published."""
    if isinstance(item, Event):
        return _encode(
            _Event(
                item.entity.name,
                item.action,
                item.event_id,
                item.received_at,
                item.traceparent,
                item.data,
                item.redriven,
                item.reconciled,
                _listed(item.organizations),
            )
        )
    return _encode(_DeadLetter(item.fields, item.redriven, _listed(item.organizations)))


def unpack(body: bytes) -> Item:
    """Return the packed item. Raises UnreadableError."""
    try:
        packed = _decode(body)
        if isinstance(packed, _DeadLetter):
            return DeadLetter(**packed.fields, redriven=packed.redriven, organizations=_unlisted(packed.organizations))
        row = jsontext.decode(packed.data)
        return Event(
            ENTITIES[packed.entity],
            packed.action,
            row,
            packed.data,
            packed.event_id,
            packed.received_at,
            packed.traceparent,
            packed.redriven,
            packed.reconciled,
            _unlisted(packed.organizations),
        )
    except (msgspec.MsgspecError, jsontext.MalformedJsonError, KeyError, TypeError) as error:
        raise UnreadableError(type(error).__name__) from error


def _listed(organizations: frozenset[str] | None) -> list[str] | None:
    return None if organizations is None else sorted(organizations)


def _unlisted(organizations: list[str] | None) -> frozenset[str] | None:
    return None if organizations is None else frozenset(organizations)
