"""What a conversation knows of a message."""

from decimal import Decimal
from functools import reduce
from typing import Any

import pytest

from avro.jsontext import encode_text
from openbsp.merge import contact
from streams.state import contribution as contributions
from streams.state import conversation, message
from streams.state import status as statuses
from streams.state.contribution import Contribution, summarize
from streams.state.status_change import status_changes
from support.join_cases import address
from support.wire import change, event_of

NOTHING = (None, None, None)


def tell(conversation_id: str, part: Contribution, status: str, known: Any) -> dict[str, Any]:
    """Return the one StatusChange, as a consumer reads it."""
    [told] = status_changes("m", conversation_id, part, [status], known)
    return change(told)


def contribution_of(*rows: dict[str, Any]) -> Contribution:
    events = [{"entity": "messages", "action": "update", "data": {"id": "m", **row}} for row in rows]
    return message.contribution(reduce(message.join, (message.facts_of(event_of(event)) for event in events)))


@pytest.mark.parametrize(
    ("content", "summary"),
    [
        ({"type": "text", "kind": "text", "text": "Hi"}, ("text", "text", "Hi")),
        ({"type": "text", "text": {"body": "Hi"}}, ("text", None, "Hi")),
        ({"type": "file", "kind": "image", "file": {"uri": "x"}, "text": "caption"}, ("file", "image", "caption")),
        ({"type": "data", "kind": "order", "data": {"text": "no"}}, ("data", "order", None)),
        ({"type": "text", "text": {"body": 5}}, ("text", None, None)),
        ({"type": 1, "kind": True, "text": ["a"]}, NOTHING),
        ({"type": "text", "kind": Decimal("7" * 5000), "text": "Hi"}, ("text", None, "Hi")),
        ({"type": "text", "kind": Decimal("1E+400"), "text": "Hi"}, ("text", None, "Hi")),
        ({"type": "text", "n": 2**70, "text": "Hi"}, ("text", None, "Hi")),
        ({}, NOTHING),
        ([], NOTHING),
        ("text", NOTHING),
        (0, NOTHING),
        (False, NOTHING),
    ],
)
def test_a_summary_is_type_kind_and_text_if_they_are_texts(content: Any, summary: tuple[str | None, ...]) -> None:
    assert summarize(encode_text(content)) == summary


def test_a_preview_has_280_characters_whatever_they_are() -> None:
    preview = summarize(encode_text({"text": "\U0001f600" * 281}))[2]
    assert preview == "\U0001f600" * 280


@pytest.mark.parametrize("text", ["", "{", '{"type":"text"', "nonsense", "[" * 100_000])
def test_content_that_is_no_json_says_nothing(text: str) -> None:
    """Producers of other kinds may write it; it must not stop the stream."""
    assert summarize(text) == NOTHING


def test_what_others_write_may_be_nested_deeper_than_anybody_can_read() -> None:
    """The bridge refuses it; whoever writes to the topic must not end a worker."""
    deep = '{"archived":"2026-05-06T03:39:23Z","name":"n","text":"t","deep":' + "[" * 3_000 + "]" * 3_000 + "}"
    assert summarize(deep) == NOTHING
    row = event_of({"entity": "conversations", "action": "insert", "data": {"id": "c"}})
    facts = conversation.facts_of(row | {"extra": {"extra": deep}})
    assert conversation.standing(facts, conversation.Tally(facts)).archived is False
    row = event_of(address(extra={}))
    assert contact.address_facts(row | {"extra": {"extra": deep}}).columns["extra"][2] is None


def test_of_contents_of_one_version_message_and_conversation_choose_the_same() -> None:
    """The message knows the whole contents, and could choose the one that is the larger JSON text."""
    plain, other = {"content": {"text": "b"}}, {"content": {"zz": 1}}
    chosen = contribution_of(plain, other)
    assert contributions.summary_of(chosen) == [None, None, "b"]
    assert contributions.join(contribution_of(plain), contribution_of(other)) == chosen
    assert contributions.join(contribution_of(other), contribution_of(plain)) == chosen


def test_a_message_counts_only_where_its_newest_row_says() -> None:
    moved = contribution_of(
        {"conversation_id": "c1", "updated_at": "2026-05-06T03:39:23Z"},
        {"conversation_id": "c2", "updated_at": "2026-05-06T03:39:24Z"},
    )
    assert contributions.belongs_to(moved, "c2")
    assert not contributions.belongs_to(moved, "c1")
    assert not contributions.belongs_to(contribution_of({}), "c1")


