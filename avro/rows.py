"""Rows to event fields and back, without loss (G3 in docs/design.md).

A column of the expected type becomes a typed field; every other one, and every text that is not an instant, is JSON
text in `extra`; explicit nulls are listed in `nulls`, so that they differ from absent columns. An instant whose text
has more than microseconds has both: the field, and its text in `extra`. The members of a status do the same with
`status` and `status_extra`. A row without an id gets one in its fields (`id_of`), which is not a column of it.
Nothing here names a column: `avro/columns.py` lists them.
"""

from hashlib import sha256
from typing import Any

from avro import instants
from avro.columns import IDS, Entity, Kind
from avro.jsontext import decode, encode, encode_text

# Trap: reading a member of an Enum class costs more than a function call, and there are some for each column.
_TEXT, _INSTANT, _JSON, _STATUS = Kind.TEXT, Kind.INSTANT, Kind.JSON, Kind.STATUS

#: Of SHA-256, in hexadecimal digits.
_DIGEST_CHARACTERS = 64

Row = dict[str, Any]
Fields = dict[str, Any]


def to_fields(entity: Entity, row: Row) -> Fields:
    """Return the Avro fields of `row`: only those that it has, `extra` and `nulls` always."""
    fields: Fields = {}
    extra: dict[str, str] = {}
    nulls: list[str] = []
    columns = entity.columns
    for column, value in row.items():
        kind = columns.get(column)
        if value is None:
            nulls.append(column)
        elif kind is _TEXT and type(value) is str:
            fields[column] = value
        elif kind is _INSTANT and type(value) is str:
            micros, exact = instants.read(value)
            if micros is not None:
                fields[column] = micros
            if not exact:
                extra[column] = encode_text(value)
        elif kind is _JSON:
            fields[column] = encode_text(value)
        elif kind is _STATUS and type(value) is dict:
            _status_to_fields(value, fields)
        else:
            extra[column] = encode_text(value)
    fields["extra"] = extra
    fields["nulls"] = nulls
    return _with_id(entity, row, fields) if entity.identity else fields


def _with_id(entity: Entity, row: Row, fields: Fields) -> Fields:
    if _is_of_deleted(entity, row):
        fields["extra"].pop("id", None)
    return fields | {"id": id_of(entity, row)}


def ids_of(entity: Entity, row: Row) -> Row:
    """Return what is published of a deleted row: ids that are texts; the derived one instead of its columns."""
    if entity.identity:
        return {"id": id_of(entity, row), "organization_id": row["organization_id"]}
    return {name: row[name] for name in entity.columns if name in IDS and type(row.get(name)) is str}


def id_of(entity: Entity, row: Row) -> str | None:
    """Return the id of a row, the key of its records; None if what identifies it is missing, empty or no text."""
    if not entity.identity:
        told = row.get("id")
        return told if type(told) is str and told else None
    if _is_of_deleted(entity, row):
        told, organization = row.get("id"), row.get("organization_id")
        return told if type(told) is str and organization and organization_in(told) == organization else None
    texts: list[Any] = [row.get(name) for name in entity.identity]
    return made_id(*texts) if all(type(text) is str and text for text in texts) else None


def _is_of_deleted(entity: Entity, row: Row) -> bool:
    """Return whether a row is the published form of a deleted one without an id of its own."""
    return not any(name in row for name in entity.identity[1:])


def made_id(organization: str, *texts: str) -> str:
    """Return the id of an organization's row that several texts identify; other texts never give the same.

    The id outlives the row, so the texts, which may be a person's address, cannot be read from it.
    """
    return f"{organization}:{sha256(encode([organization, *texts])).hexdigest()}"


def organization_in(made: str) -> str | None:
    """Return the organization in an id of `made_id`, None if it is no such id."""
    organization, _, digest = made.rpartition(":")
    return organization if len(digest) == _DIGEST_CHARACTERS else None


def _status_to_fields(status: Row, fields: Fields) -> None:
    moments: dict[str, int] = {}
    other: dict[str, str] = {}
    for key, value in status.items():
        if key == "errors":
            if type(value) is list:
                fields["errors"] = [encode_text(error) for error in value]
            else:
                other[key] = encode_text(value)
        elif type(value) is str:
            micros, exact = instants.read(value)
            if micros is not None:
                moments[key] = micros
            if not exact:
                other[key] = encode_text(value)
        else:
            other[key] = encode_text(value)
    fields["status"] = moments
    fields["status_extra"] = other


def to_row(entity: Entity, fields: Fields) -> Row:
    """Rebuild the row from an event's fields; instants are returned in UTC, everything else as it was.

    Also one with more than microseconds: its text replaces its field.
    """
    row: Row = {}
    for column, kind in entity.columns.items():
        value = fields.get(column)
        if value is None:
            continue
        if kind is _INSTANT:
            row[column] = instants.render(value)
        elif kind is _JSON:
            row[column] = decode(value.encode())
        elif kind is _STATUS:
            row[column] = _status_from_fields(fields)
        else:
            row[column] = value
    if entity.identity and _is_of_deleted(entity, row):
        row["id"] = fields["id"]
    row.update((column, decode(text.encode())) for column, text in fields["extra"].items())
    row.update(dict.fromkeys(fields["nulls"]))
    return row


def _status_from_fields(fields: Fields) -> Row:
    status: Row = {key: instants.render(micros) for key, micros in fields["status"].items()}
    status.update((key, decode(text.encode())) for key, text in (fields.get("status_extra") or {}).items())
    if fields.get("errors") is not None:
        status["errors"] = [decode(text.encode()) for text in fields["errors"]]
    return status
