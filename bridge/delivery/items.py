"""What is delivered: events and dead letters, and their bytes in the spool.

Those survive restarts, new schema versions and unknown schema ids.
"""

from typing import Any

import msgspec

from avro import jsontext
from avro.columns import ENTITIES, Entity
from avro.rows import id_of

Row = dict[str, Any]


class Event(msgspec.Struct, gc=False):
    """A row of a catalogue entity as received, of a deleted one the ids only. `data` is the canonical JSON of `row`.

    `received_at` is in microseconds since the epoch. `organizations` are those that the event may change: the row's, or
    all that its sender's token is bound to if the row names none; None if the token is bound to none.
    """

    entity: Entity
    action: str
    row: Row
    data: bytes
    event_id: str
    received_at: int
    traceparent: bytes | None = None
    #: How often dead letters of this event have been redriven; see `bridge dead-letters redrive`.
    redriven: int = 0
    #: Whether a repair read the row from the sender's database, instead of a webhook.
    reconciled: bool = False
    organizations: frozenset[str] | None = None

    @property
    def id(self) -> str:
        """The id of the row, the key of its record."""
        # Trap: `cast` is a call, here for each event.
        return id_of(self.entity, self.row) if self.entity.identity else self.row["id"]  # type: ignore[return-value]

    @property
    def organization_id(self) -> str | None:
        """The organization of the row, if it names one."""
        return self.row.get("organization_id")


class DeadLetter:
    """The fields of a dead letter, as its schema has them."""

    __slots__ = ("event_id", "fields", "organizations", "received_at", "redriven", "traceparent")

    def __init__(
        self,
        event_id: str,
        reason: str,
        detail: str,
        received_at: int,
        *,
        origin: str = "webhook",
        entity: str | None = None,
        action: str | None = None,
        key: str | None = None,
        organization_id: str | None = None,
        topic: str | None = None,
        payload: bytes | None = None,
        payload_size: int | None = None,
        redriven: int = 0,
        organizations: frozenset[str] | None = None,
        traceparent: bytes | None = None,
    ) -> None:
        self.event_id = event_id
        self.traceparent = traceparent
        #: How often the event had been redriven when this dead letter was made.
        self.redriven = redriven
        #: The organizations that its sender may write for, None for all: a redrive must keep that limit.
        self.organizations = organizations
        self.received_at = received_at
        self.fields: dict[str, Any] = {
            "event_id": event_id,
            "reason": reason,
            "detail": detail,
            "origin": origin,
            "received_at": received_at,
            "entity": entity,
            "action": action,
            "key": key,
            "organization_id": organization_id,
            "topic": topic,
            "payload": payload,
            "payload_size": payload_size,
        }


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
    traceparent: bytes | None = None


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
    return _encode(_DeadLetter(item.fields, item.redriven, _listed(item.organizations), item.traceparent))


def unpack(body: bytes) -> Item:
    """Return the packed item. Raises UnreadableError."""
    try:
        packed = _decode(body)
        if isinstance(packed, _DeadLetter):
            return DeadLetter(
                **packed.fields,
                redriven=packed.redriven,
                organizations=_unlisted(packed.organizations),
                traceparent=packed.traceparent,
            )
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
