"""A row that the states have compares equal, whatever is in it; one that is told again does so afterwards."""

from functools import reduce
from itertools import pairwise
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from avro.columns import ENTITIES
from bridge.reconcile import comparison
from bridge.reconcile.comparison import Verdict
from streams.state import conversation, message
from support.events import Envelope, events_of_a_conversation, events_of_a_message, histories
from support.wire import event_of

MESSAGES, CONVERSATIONS = ENTITIES["messages"], ENTITIES["conversations"]


def state_of(*envelopes: Envelope) -> dict[str, Any]:
    """Return the fields of the message state that follows from events."""
    told = reduce(message.join, (message.facts_of(event_of(envelope)) for envelope in envelopes))
    return {"extra": {}, "nulls": [], **message.state(envelopes[0]["data"]["id"], told)}


def compare(envelope: Envelope, state: dict[str, Any]) -> tuple[Verdict, list[str]]:
    return comparison.compare(comparison.of_row(MESSAGES, envelope["data"]), comparison.of_fields(MESSAGES, state))


@given(events_of_a_message)
def test_the_state_of_a_message_that_was_told_once_is_equal(envelope: Envelope) -> None:
    assert compare(envelope, state_of(envelope)) == (Verdict.EQUAL, [])


@given(events_of_a_conversation)
def test_the_state_of_a_conversation_that_was_told_once_is_equal(envelope: Envelope) -> None:
    told = conversation.facts_of(event_of(envelope))
    state = conversation.state("c1", told, conversation.Counting("c1").tally(told), None)
    row = comparison.of_row(CONVERSATIONS, envelope["data"])
    assert comparison.compare(row, comparison.of_fields(CONVERSATIONS, state)) == (Verdict.EQUAL, [])


@given(histories(), st.data())
def test_whole_rows_of_which_some_were_not_told_are_repaired_by_telling_the_last(
    history: list[Envelope], data: st.DataObject
) -> None:
    whole = [envelope for envelope in history if envelope["data"].keys() >= {"conversation_id", "status", "thread_id"}]
    # As OpenBSP has it: `updated_at` never goes back, no status member is dropped, each row names its conversation.
    last = whole[-1]
    assume(all(type(envelope["data"]["conversation_id"]) is str for envelope in whole))
    assume(all(isinstance(envelope["data"]["status"], dict) for envelope in whole))
    assume(all(before["data"]["status"].keys() <= after["data"]["status"].keys() for before, after in pairwise(whole)))
    assume(all(version(envelope) < version(last) for envelope in whole[:-1]))
    heard = [envelope for envelope in whole[:-1] if data.draw(st.booleans())]
    repair = {**last, "action": "update"}
    verdict, _ = compare(repair, state_of(*heard)) if heard else (Verdict.MISSING, [])
    assert verdict in {Verdict.MISSING, Verdict.DIFFERENT, Verdict.EQUAL}
    assert compare(repair, state_of(*heard, repair))[0] is Verdict.EQUAL


def version(envelope: Envelope) -> tuple[int, int]:
    row = comparison.of_row(MESSAGES, envelope["data"])
    return row.named, row.stamp
