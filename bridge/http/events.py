"""From body to event, or to the reason for refusing it. Pure: no clock, no input or output."""

import zlib
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from avro import cloudevents, identity, jsontext
from avro.catalogue import ACTIONS, DELETE, MAX_MEMBERS
from avro.columns import ENTITIES, Entity
from avro.rows import id_of, ids_of
from bridge.delivery.items import Event, Row
from bridge.http import refusals
from bridge.suppressions.hashes import SUPPRESSED_DETAIL, Suppressed, row_of
from openbsp.http.problems import Reason

_UPDATE = "update"

#: Longest entity or action that a refused envelope may name; longer ones are cut: names are metadata, texts are not.
_NAME_LIMIT = 100

#: The byte order mark that some systems write before UTF-8.
_BOM = b"\xef\xbb\xbf"
#: For zlib: gzip only, with any window.
_GZIP_FORMAT = 31
_GZIP_PIECE_BYTES = 4096


class RefusedError(Exception):
    """An authentic body that is not a valid event. `keep`: whether its bytes may be kept, or only the metadata here."""

    def __init__(
        self,
        reason: Reason,
        detail: str,
        *,
        event_id: str | None = None,
        entity: str | None = None,
        action: str | None = None,
        key: str | None = None,
        organization_id: str | None = None,
        keep: bool = False,
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        # A random id where nothing of the body may be kept: an id derived from it would be a fingerprint of the
        # content.
        self.event_id = event_id or str(uuid4())
        self.entity = entity
        self.action = action
        self.key = key
        self.organization_id = organization_id
        self.keep = keep


def decompressed(body: bytes, most: int) -> bytes:
    """Decompress a gzip body, or only its beginning if it exceeds `most` bytes. Raises RefusedError."""
    parts = []
    size = 0
    at = 0
    try:
        while at < len(body) and size <= most:
            # A file may consist of several members.
            member = zlib.decompressobj(_GZIP_FORMAT)
            while at < len(body) and size <= most and not member.eof:
                # Trap: the bytes after a member are copied, and there may be a member in every 20 bytes.
                piece = body[at : at + _GZIP_PIECE_BYTES]
                at += len(piece)
                parts.append(member.decompress(piece, most + 1 - size))
                size += len(parts[-1])
            if not member.eof and size <= most:
                raise RefusedError(refusals.MALFORMED_JSON, "the gzip data ends too early")
            at -= len(member.unused_data)
    except zlib.error:
        raise RefusedError(refusals.MALFORMED_JSON, "not valid gzip data") from None
    return b"".join(parts)


def may_keep(
    entity: Entity, envelope: dict[str, Any], organizations: frozenset[str] | None, suppressed: Suppressed
) -> bool:
    """Return whether the content of a body that is no event of its entity may be kept.

    Not if its sender, which is bound to `organizations` (None: to none), may not write the row, or if its contact is
    suppressed; nor if that cannot be told.
    """
    row = row_of(envelope)
    if organizations is not None:
        if type(row) is not dict:
            return False
        named = row.get("organization_id")
        # As `check_organization` has it.
        partial = named is None and row.get("conversation_id") is None and _spelled(envelope.get("action")) == _UPDATE
        if not (partial and organizations) and not (type(named) is str and named in organizations):
            return False
    return not suppressed.may_have(entity.name, row)


def read_event(
    body: bytes,
    received_at: int,
    traceparent: bytes | None,
    max_depth: int,
    keepable: Callable[[Entity, dict[str, Any]], bool] = lambda _, __: True,
) -> Event:
    """Return the event in `body`. Raises RefusedError.

    `received_at` is in microseconds since the epoch; `traceparent` is dropped unless it is valid. `keepable` is asked
    about a body that is refused as no event of its entity.
    """
    envelope = _decode(body, max_depth)
    if type(envelope) is not dict:
        # It names no entity of the catalogue, so nothing of it may be kept.
        raise RefusedError(refusals.INVALID_EVENT, "the body is not a JSON object; each event is a request of its own")
    name: Any = envelope.get("entity")
    action: Any = envelope.get("action")
    entity = ENTITIES.get(name) if type(name) is str else None
    if entity is None:
        detail = "the entity is not in the catalogue" if type(name) is str else "`entity` is not a text"
        raise RefusedError(refusals.UNSUPPORTED_ENTITY, detail, entity=name_of(name), action=_known_action(action))
    row: Any = envelope.get("data")
    fault = _fault(entity, action, row)
    if fault is not None:
        columns = row if type(row) is dict else {}
        # A deleted row's content must not be kept anywhere, however the deletion is spelled.
        keep = _spelled(action) != DELETE and keepable(entity, envelope)
        raise RefusedError(
            refusals.INVALID_EVENT,
            fault,
            event_id=identity.name_id(b"dead-letter\n" + body) if keep else None,
            entity=entity.name,
            action=name_of(action),
            key=id_of(entity, columns) if entity.identity else _text(columns.get("id")),
            organization_id=_text(columns.get("organization_id")),
            keep=keep,
        )
    if action == DELETE:
        row = ids_of(entity, row)
    data = jsontext.encode(row)
    event_id = identity.event_id(entity.name, action, data)
    return Event(entity, action, row, data, event_id, received_at, cloudevents.traceparent(traceparent))


def check_organization(event: Event, organizations: frozenset[str]) -> None:
    """Raise RefusedError if the row is not known to be of one of `organizations`.

    One that names no organization passes only as the documented partial update, which names neither that nor a
    conversation, and would be lost otherwise. OpenBSP names the organization of every other row; without it a token of
    one organization could write into another's conversation.
    """
    unknown = event.organization_id is None
    partial = event.action == _UPDATE and event.row.get("conversation_id") is None
    if event.organization_id not in organizations and not (unknown and partial and organizations):
        raise RefusedError(
            refusals.WRONG_ORGANIZATION,
            "the token is bound to organizations, and the row names none"
            if unknown
            else "the token is bound to other organizations than the row's",
            entity=event.entity.name,
            action=event.action,
            key=event.id,
            organization_id=event.organization_id,
        )


def check_suppressed(event: Event, suppressed: Suppressed) -> None:
    """Raise RefusedError for an event whose contact was erased and is suppressed."""
    if event.action != DELETE and suppressed.has(event.entity.name, event.row):
        raise RefusedError(
            refusals.SUPPRESSED,
            SUPPRESSED_DETAIL,
            entity=event.entity.name,
            action=event.action,
            key=event.id,
            organization_id=event.organization_id,
        )


def _decode(body: bytes, max_depth: int) -> Any:
    body = body.removeprefix(_BOM)
    try:
        value = jsontext.decode(body)
        # Counting brackets is cheap and settles almost every case; those in strings only make it pessimistic.
        if body.count(b"{") + body.count(b"[") <= max_depth or jsontext.depth(body, max_depth) <= max_depth:
            return value
    except jsontext.MalformedJsonError as error:
        raise RefusedError(refusals.MALFORMED_JSON, str(error)) from None
    except RecursionError:
        pass
    raise RefusedError(refusals.MALFORMED_JSON, f"nested deeper than {max_depth} levels")


def _fault(entity: Entity, action: object, row: object) -> str | None:
    if type(action) is not str or action not in ACTIONS:
        return "`action` is neither insert, update nor delete"
    if type(row) is not dict:
        return "`data` is not an object"
    if id_of(entity, row) is None:
        names = entity.identity or ("id",)
        return " or ".join(f"`data.{name}`" for name in names) + " is not a text, or empty"
    for column in ("organization_id", "conversation_id"):
        if type(row.get(column)) not in _TEXT_OR_ABSENT:
            return f"`data.{column}` is not a text"
    return "`data.conversation_id` is empty" if row.get("conversation_id") == "" else _too_many(action, row)


def _too_many(action: str, row: Row) -> str | None:
    # Of a deleted row only ids are read.
    if action != DELETE and _members(row) > MAX_MEMBERS:
        return f"`data` has more than {MAX_MEMBERS:,} columns, status keys and errors"
    return None


def _members(row: Row) -> int:
    status: Any = row.get("status")
    if type(status) is not dict:
        return len(row)
    errors: Any = status.get("errors")
    return len(row) + len(status) + (len(errors) if type(errors) is list else 0)


_TEXT_OR_ABSENT = (str, type(None))


def _known_action(value: object) -> str | None:
    return value if type(value) is str and value in ACTIONS else None


def _spelled(action: object) -> str | None:
    """Return what an action that is spelled in another way may mean."""
    return action.strip().lower() if type(action) is str else None


def name_of(value: object) -> str | None:
    """Return the name that a refused envelope gives, cut to the longest name; None if it is not text."""
    return value[:_NAME_LIMIT] if type(value) is str else None


def _text(value: object) -> str | None:
    return value if type(value) is str else None
