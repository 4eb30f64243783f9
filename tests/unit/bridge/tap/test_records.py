"""Records as `bridge tap` shows and filters them."""

import io
import json
from datetime import UTC, datetime

import pytest
from rich.console import Console

from bridge.tap.records import Condition, ConditionError, Tapped
from bridge.tap.tap import UnknownTopicError, full_name, readable

VALUE = {
    "id": "m1",
    "at": datetime(2026, 5, 6, 3, 39, 23, 104211, UTC),
    "known": True,
    "count": 3,
    "name": None,
    "conversation": {"status": "open=1"},
    "extra": {},
    "text": "red \x1b[31m\u202e",
}
RECORD = Tapped(2, 17, datetime(2026, 5, 6, tzinfo=UTC), "m1", {"ce_type": "openbsp.status-change"}, VALUE)


@pytest.mark.parametrize(
    "text",
    [
        "id=m1",
        "conversation.status=open=1",
        "known=true",
        "count=3",
        "name=null",
        "key=m1",
        "partition=2",
        "headers.ce_type=openbsp.status-change",
        "at=2026-05-06T03:39:23.104211Z",
        "at=2026-05-06T03:39:23.104211+00:00",
    ],
)
def test_a_condition_holds(text):
    assert Condition.parse(text).holds(RECORD)


@pytest.mark.parametrize("text", ["id=m2", "known=True", "absent=null", "conversation.none=1", "id.x=1", "name="])
def test_a_condition_does_not_hold(text):
    assert not Condition.parse(text).holds(RECORD)


def test_of_a_tombstone_only_its_own_fields_can_be_asked_for():
    tombstone = Tapped(2, 17, None, "m1", {}, None)
    assert Condition.parse("key=m1").holds(tombstone)
    assert not Condition.parse("id=m1").holds(tombstone)


@pytest.mark.parametrize("text", ["", "id", "=m1"])
def test_what_is_no_condition_is_refused(text):
    with pytest.raises(ConditionError, match="give field=value"):
        Condition.parse(text)


@pytest.mark.parametrize("text", ["key=m1", "headers.x=1", "organization_id=1", "conversation.status=open"])
def test_a_field_that_records_have_is_no_fault(text):
    assert Condition.parse(text).fault("StatusChange") is None


def test_a_mistyped_field_is_said_with_those_that_there_are():
    said = Condition.parse("organisation_id=1").fault("StatusChange")
    assert said.startswith("StatusChange has no field 'organisation_id': there are key, partition, headers, ")
    assert "organization_id" in said
    assert Condition.parse("organisation_id=1").fault(None) is None, "the schema is nobody's"


def test_a_line_of_json_has_all_of_it():
    assert json.loads(RECORD.as_json()) == {
        "partition": 2,
        "offset": 17,
        "time": "2026-05-06T00:00:00+00:00",
        "key": "m1",
        "headers": {"ce_type": "openbsp.status-change"},
        "value": {**VALUE, "at": "2026-05-06T03:39:23.104211+00:00"},
    }


def shown(record: Tapped) -> str:
    console = Console(file=io.StringIO(), highlight=False, markup=False, width=80)
    readable(console)(record)
    return console.file.getvalue()


def test_people_see_the_fields_that_say_something_and_no_control_characters():
    text = shown(RECORD)
    assert "2:17  2026-05-06T00:00:00.000Z  m1  openbsp.status-change\n" in text
    assert "  count  3\n" in text
    assert "name" not in text
    assert "extra" not in text
    assert "  text  red \\u001b[31m\\u202e\n" in text


def test_tombstones_and_what_cannot_be_read_are_said():
    assert "tombstone" in shown(Tapped(0, 1, None, None, {}, None))
    assert "5 bytes that cannot be read: x" in shown(
        Tapped(0, 1, None, "k", {}, None, "5 bytes that cannot be read: x")
    )


def test_a_topic_is_named_with_its_prefix_or_without():
    assert full_name("messages", "p.") == full_name("p.messages", "p.") == "p.messages"
    with pytest.raises(UnknownTopicError, match=r"the topics are messages, conversations,.*dead-letters$"):
        full_name("message", "p.")
