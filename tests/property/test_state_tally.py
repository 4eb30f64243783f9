"""A tally that follows changes one by one is the tally of all messages, or says that it is stale."""

from collections.abc import Mapping
from functools import reduce
from itertools import product
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.state import conversation, message
from streams.state.contribution import Contribution
from streams.state.conversation import Tally
from streams.views.read.index import active_at
from support.events import events_of_a_conversation, events_of_a_message, instants
from support.wire import event_of

HERE = "c1"
COUNTS = ("messages", "incoming", "outgoing", "internal", "unread", "status_counts")
EXTREMES = ("last_incoming", "last_outgoing", "first_incoming", "first_outgoing", "reply", "last_message")

patient = settings(suppress_health_check=[HealthCheck.too_slow])


def contribution_of(*rows: Mapping[str, object]) -> Contribution:
    events = [{"entity": "messages", "action": "insert", "data": {"id": "m", **row}} for row in rows]
    return message.contribution(reduce(message.join, (message.facts_of(event_of(event)) for event in events)))


#: Messages that matter to a tally: mostly here, with a time and a direction.
spoken = st.builds(
    lambda at, direction, status, where: contribution_of(
        {"conversation_id": where, "direction": direction, "timestamp": at, "status": {status: "2026-05-06T03:39:23Z"}}
    ),
    instants | st.none(),
    st.sampled_from(["incoming", "outgoing", "incoming", "outgoing", "internal", None]),
    st.sampled_from(["pending", "sent", "read", "typing"]),
    st.sampled_from([HERE, HERE, HERE, HERE, "c2", None]),
)
anything = st.lists(events_of_a_message, min_size=1, max_size=2).map(
    lambda events: contribution_of(*(event["data"] for event in events))
)
#: Any part replaced by any other one, also one that a join could never give; None takes the message out.
changes = st.lists(
    st.tuples(st.sampled_from(["m1", "m2", "m3", "m4"]), st.one_of(spoken, spoken, spoken, anything, st.none())),
    min_size=3,
    max_size=16,
)


def picture(tally: Tally, names: tuple[str, ...]) -> dict[str, object]:
    return {name: getattr(tally, name) for name in names}


@patient
@given(steps=changes, made_again=st.booleans())
def test_a_tally_is_exact_or_says_that_it_is_stale(
    *, steps: list[tuple[str, Contribution | None]], made_again: bool
) -> None:
    """Counts are exact even then."""
    tally = Tally()
    known: dict[str, Contribution] = {}
    for message_id, new in steps:
        tally.replace(HERE, message_id, known.get(message_id), new)
        known.pop(message_id, None)
        if new is not None:
            known[message_id] = new
        truth = Tally.of(HERE, known.items())
        assert not truth.stale
        assert picture(tally, COUNTS) == picture(truth, COUNTS)
        if not tally.stale:
            assert picture(tally, EXTREMES) == picture(truth, EXTREMES)
        elif made_again:
            tally = truth


@patient
@given(st.lists(st.tuples(st.sampled_from(["m1", "m2", "m3"]), spoken), unique_by=lambda item: item[0]), st.randoms())
def test_the_tally_of_messages_does_not_depend_on_their_order(
    messages: list[tuple[str, Contribution]], random: Random
) -> None:
    other = list(messages)
    random.shuffle(other)
    names = COUNTS + EXTREMES
    assert picture(Tally.of(HERE, messages), names) == picture(Tally.of(HERE, other), names)


@given(st.permutations(range(8)))
def test_receipts_never_make_a_tally_stale(order: list[int]) -> None:
    """A receipt costs the same in a conversation of ten messages and of a hundred thousand."""
    tally = Tally()
    inserts = [
        {
            "conversation_id": HERE,
            "direction": ("incoming", "outgoing")[number % 2],
            "created_at": f"2026-05-06T03:39:0{number}Z",
            "status": {"pending": f"2026-05-06T03:39:0{number}Z"},
        }
        for number in range(8)
    ]
    for number, row in enumerate(inserts):
        tally.replace(HERE, f"m{number}", None, contribution_of(row))
    for number in order:
        before = contribution_of(inserts[number])
        after = contribution_of(inserts[number], {"status": {"read": "2026-05-06T03:40:00Z"}})
        tally.replace(HERE, f"m{number}", before, after)
        assert not tally.stale
    assert tally.status_counts == {"read": 4}
    assert tally.unread == 0


def test_neither_do_messages_that_arrive_from_first_to_last_or_from_last_to_first() -> None:
    directions = ["outgoing", "incoming", "incoming", "outgoing", "internal"] * 8
    rows = [
        (f"m{at}", contribution_of({"conversation_id": HERE, "direction": direction, "created_at": at}))
        for direction, at in zip(directions, (f"2026-05-06T03:39:{second:02}Z" for second in range(40)), strict=True)
    ]
    for order in (rows, rows[::-1]):
        tally = Tally()
        for message_id, part in order:
            tally.replace(HERE, message_id, None, part)
            assert not tally.stale
        assert picture(tally, EXTREMES) == picture(Tally.of(HERE, rows), EXTREMES)


def test_whichever_message_leaves_the_tally_stays_exact_or_says_that_it_is_stale() -> None:
    """All conversations of four messages, each one of which leaves before a fifth one comes, at any place."""
    parts = {
        (direction, second): contribution_of(
            {"conversation_id": HERE, "direction": direction, "timestamp": f"2026-05-06T03:39:{second:02}Z"}
        )
        for direction in ("incoming", "outgoing")
        for second in range(9)
    }
    for directions in product(("incoming", "outgoing"), repeat=4):
        four = {f"m{place}": parts[direction, 2 * place + 1] for place, direction in enumerate(directions)}
        for leaving, late in product(four, parts.values()):
            tally = Tally.of(HERE, four.items())
            tally.replace(HERE, leaving, four[leaving], None)
            tally.replace(HERE, "late", None, late)
            left = {key: part for key, part in four.items() if key != leaving} | {"late": late}
            assert tally.stale or picture(tally, EXTREMES) == picture(Tally.of(HERE, left.items()), EXTREMES)


@patient
@given(
    st.dictionaries(st.sampled_from(["m1", "m2", "m3"]), st.one_of(spoken, anything)),
    st.none() | st.lists(events_of_a_conversation, min_size=1, max_size=2),
)
def test_how_a_conversation_stands_is_a_part_of_its_state(
    messages: dict[str, Contribution], rows: list[dict] | None
) -> None:
    """Lists are ordered and filtered by what the conversation itself shows."""
    facts = None
    if rows is not None:
        facts = reduce(conversation.join, (conversation.facts_of(event_of(event)) for event in rows))
    tally = Tally.of(HERE, messages.items())
    last_id = tally.last_message
    state = conversation.state(HERE, facts, tally, None if last_id is None else messages[last_id])
    assert conversation.standing(facts, tally) == (
        state.get("organization_id"),
        state.get("status"),
        state.get("service"),
        state["awaiting_reply"],
        active_at(state),
    )
