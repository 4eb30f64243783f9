"""G2: tables and state topics are a function of the set of events, and it is the function that docs/design.md says."""

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from streams.state import followers
from support import join_cases
from support.events import Envelope, arrivals, claimed_event_sets, event_sets
from support.reference import fold
from support.shipped import Shipped
from support.told import contradictions


def named(events: list[Envelope]) -> list[Envelope]:
    """Give conversations with empty ids another one: an empty key is none, so what they hear is a dead letter."""
    return [
        {**event, "data": {**event["data"], "conversation_id": "unnamed"}}
        if event["data"].get("conversation_id") == ""
        else event
        for event in events
    ]


event_sets = st.one_of(event_sets, claimed_event_sets).map(named)


def agree(shipped: Shipped, events: list[Envelope]) -> None:
    messages, conversations, status_changes = fold(events)
    assert shipped.message_states == messages
    assert shipped.conversation_states == conversations
    assert contradictions(shipped.status_changes.values(), events, messages) == []
    told = {key: (change["message_id"], change["status"]) for key, change in shipped.status_changes.items()}
    assert told.items() >= status_changes.items()
    # Of a message that is no more it may have been told what it was, or not; and so of one of which more is claimed.
    claimed = {event["data"].get("id") for event in events if event.get("organizations") is not None}
    known = messages.keys() - claimed
    assert {key: pair for key, pair in told.items() if pair[0] in known} == {
        key: pair for key, pair in status_changes.items() if pair[0] in known
    }


@given(event_sets)
def test_events_one_by_one_in_the_order_of_their_making_give_what_the_reference_model_says(
    events: list[Envelope],
) -> None:
    shipped = Shipped()
    for event in events:
        shipped.receive([event])
        shipped.relay()
    agree(shipped, events)


@given(st.data(), event_sets)
def test_any_order_any_duplication_and_any_batching_give_what_the_reference_model_says(
    data: st.DataObject, events: list[Envelope]
) -> None:
    """With the second table lagging behind the first by any amount."""
    shipped = Shipped()
    for batch in data.draw(arrivals(events)):
        shipped.receive(batch, replayed=data.draw(st.booleans()))
        shipped.relay(data.draw(st.integers(0, 8)))
    shipped.relay()
    agree(shipped, events)


@given(st.data(), event_sets)
def test_a_crash_at_any_point_changes_nothing(data: st.DataObject, events: list[Envelope]) -> None:
    """The tables survive, outputs after the committed positions are lost, and what follows the positions is read again.

    Such as status changes that were never told, of a message that has moved on in the table.
    """
    shipped = Shipped()
    order = [event for batch in data.draw(arrivals(events)) for event in batch]
    committed, processed = sorted(data.draw(st.tuples(*[st.integers(0, len(order))] * 2)))
    for event in order[:committed]:
        shipped.receive([event])
    acknowledged = len(shipped.between)
    for event in order[committed:processed]:
        shipped.receive([event])
    del shipped.between[data.draw(st.integers(acknowledged, len(shipped.between))) :]
    shipped.relay(data.draw(st.integers(0, 8)))
    shipped.crash(back=data.draw(st.integers(0, 8)))
    shipped.receive(order[committed:processed], replayed=True)
    shipped.receive(order[processed:])
    shipped.relay()
    agree(shipped, events)


_AT = join_cases.at
_PEOPLE = [
    join_cases.address(contact_id="k", extra={"name": "~Ana"}, updated_at=_AT(1)),
    join_cases.contact("k", "insert", organization_id="org", name="Ana", updated_at=_AT(1)),
    join_cases.contact("k", name="Ana Ruiz", updated_at=_AT(2)),
    *(join_cases.opened(f"c{number}", number) for number in range(6)),
]


@given(st.data())
def test_who_shows_the_name_of_a_contact_that_too_many_have_does_not_depend_on_order_or_crashes(
    data: st.DataObject,
) -> None:
    with patch.object(followers, "FOLLOWERS_LIMIT", 2):
        shipped, read, written, kept, since = Shipped(), 0, 0, 0, []
        for batch in data.draw(arrivals(_PEOPLE)):
            shipped.receive(batch, replayed=data.draw(st.booleans()))
            shipped.relay(data.draw(st.integers(0, 8)))
            since.append(batch)
            what = data.draw(st.sampled_from(["go on", "commit", "crash"]))
            if what == "crash":
                # What was written since the last commit may be lost, unless it was read: before a former crash, too.
                kept = max(kept, written, shipped.read)
                del shipped.between[data.draw(st.integers(kept, len(shipped.between))) :]
                shipped.crash(back=shipped.read - read)
                for again in since:
                    shipped.receive(again, replayed=True)
            elif what == "commit":
                read, written, since = shipped.read, len(shipped.between), []
        shipped.relay()
    shown = {key: state["contact"] and state["contact"]["name"] for key, state in shipped.conversation_states.items()}
    assert shown == {f"c{number}": "Ana Ruiz" if number > 3 else None for number in range(6)}
