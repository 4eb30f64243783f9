"""The schema files are found, ordered and registered as one compact text."""

import json

import pytest

from avro import schemas
from avro.catalogue import TOPICS, subject, topic_name

RECORDS = sorted(topic.schema for topic in TOPICS.values() if topic.schema)


@pytest.mark.parametrize("record", RECORDS)
def test_each_record_of_the_catalogue_has_its_versions_without_gaps(record: str) -> None:
    found = schemas.versions(record)
    assert [schema.version for schema in found] == list(range(1, len(found) + 1))
    assert schemas.latest(record) is found[-1]


@pytest.mark.parametrize("record", RECORDS)
def test_each_schema_is_a_documented_record_of_that_name(record: str) -> None:
    for schema in schemas.versions(record):
        read = json.loads(schema.text)
        assert (read["type"], read["namespace"], read["name"]) == ("record", "openbsp", record)
        assert read["doc"]
        assert all(field["doc"] for field in read["fields"])
        assert "\n" not in schema.text


def test_an_unknown_record_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        schemas.versions("Nothing")


def test_every_schema_file_belongs_to_a_topic() -> None:
    """A file that no topic names would be published by nobody and frozen for nothing."""
    assert schemas.records() == RECORDS


def test_logical_types_can_be_left_out_without_changing_the_rest() -> None:
    instant = {"type": "long", "logicalType": "timestamp-micros"}
    assert schemas.without({"a": [instant, {"b": instant}]}, "logicalType") == {
        "a": [{"type": "long"}, {"b": {"type": "long"}}]
    }


def test_names_of_topics_and_subjects_carry_the_prefix() -> None:
    assert topic_name("x.", "messages") == "x.messages"
    assert subject("x.", "messages") == "x.messages-value"
    with pytest.raises(KeyError):
        topic_name("x.", "organizations_addresses")
