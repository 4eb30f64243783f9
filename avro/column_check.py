"""Where a column with a field of its own has to be. One that is missing in a schema would be lost there, silently.

Columns that `avro/columns.py` lists are no longer in `extra`: a schema without the field would leave the column out,
since writers ignore fields that their schema does not have. A new column: docs/howto/column.md.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from avro.catalogue import TOPICS
from avro.columns import ENTITIES, Entity, Kind
from avro.schemas import Schema, latest

_INSTANT = {"type": "long", "logicalType": "timestamp-micros"}
_TYPES: Mapping[Kind, Any] = {
    Kind.TEXT: "string",
    Kind.INSTANT: _INSTANT,
    Kind.JSON: "string",
    Kind.STATUS: {"type": "map", "values": _INSTANT},
}
#: Fields of events that are not columns.
_OF_EVENTS = {"event_id", "action", "received_at", "reconciled", "extra", "nulls", "errors", "status_extra"}


def faults(entities: Mapping[str, Entity] = ENTITIES, schema_of: Callable[[str], Schema] = latest) -> list[str]:
    """Return a line for each place in which a column is missing or has another type."""
    found = []
    for entity in entities.values():
        topics = [entity.topic, *([entity.state] if entity.state else [])]
        schemas = [schema_of(str(TOPICS[topic].schema)) for topic in topics]
        for schema in schemas:
            fields = {field["name"]: field for field in json.loads(schema.text)["fields"]}
            for column, kind in entity.columns.items():
                fault = _fault(fields.get(column), column, kind)
                if fault is not None:
                    found.append(f"{entity.name}.{column}: {schema.record}.v{schema.version} {fault}")
            if schema is schemas[0]:
                made = {"id"} if entity.identity else set()
                found += [
                    f"{entity.name}.{column}: {schema.record}.v{schema.version} has a field for it, avro.columns no"
                    " column: it stays in extra, and the field is always null"
                    for column in sorted(fields.keys() - entity.columns.keys() - _OF_EVENTS - made)
                ]
    return found


def _fault(field: Any, column: str, kind: Kind) -> str | None:
    if field is None:
        return "has no field for it, so that it is lost there: add the next version"
    wanted = _TYPES[kind] if column == "id" else ["null", _TYPES[kind]]
    if field["type"] != wanted:
        return f"has {json.dumps(field['type'])} for it, not {json.dumps(wanted)} as a column of kind {kind.name} needs"
    return None
