"""Where a column with a field of its own has to stand. One that is missing somewhere would be lost there, silently.

What the catalogue types is no longer in `extra`: a schema without the field would leave the column out, since writers
ignore what their schema does not know.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from avro.catalogue import ENTITIES, TOPICS, Entity, Kind
from avro.schemas import Schema, latest

_INSTANT = {"type": "long", "logicalType": "timestamp-micros"}
_TYPES: Mapping[Kind, Any] = {
    Kind.TEXT: "string",
    Kind.INSTANT: _INSTANT,
    Kind.JSON: "string",
    Kind.STATUS: {"type": "map", "values": _INSTANT},
}
#: The state topic of each entity.
_STATES = {"messages": "message-state", "conversations": "conversation-state"}
#: Fields of events that are no columns.
_OF_EVENTS = {"event_id", "action", "received_at", "reconciled", "extra", "nulls", "errors", "status_extra"}


def faults(entities: Mapping[str, Entity] = ENTITIES, schema_of: Callable[[str], Schema] = latest) -> list[str]:
    """Return a line for each place in which a column is missing or has another type."""
    found = []
    for entity in entities.values():
        event, state = (schema_of(str(TOPICS[topic].schema)) for topic in (entity.topic, _STATES[entity.name]))
        for schema in (event, state):
            fields = {field["name"]: field for field in json.loads(schema.text)["fields"]}
            for column, kind in entity.columns.items():
                fault = _fault(fields.get(column), column, kind)
                if fault is not None:
                    found.append(f"{entity.name}.{column}: {schema.record}.v{schema.version} {fault}")
            if schema is event:
                found += [
                    f"{entity.name}.{column}: {schema.record}.v{schema.version} has a field for it, avro.catalogue no"
                    " column: it stays in extra, and the field is always null"
                    for column in sorted(fields.keys() - entity.columns.keys() - _OF_EVENTS)
                ]
    return found


def _fault(field: Any, column: str, kind: Kind) -> str | None:
    if field is None:
        return "has no field for it, so that it is lost there: add the next version"
    wanted = _TYPES[kind] if column == "id" else ["null", _TYPES[kind]]
    if field["type"] != wanted:
        return f"has {json.dumps(field['type'])} for it, not {json.dumps(wanted)} as a column of kind {kind.name} needs"
    return None
