"""A column from a release of OpenBSP to the views: each place in which it has to stand is missed if it is forgotten."""

import json
from dataclasses import replace
from io import BytesIO
from typing import Any

import fastavro
import msgspec
import pytest

from avro import codec, column_check, compiled
from avro.columns import ENTITIES, Entity, Kind
from avro.rows import to_fields, to_row
from avro.schemas import Schema, latest
from streams.views.read import render
from support.received import INSTANTS, JSONS, TEXTS

MESSAGES = ENTITIES["messages"]
FIELD = {"name": "quoted_id", "type": ["null", "string"], "doc": "Id of the message that it answers.", "default": None}


def with_column(kind: Kind = Kind.TEXT) -> dict[str, Entity]:
    """Return the catalogue with a further column of messages."""
    return {**ENTITIES, "messages": replace(MESSAGES, columns={**MESSAGES.columns, "quoted_id": kind})}


def with_field(record: str, **changes: Any) -> Schema:
    """Return the next version of a schema, which has a field for it."""
    schema = json.loads(latest(record).text)
    schema["fields"].append({**FIELD, **changes})
    return Schema(record, latest(record).version + 1, json.dumps(schema))


def schemas_of(*schemas: Schema) -> Any:
    return lambda record: next((schema for schema in schemas if schema.record == record), latest(record))


def test_each_column_of_the_catalogue_has_its_field_in_event_and_state() -> None:
    assert column_check.faults() == []


@pytest.mark.parametrize(("entity", "view"), [("messages", render.Message), ("conversations", render.Conversation)])
def test_each_column_is_in_the_views(entity: str, view: type[msgspec.Struct]) -> None:
    assert ENTITIES[entity].columns.keys() <= set(view.__struct_encode_fields__)


@pytest.mark.parametrize("entity", ENTITIES)
def test_each_column_is_known_to_the_judge(entity: str) -> None:
    known = {
        *(() if ENTITIES[entity].identity else ("id",)),
        *TEXTS[entity],
        *INSTANTS[entity],
        *JSONS[entity],
        *(["status"] if entity == "messages" else []),
    }
    assert ENTITIES[entity].columns.keys() == known


def test_a_column_that_stands_everywhere_has_no_faults_and_passes_through_event_and_state() -> None:
    entities = with_column()
    event, state = with_field("MessageEvent"), with_field("MessageState")
    assert column_check.faults(entities, schemas_of(event, state)) == []
    row = {"id": "m", "quoted_id": "m0"}
    fields = to_fields(entities["messages"], row)
    assert (fields["quoted_id"], fields["extra"]) == ("m0", {})
    write = compiled.writer(event.parsed_raw())
    told, _ = compiled.reader(event.parsed_raw())(
        write({**fields, "event_id": "e", "action": "insert", "received_at": 0}), 0
    )
    assert to_row(entities["messages"], told) == row
    kept, _ = compiled.reader(state.parsed_raw())(
        compiled.writer(state.parsed_raw())({"id": "m", "quoted_id": "m0"}), 0
    )
    assert kept["quoted_id"] == "m0"
    # Who knows the former version only finds it nowhere: that is why readers look in both for a time.
    buffer = BytesIO(write({**fields, "event_id": "e", "action": "insert", "received_at": 0}))
    former: Any = fastavro.schemaless_reader(buffer, event.parsed_raw(), latest("MessageEvent").parsed_raw())
    assert "quoted_id" not in former["extra"]


@pytest.mark.parametrize(
    ("entities", "schemas", "missing"),
    [
        (with_column(), [with_field("MessageEvent")], "MessageState.v{state} has no field for it"),
        (with_column(), [with_field("MessageState")], "MessageEvent.v{event} has no field for it"),
        (ENTITIES, [with_field("MessageEvent")], "MessageEvent.v{next} has a field for it, avro.columns no column"),
        (
            with_column(Kind.INSTANT),
            [with_field("MessageEvent"), with_field("MessageState", type=["null", column_check._INSTANT])],
            'MessageEvent.v{next} has ["null", "string"] for it',
        ),
    ],
    ids=["no state", "no event", "no column", "another type"],
)
def test_a_place_that_is_forgotten_is_named(entities: dict[str, Entity], schemas: list[Schema], missing: str) -> None:
    event, state = latest("MessageEvent").version, latest("MessageState").version
    (fault,) = column_check.faults(entities, schemas_of(*schemas))
    assert fault.startswith("messages.quoted_id: " + missing.format(event=event, state=state, next=event + 1))


def test_without_its_field_a_column_would_be_lost_silently() -> None:
    """Why there is a check: the writer ignores what its schema does not know."""
    event = {
        "event_id": "e",
        "action": "insert",
        "received_at": 0,
        **to_fields(with_column()["messages"], {"id": "m", "quoted_id": "m0"}),
    }
    decoder = codec.Decoder("MessageEvent")
    decoder.learn(1, latest("MessageEvent").text)
    told = decoder.decode(codec.encoder("MessageEvent", 1)(event))
    assert "m0" not in json.dumps(told)
