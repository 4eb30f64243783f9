"""The index of messages answers as a scan of all of them would, and forgets what left."""

from hypothesis import given
from hypothesis import strategies as st

from openbsp.merge.registers import NEVER
from streams.state.contribution import Contribution, of, placed
from streams.views.read.message_index import MessageFilter, MessageIndex, order_of, read_key

UUID = "a4a8f56f-4570-47e2-bc2a-2f0d7db288b1"
#: Ids of all kinds: UUIDs, what looks like one, the beginning of another, any text.
IDS = [
    UUID,
    UUID.upper(),
    UUID[:-1] + "2",
    "a" * 36,
    " " * 36,
    "a",
    "ab",
    "a\x00",
    "a\x00\x00b",
    "",
    "\u00e9\U0001f600",
]
ids = st.sampled_from(IDS) | st.text(max_size=40)
times = st.sampled_from([NEVER, -5, 0, 1, 2**62])
organizations = st.sampled_from([None, "o1", "o2"])
#: Organization, time, has failed, is in the conversation.
places = st.tuples(organizations, times, st.booleans(), st.booleans())
steps = st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(["c1", UUID]), st.none() | places), max_size=20)
filters = st.builds(
    MessageFilter,
    st.none() | st.frozensets(st.sampled_from(["o1", "o2", "o3"])),
    st.sampled_from([None, "sent", "failed"]),
    st.none() | times,
)


def part(conversation_id: str, place) -> Contribution:
    organization, time, failed, belongs = place
    values = {"organization_id": organization, "conversation_id": conversation_id if belongs else "elsewhere"}
    if time != NEVER:
        values["timestamp"] = time
    return of(
        placed({name: (1, 1, value) for name, value in values.items()}),
        [],
        {"failed": (1, 1, 1)} if failed else {},
        {},
        newest=(1, 1),
        newest_partial=None,
        announced=[],
        organizations=[],
        received_at=None,
        deletes=[],
        rivals={},
    )


@given(st.tuples(times, ids), ids)
def test_a_key_says_which_message_of_which_conversation(position, conversation_id):
    index = MessageIndex()
    time, message_id = position
    index.changed(conversation_id, message_id, None, part(conversation_id, (None, time, False, True)))
    (key,) = index.descend(MessageFilter())
    assert read_key(key) == (position, conversation_id)
    assert key.startswith(order_of(position))


@given(st.tuples(times, ids), st.tuples(times, ids))
def test_positions_have_an_order_of_their_own(one, other):
    assert (order_of(one) == order_of(other)) == (one == other)
    assert one[0] == other[0] or (order_of(one) < order_of(other)) == (one[0] < other[0])
    assert one == other or not order_of(one).startswith(order_of(other)), "below one is not below another"


@given(steps, filters, st.none() | st.tuples(times, st.sampled_from(IDS)))
def test_it_answers_as_a_scan_of_everything_would(changes, wanted, below):
    index, known = MessageIndex(), {}
    for message_id, conversation_id, place in changes:
        new = None if place is None else part(conversation_id, place)
        index.changed(conversation_id, message_id, known.get((conversation_id, message_id), (None, None))[1], new)
        known[conversation_id, message_id] = place, new
    expected = [
        ((place[1], message_id), conversation_id)
        for (conversation_id, message_id), (place, _) in known.items()
        if place is not None
        and place[3]
        and (wanted.organizations is None or place[0] in wanted.organizations)
        and (wanted.since is None or place[1] >= wanted.since)
        and (wanted.status != "failed" or place[2])
        and (below is None or order_of((place[1], message_id)) < order_of(below))
    ]
    found = [read_key(key) for key in index.descend(wanted, None if below is None else order_of(below))]
    assert sorted(found) == sorted(expected)
    assert [order_of(position) for position, _ in found] == sorted(
        (order_of(position) for position, _ in found), reverse=True
    )
    for (conversation_id, message_id), (_, own) in known.items():
        index.changed(conversation_id, message_id, own, None)
    assert len(index) == 0
    assert not index._organizations


@given(steps, st.integers(0, 20))
def test_changes_while_everything_is_being_added_are_not_undone(changes, turn):
    """What is read of a message may be older than what the index was told of it."""
    index, known = MessageIndex(), {}
    before = {}
    for number, (message_id, conversation_id, place) in enumerate(changes):
        if number == turn:
            before = dict(known)
            index = MessageIndex()
        new = None if place is None else part(conversation_id, place)
        index.changed(conversation_id, message_id, known.get((conversation_id, message_id)), new)
        known[conversation_id, message_id] = new
    for (conversation_id, message_id), old in (before if len(changes) > turn else {}).items():
        if old is not None:
            index.stored(conversation_id, message_id, old)
    index.complete()
    exact = MessageIndex()
    for (conversation_id, message_id), own in known.items():
        exact.changed(conversation_id, message_id, None, own)
    for wanted in (MessageFilter(), MessageFilter(status="failed")):
        assert list(index.descend(wanted)) == list(exact.descend(wanted))
