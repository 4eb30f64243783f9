"""What version 1 stored is read as what it means now. The bytes were written by version 1."""

from streams.state import contribution as contributions
from streams.state import conversation, message
from streams.state.conversation import Tally
from streams.tables.contributions import ContributionRecord, decode_record
from support.wire import conversation_state, event_of, message_state

SECOND = 1_000_000
T0 = 1_778_038_763 * SECOND  # 2026-05-06T03:39:23Z

#: An insert (pending, `content.text` is Hi), then the update {"external_id", "status": {sent, odd, errors}}.
MESSAGE = bytes.fromhex(
    "9588af6f7267616e697a6174696f6e5f696492cf0006511de8dd90c0a16faf636f6e766572736174696f6e5f696492cf0006511de8dd90c0a1"
    "63a9646972656374696f6e92cf0006511de8dd90c0a86f7574676f696e67a974696d657374616d7092cf0006511de8dd90c0cf0006511de8dd"
    "90c0aa637265617465645f617492cf0006511de8dd90c0cf0006511de8dd90c0aa757064617465645f617492cf0006511de8ecd300cf000651"
    "1de8ecd300a7636f6e74656e7492cf0006511de8dd90c0d9297b226b696e64223a2274657874222c2274657874223a224869222c2274797065"
    "223a2274657874227dab65787465726e616c5f696492cf0006511de8ecd300a17782a770656e64696e67cf0006511de8dd90c0a473656e74cf"
    "0006511de8ecd30092cf0006511de8ecd30091aa7b22636f6465223a317d81a36f646492cf0006511de8ecd300a13591a163"
)
#: What that message added to conversation c.
PART = bytes.fromhex(
    "9792cf0006511de8dd90c0a16392cf0006511de8dd90c0a16f92cf0006511de8dd90c0a86f7574676f696e6792cf0006511de8dd90c0cf0006"
    "511de8dd90c092cf0006511de8dd90c0cf0006511de8dd90c092cf0006511de8dd90c093a474657874a474657874a2486982a770656e64696e"
    "67cf0006511de8dd90c0a473656e74cf0006511de8ecd300"
)
#: Conversation c: archived seven seconds after the message.
ROW = bytes.fromhex(
    "9187af6f7267616e697a6174696f6e5f696492cf0006511de9486080a16fa77365727669636592cf0006511de9486080a87768617473617070"
    "a673746174757392cf0006511de9486080a46f70656eaa637265617465645f617492cf0006511de9486080cf0006511de8afca00aa75706461"
    "7465645f617492cf0006511de9486080cf0006511de9486080a5657874726192cf0006511de9486080c4237b226172636869766564223a2232"
    "3032362d30352d30365430333a33393a33305a227da46e616d6592cf0006511de9486080c0"
)


def test_a_message_has_the_state_that_its_events_have_now() -> None:
    facts = message.decode(MESSAGE)
    assert message.decode(message.encode(facts)) == facts
    assert message.exists(facts)
    assert message.conversation_of(facts) == "c"
    assert list(message.holdings(facts)) == [("o", "w")]
    state = message_state(message.state("m", facts))
    assert state["status"] == {"pending": T0, "sent": T0 + SECOND, "odd": T0 + SECOND}
    assert (state["status_extra"], state["errors"]) == ({"odd": "5"}, ['{"code":1}'])
    assert (state["delivery_status"], state["external_id"], state["updated_at"]) == ("sent", "w", T0 + SECOND)


def test_a_row_that_is_posted_again_mends_what_was_wrong() -> None:
    """Version 1 had kept the text of the row with the later instant, although another one was committed later."""
    row = {"id": "m", "conversation_id": "c", "content": {"text": "right"}, "updated_at": "2026-05-06T03:39:22Z"}
    status = {"pending": "2026-05-06T03:39:23Z", "sent": "2026-05-06T03:39:24Z", "odd": 5, "errors": [{"code": 1}]}
    again = event_of({"entity": "messages", "action": "update", "data": row | {"status": status}})
    facts = message.join(message.decode(MESSAGE), message.facts_of(again))
    assert message.state("m", facts)["content"] == '{"text":"right"}'
    fewer = event_of(
        {"entity": "messages", "action": "update", "data": row | {"status": {"pending": status["pending"]}}}
    )
    facts = message.join(message.decode(MESSAGE), message.facts_of(fewer))
    assert message.state("m", facts)["content"] == '{"kind":"text","text":"Hi","type":"text"}'


def test_a_conversation_has_the_state_that_its_events_have_now() -> None:
    row, part = conversation.decode(ROW), contributions.decode(PART)
    assert conversation.decode(conversation.encode(row)) == row
    assert contributions.decode(contributions.encode(part)) == part
    tally = Tally.of("c", [("m", part)], row)
    state = conversation_state(conversation.state("c", row, tally, part))
    assert state["last_message"]["preview"] == "Hi"
    assert (state["status_counts"], state["archived"], state["known"]) == ({"sent": 1}, True, True)
    assert (state["last_outgoing_at"], state["active_at"]) == (T0, T0)
    assert (state["extra"], state["nulls"]) == ({"extra": '{"archived":"2026-05-06T03:39:30Z"}'}, ["name"])


def test_what_a_message_adds_now_joins_what_it_added_then() -> None:
    joined = contributions.join(contributions.decode(PART), message.contribution(message.decode(MESSAGE)))
    assert contributions.belongs_to(joined, "c")
    assert contributions.delivery_status_of(joined) == "sent"
    assert contributions.role_of("m", joined) == contributions.role_of(
        "m", message.contribution(message.decode(MESSAGE))
    )


def test_a_record_between_the_tables_is_read_as_well() -> None:
    """Those that wait in the topic when the workers of the new version start."""
    record = decode_record(b"\x94\xa1m" + PART + b"\x92\xa7pending\xa4sent\xc0")
    assert record == ContributionRecord("m", contributions.decode(PART), ["pending", "sent"], None)
    assert decode_record(b"\x94\xa1m\xc0\x90\xc0") == ContributionRecord("m", None, [], None)