def test_the_time_of_a_message_is_its_timestamp_else_created_at() -> None:
    created, sent = "1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z"
    assert contributions.time_of(contribution_of({"created_at": created, "timestamp": sent})) == 2_000_000
    assert contributions.time_of(contribution_of({"created_at": created, "timestamp": None})) == 1_000_000
    assert contributions.time_of(contribution_of({"created_at": created, "timestamp": "now"})) == 1_000_000
    assert contributions.time_of(contribution_of({"updated_at": created})) is None


def test_messages_without_a_time_come_first_and_ids_decide_between_equal_times() -> None:
    timeless, timed = contribution_of({}), contribution_of({"created_at": "0001-01-01T00:00:00Z"})
    keys = [("z", timeless), ("a", timed), ("b", timed)]
    assert sorted(keys, key=lambda item: contributions.sort_key(*item)) == keys


def test_a_status_change_tells_of_the_message_and_of_what_is_known_of_the_conversation() -> None:
    part = contribution_of(
        {
            "organization_id": "o",
            "conversation_id": "c",
            "direction": "outgoing",
            "timestamp": "1970-01-01T00:00:01Z",
            "status": {"pending": "1970-01-01T00:00:01Z", "read": "1970-01-01T00:00:02.5Z"},
        }
    )
    known = {"status": "open", "service": None, "contact_address": "x", "organization_address": None, "name": None}
    told = tell("c", part, "read", known)
    assert told.pop("id") == tell("other", part, "read", None)["id"]
    assert told == {
        "message_id": "m",
        "conversation_id": "c",
        "organization_id": "o",
        "direction": "outgoing",
        "status": "read",
        "at": 2_500_000,
        "previous": "pending",
        "seconds_since_message": 1.5,
        "conversation": known,
        "errors": None,
    }


@pytest.mark.parametrize(
    ("status", "key", "errors"),
    [
        (
            {"failed": "1970-01-01T00:00:00Z", "errors": [{"code": 1}, "x", None]},
            "failed",
            ['{"code":1}', '"x"', "null"],
        ),
        ({"failed": "1970-01-01T00:00:00Z", "errors": [None]}, "failed", ["null"]),
        ({"failed": True, "errors": {"code": 1}}, "failed", ['{"code":1}']),
        ({"failed": "", "errors": "no"}, "failed", ['"no"']),
        ({"failed": "1970-01-01T00:00:00Z", "errors": None}, "failed", None),
        ({"failed": "1970-01-01T00:00:00Z", "error": "gone"}, "failed", ['"gone"']),
        ({"error": "gone"}, "error", ['"gone"']),
        ({"sent": "1970-01-01T00:00:00Z", "errors": [1]}, "sent", None),
    ],
)
def test_of_a_failure_it_tells_the_errors_in_whatever_shape_they_came(
    status: dict[str, Any], key: str, errors: list[str] | None
) -> None:
    assert tell("c", contribution_of({"conversation_id": "c", "status": status}), key, None)["errors"] == errors


def test_of_a_failure_it_tells_the_errors_however_many_keys_its_message_has() -> None:
    others = {f"key{number}": "1970-01-01T00:00:00Z" for number in range(statuses.ANNOUNCED_PER_ROW + 1)}
    status = others | {"failed": "1970-01-01T00:00:00Z", "errors": [{"code": 1}]}
    told = tell("c", contribution_of({"conversation_id": "c", "status": status}), "failed", None)
    assert told["errors"] == ['{"code":1}']


def test_a_status_without_an_instant_is_told_with_that_of_its_row_else_of_its_message_else_1970() -> None:
    row: dict[str, Any] = {"conversation_id": "c", "status": {"sent": "infinity"}}
    assert tell("c", contribution_of(row), "sent", None)["at"] == 0
    row["timestamp"] = "1970-01-01T00:00:01Z"
    assert tell("c", contribution_of(row), "sent", None)["at"] == 1_000_000
    row["updated_at"] = "1970-01-01T00:00:02Z"
    told = tell("c", contribution_of(row), "sent", None)
    assert (told["at"], told["seconds_since_message"]) == (2_000_000, 1.0)


def test_a_status_change_of_a_message_without_time_or_direction_can_be_told() -> None:
    part = contribution_of({"conversation_id": "c", "direction": 5, "status": {"bounced": "1970-01-01T00:00:00Z"}})
    told = tell("c", part, "bounced", None)
    assert (told["direction"], told["seconds_since_message"], told["conversation"]) == (None, None, None)
