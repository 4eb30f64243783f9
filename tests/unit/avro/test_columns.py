"""The tables whose rows may pass, and their columns: a row of any other is kept nowhere."""

import pytest

from avro.catalogue import TOPICS
from avro.columns import ENTITIES, Kind


def test_each_entity_has_an_id_and_a_public_topic() -> None:
    for name, entity in ENTITIES.items():
        assert entity.name == name
        assert {entity.columns[column] for column in entity.identity or ("id",)} == {Kind.TEXT}
        assert not TOPICS[entity.topic].internal


def test_rows_that_hold_access_tokens_are_no_entity() -> None:
    assert set(ENTITIES) == {"messages", "conversations", "contacts", "contacts_addresses"}


def test_the_tables_cannot_be_changed_at_run_time() -> None:
    for mapping in (ENTITIES, ENTITIES["messages"].columns):
        with pytest.raises(TypeError):
            mapping["x"] = None  # type: ignore[index]
