"""The headers of what the worker writes depend on the value alone: writing it again gives the same record."""

from typing import Any

import pytest

from avro import instants
from avro.identity import status_change_event_id
from avro.schemas import records
from streams.contract import Contract, Refused
from streams.engine.source import Record
from support.join import IDS
from support.join_cases import conversation, message
from support.wire import event_bytes

CONTRACT = Contract("x.", {record: number for number, record in enumerate(records(), 1)})
MINUTE = 60_000_000
COUNTS: dict[str, Any] = {
    "id": "c",
    "known": False,
    "message_count": 0,
    "incoming_count": 0,
    "outgoing_count": 0,
    "internal_count": 0,
    "status_counts": {},
    "unread_count": 0,
    "awaiting_reply": False,
}


def time_of(encoded: tuple[bytes, list[tuple[str, bytes]]]) -> int | None:
    return instants.parse(dict(encoded[1])["ce_time"].decode())


@pytest.mark.parametrize(
    ("fields", "minutes"),
    [
        ({"updated_at": 3 * MINUTE, "created_at": MINUTE, "timestamp": 9 * MINUTE, "status": {"read": 8 * MINUTE}}, 3),
        ({"created_at": MINUTE, "timestamp": 9 * MINUTE}, 1),
        ({"timestamp": 9 * MINUTE, "status": {"read": 8 * MINUTE}}, 9),
        ({"status": {"read": 8 * MINUTE, "sent": 7 * MINUTE}}, 8),
        ({"status": {}}, 0),
        ({}, 0),
    ],
)
def test_the_time_of_a_message_state(fields: dict[str, Any], minutes: int) -> None:
    assert time_of(CONTRACT.message_state({"id": "m", **fields})) == minutes * MINUTE


@pytest.mark.parametrize(
    ("fields", "minutes"),
    [
        ({"updated_at": 3 * MINUTE, "last_message": {"message_id": "m", "timestamp": 9 * MINUTE}}, 3),
        ({"created_at": MINUTE, "status": "open"}, 1),
        ({"last_message": {"message_id": "m", "timestamp": 9 * MINUTE}}, 9),
        ({"last_message": {"message_id": "m", "timestamp": None}, "status": "open"}, 0),
        ({}, 0),
    ],
)
def test_the_time_of_a_conversation_state(fields: dict[str, Any], minutes: int) -> None:
    assert time_of(CONTRACT.conversation_state({**COUNTS, **fields})) == minutes * MINUTE


def test_the_records_of_a_state_are_equal_whenever_they_are_written() -> None:
    for write, fields in ((CONTRACT.message_state, {"id": "m"}), (CONTRACT.conversation_state, COUNTS)):
        assert write(dict(fields)) == write(dict(fields))


@pytest.mark.parametrize("conversation", [None, {"status": "open"}])
def test_the_ce_id_of_a_status_change_says_whether_its_conversation_was_known(conversation: Any) -> None:
    fields = {"id": "fact", "message_id": "m", "conversation_id": "c", "status": "read", "at": 5}
    _, headers = CONTRACT.status_change({**fields, "conversation": conversation})
    known = conversation is not None
    assert dict(headers)["ce_id"].decode() == status_change_event_id("m", "read", conversation_known=known)
    assert time_of((b"", headers)) == 5


@pytest.mark.parametrize("told", [conversation("c", "insert"), message("m")])
@pytest.mark.parametrize("received_at", [instants.FIRST - 1, instants.LAST + 1, -(2**62)])
def test_an_event_that_was_received_outside_the_years_1_to_9999_is_refused(
    told: dict[str, Any], received_at: int
) -> None:
    """The bridge writes none; of a conversation nobody could read when it was active."""
    contract = Contract("", IDS)
    with pytest.raises(Refused, match="out_of_range"):
        contract.event(told["entity"], event_bytes(told | {"received_at": received_at}))
    for last in (instants.FIRST, instants.LAST):
        assert contract.event(told["entity"], event_bytes(told | {"received_at": last}))["received_at"] == last


TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(("told", "kept"), [(TRACE, TRACE), (b"00-1-2-03", None), (TRACE.decode(), None), (None, None)])
def test_a_dead_letter_goes_on_with_the_trace_of_the_record(told: bytes | str | None, kept: bytes | None):
    headers = None if told is None else [("other", b"x"), ("traceparent", told)]
    record = Record("openbsp.messages", 0, 1, b"key", b"", headers)
    written = dict(CONTRACT.dead_letter(record, Refused("undecodable", "empty"))[1])
    assert written.get("traceparent") == kept
