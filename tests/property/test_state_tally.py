"""A tally that follows changes one by one is the tally of all messages, or says that it is stale."""

from collections.abc import Mapping
from functools import reduce
from itertools import product
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from streams.state import conversation, message
from streams.state.contribution import Contribution
from streams.state.conversation import ConversationFacts, Tally
from support.events import events_of_a_conversation, events_of_a_message, instants
from support.wire import event_of

HERE = "c1"
#: What it is, however it has come to be.
PARTS = tuple(name for name in Tally.__slots__ if name not in {"stale", "order", "recounted"})


def contribution_of(*rows: Mapping[str, object], claimed: tuple[int, str] | None = None) -> Contribution:
    events = [{"entity": "messages", "action": "insert", "data": {"id": "m", **row}} for row in rows]
    part = message.contribution(reduce(message.join, (message.facts_of(event_of(event)) for event in events)))
    return part if claimed is None else structs.replace(part, claimed=claimed)


#: Messages that matter to a tally: mostly here, with a time and a direction.
spoken = st.builds(
    lambda at, direction, status, where, whose, kind, written, claimed_at: contribution_of(
        {
            "conversation_id": where,
            "organization_id": whose,
            "direction": direction,
            "timestamp": at,
            "updated_at": written,
            "content": {"type": "text", "kind": kind},
            "status": {status: "2026-05-06T03:39:23Z"},
        },
        claimed=None if None in (whose, claimed_at) else (claimed_at, whose),
    ),
    instants | st.none(),
    st.sampled_from(["incoming", "outgoing", "incoming", "outgoing", "internal", None]),
    st.sampled_from(["pending", "sent", "read", "typing", "failed"]),
    st.sampled_from([HERE, HERE, HERE, HERE, "c2", None]),
    st.sampled_from(["o", "o", "o", "p", None]),
    st.sampled_from(["text", "text", "reaction"]),
    st.sampled_from(["2026-05-08T00:00:00Z", "2026-05-06T03:39:24Z"]),
    st.sampled_from([None, None, 1, 2]),
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


def picture(tally: Tally) -> dict[str, object]:
    return {name: getattr(tally, name) for name in PARTS}


def row_of(status: str | None, organization: str | None) -> ConversationFacts | None:
    if status is None:
        return None
    data = {"id": HERE, "status": status} | ({} if organization is None else {"organization_id": organization})
    return conversation.facts_of(event_of({"entity": "conversations", "action": "insert", "data": data}))


OWNED = row_of("open", "o")

#: Rows come, and name another organization.
rows = st.builds(row_of, st.none() | st.just("open"), st.sampled_from([None, "o", "o", "p"]))


@given(steps=changes, row=rows, later_row=rows, made_again=st.booleans())
def test_a_tally_is_exact_or_says_that_it_is_stale(
    *,
    steps: list[tuple[str, Contribution | None]],
    row: ConversationFacts | None,
    later_row: ConversationFacts | None,
    made_again: bool,
) -> None:
    tally = Tally(row)
    known: dict[str, Contribution] = {}
    for number, (message_id, new) in enumerate(steps):
        if number == len(steps) // 2 and later_row is not None:
            row = later_row if row is None else conversation.join(row, later_row)
            tally.row_changed(row)
        tally.replace(HERE, message_id, known.get(message_id), new)
        known.pop(message_id, None)
        if new is not None:
            known[message_id] = new
        truth = Tally.of(HERE, known.items(), row)
        assert not truth.stale
        if not tally.stale:
            assert picture(tally) == picture(truth)
        elif made_again:
            tally = Tally.of(HERE, known.items(), row, ordered=True)


@given(st.lists(st.tuples(st.sampled_from(["m1", "m2", "m3"]), spoken), unique_by=lambda item: item[0]), st.randoms())
def test_the_tally_of_messages_does_not_depend_on_their_order(
    messages: list[tuple[str, Contribution]], random: Random
) -> None:
    other = list(messages)
    random.shuffle(other)
    assert picture(Tally.of(HERE, messages)) == picture(Tally.of(HERE, other))


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
        assert picture(tally) == picture(Tally.of(HERE, rows))


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
            assert tally.stale or picture(tally) == picture(Tally.of(HERE, left.items()))
            # In order it is never stale, as long as a row says whose the conversation is.
            ordered = Tally.of(HERE, four.items(), OWNED, ordered=True)
            ordered.replace(HERE, leaving, four[leaving], None)
            ordered.replace(HERE, "late", None, late)
            assert not ordered.stale
            assert picture(ordered) == picture(Tally.of(HERE, left.items(), OWNED))


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
    tally = Tally.of(HERE, messages.items(), facts)
    last_id = tally.last_message
    state = conversation.state(HERE, facts, tally, None if last_id is None else messages[last_id])
    assert conversation.standing(facts, tally) == (
        state.get("organization_id") or tally.owner,
        state.get("status"),
        state.get("service"),
        state.get("contact_address"),
        state["awaiting_reply"],
        state["unread_count"] > 0,
        state["unanswered_count"] > 0,
        state["failed_count"] > 0,
        state["archived"],
        state["known"],
        state["active_at"],
    )
