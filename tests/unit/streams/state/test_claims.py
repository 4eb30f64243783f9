"""What another organization's token says of known ids changes nothing, in whatever order and however often it comes."""

import random
from typing import Any

import pytest
from msgspec import msgpack

from openbsp.merge import claims
from openbsp.merge.registers import undated
from streams.state import conversation, message
from support.join_cases import Envelope, at, inserted, opened
from support.join_cases import conversation as told_of_conversation
from support.join_cases import message as told_of
from support.reference import fold
from support.shipped import Shipped
from support.wire import event_of

ORDERS = 6
#: When the victim's rows are received, and what the attacker sends.
THEN, LATER = 1_000, 2_000


def by(organization: str | None, received_at: int, *events: Envelope) -> list[Envelope]:
    """Return events of a token that is bound to an organization; None: of one that is not."""
    bound = {} if organization is None else {"organizations": [organization]}
    return [{**event, "received_at": received_at + number, **bound} for number, event in enumerate(events)]


def of(organization: str, event: Envelope) -> Envelope:
    """Return the event as a row of an organization."""
    return {**event, "data": event["data"] | {"organization_id": organization}}


def deleted(entity: str, key: str, organization: str) -> Envelope:
    return {"entity": entity, "action": "delete", "data": {"id": key, "organization_id": organization}}


def orders(events: list[Envelope]) -> list[list[Envelope]]:
    """Return orders of arrival: the attack first, last, and any; half of the events come twice."""
    shuffle = random.Random(7)
    found = [events, events[::-1]]
    for _ in range(ORDERS):
        told = events + shuffle.sample(events, len(events) // 2)
        shuffle.shuffle(told)
        found.append(told)
    return found


def arrive(events: list[Envelope]) -> Shipped:
    shipped = Shipped()
    for event in events:
        shipped.receive([event])
        shipped.relay()
    return shipped


VICTIM = [
    opened("c", 1),
    inserted("m", "c", "outgoing", 10, external_id="w"),
    inserted("n", "c", "incoming", 20),
    told_of("m", status={"sent": at(11)}, updated_at=at(11)),
]
ATTACKS: dict[str, list[Envelope]] = {
    "a row of the message": [of("evil", inserted("m", "c", "incoming", 99, external_id="w2"))],
    "the message moved away": [
        of("evil", inserted("m", "elsewhere", "outgoing", 99)),
        of("evil", opened("elsewhere", 2)),
    ],
    "a partial update": [told_of("m", status={"read": at(98)}, content={"text": "evil"}, updated_at=at(98))],
    "a delete": [deleted("messages", "m", "evil")],
    "a row and its delete": [of("evil", inserted("m", "c", "outgoing", 99)), deleted("messages", "m", "evil")],
    "a row of the conversation": [of("evil", opened("c", 99, extra={"archived": at(99)}))],
    "a partial update of the conversation": [told_of_conversation("c", status="closed", updated_at=at(99))],
    "the conversation deleted": [of("evil", opened("c", 99)), deleted("conversations", "c", "evil")],
    "all of it claimed and deleted": [
        of("evil", opened("c", 99)),
        of("evil", inserted("m", "c", "outgoing", 99)),
        of("evil", inserted("n", "c", "outgoing", 99)),
        deleted("conversations", "c", "evil"),
    ],
    "a message in the conversation": [of("evil", inserted("x", "c", "incoming", 99))],
    "a newer message with the external id": [of("evil", inserted("x", "c9", "outgoing", 99, external_id="w"))],
    "claimed, and superseded by another one": [
        of("evil", inserted("m", "c9", "outgoing", 98, external_id="w2")),
        of("evil", inserted("x", "c9", "outgoing", 99, external_id="w2")),
    ],
}


def about(states: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: state for key, state in states.items() if key in keys}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("victim", ["org", None])
@pytest.mark.parametrize("rows", [True, False], ids=["with its row", "without its row"])
def test_nothing_of_another_organization_changes(attack: str, victim: str | None, *, rows: bool) -> None:
    truth = by(victim, THEN, *(VICTIM if rows else VICTIM[1:]))
    events = truth + by("evil", LATER, *ATTACKS[attack])
    wanted = fold(truth)
    judged = fold(events)
    for name, states in zip(("message", "conversation"), wanted, strict=False):
        assert about(judged[name == "conversation"], "m", "n", "c") == states
    for order in orders(events):
        shipped = arrive(order)
        assert about(shipped.message_states, "m", "n") == wanted[0]
        assert about(shipped.conversation_states, "c") == wanted[1]
        told = {(change["message_id"], change["status"]) for change in shipped.status_changes.values()}
        assert told >= set(wanted[2].values())


@pytest.mark.parametrize("attack", ATTACKS)
def test_not_even_before_the_owner_is_known_to_the_join_and_with_a_crash_meanwhile(attack: str) -> None:
    truth = by("org", THEN, *VICTIM)
    attacks = by("evil", LATER, *ATTACKS[attack])
    wanted = fold(truth)
    shipped = Shipped()
    shipped.receive(attacks)
    shipped.relay()
    shipped.receive(truth)
    shipped.relay(3)
    shipped.crash(back=3)
    shipped.receive([*truth, *attacks], replayed=True)
    shipped.relay()
    assert about(shipped.message_states, "m", "n") == wanted[0]
    assert about(shipped.conversation_states, "c") == wanted[1]


def test_the_first_to_claim_an_id_owns_it_and_a_trusted_writer_corrects_that() -> None:
    first, second = of("a", inserted("m", "c", "outgoing", 10)), of("b", inserted("m", "c", "outgoing", 20))
    claimed = by("b", 5, second) + by("a", 4, first)
    corrected = by(None, 9, of("b", inserted("m", "c", "outgoing", 15)))
    for events, owner in ((claimed, "a"), (claimed + corrected, "b")):
        for order in orders(events):
            assert arrive(order).message_states["m"]["organization_id"] == owner


def test_its_own_deletes_and_updates_count_of_a_bound_token() -> None:
    events = by("org", THEN, *VICTIM, deleted("messages", "n", "org"))
    for order in orders(events):
        shipped = arrive(order)
        assert shipped.message_states == fold(events)[0]
        assert shipped.message_states.keys() == {"m"}
        assert shipped.message_states["m"]["delivery_status"] == "sent"
        assert shipped.conversation_states["c"]["message_count"] == 1
    gone = by("org", THEN, *VICTIM, deleted("conversations", "c", "org"))
    for order in orders(gone):
        shipped = arrive(order)
        assert (shipped.message_states, shipped.conversation_states) == ({}, {})
        assert not any(b"m at 10" in stored for stored in shipped.stored())


def test_a_message_that_has_left_a_conversation_stays_when_that_is_deleted() -> None:
    moved = inserted("m", "there", "outgoing", 10) | {"action": "update"}
    moved["data"] |= {"updated_at": at(30), "status": {"pending": at(10), "sent": at(30)}}
    events = [
        opened("here", 1),
        opened("there", 2),
        inserted("m", "here", "outgoing", 10),
        inserted("n", "here", "incoming", 20),
        moved,
        deleted("conversations", "here", "org"),
    ]
    for victim in (None, "org"):
        told = by(victim, THEN, *events)
        for order in orders(told):
            shipped = arrive(order)
            assert shipped.message_states.keys() == {"m"}
            assert shipped.message_states["m"]["conversation_id"] == "there"
            assert shipped.conversation_states.keys() == {"there"}
            assert shipped.conversation_states["there"]["message_count"] == 1
            assert fold(told)[:2] == (shipped.message_states, shipped.conversation_states)
            assert not any(b"n at 20" in stored for stored in shipped.stored())


@pytest.mark.parametrize("row_is_known", [True, False])
def test_who_moves_an_old_message_into_a_conversation_does_not_own_it(row_is_known: bool) -> None:  # noqa: FBT001
    """The message is older than the conversation, but it was not in it."""
    old = inserted("old", "evils", "incoming", 0)
    moved = {**old, "action": "update", "data": old["data"] | {"conversation_id": "c", "updated_at": at(99)}}
    before, after = by("evil", 1, of("evil", old)), by("evil", LATER, of("evil", moved))
    victim = by("org", THEN, *(VICTIM if row_is_known else VICTIM[1:3]))
    expected = fold(victim)[1]["c"]
    assert expected["organization_id"] == "org"
    told = [*before, *victim, *after]
    for order in orders(told):
        shipped = arrive(order)
        assert shipped.conversation_states["c"] == expected
        assert fold(told)[:2] == (shipped.message_states, shipped.conversation_states)
    back = {**old, "action": "update", "data": old["data"] | {"updated_at": at(100)}}
    assert arrive([*told, *by("evil", LATER + 9, of("evil", back))]).conversation_states["c"] == expected


def test_facts_that_a_former_version_stored_are_trusted() -> None:
    """Nobody noted who told them, so no claim can change them."""
    stamp = undated(5)
    text = {name: [0, stamp, value] for name, value in (("organization_id", "org"), ("conversation_id", "c"))}
    stored = msgpack.encode(
        [2, text, {}, {}, {}, [0, stamp], None, ["b", "c"], ["org"], ["w"], [], 7, [], [3, 5, True]]
    )
    facts = message.decode(stored)
    assert facts == message.decode(message.encode(facts))
    assert not message.predates_holders(stored)
    assert facts.conversations == {"b": (-1, 0, []), "c": (0, stamp, [])}
    assert facts.rivals == {"org": (3, 5, True)}
    claimed = message.MessageFacts(claims={"evil": (1, message.MessageFacts(deletes=["evil"], organizations=["evil"]))})
    assert message.effective(message.join(facts, claimed)) == facts
    row = conversation.decode(msgpack.encode([2, {"organization_id": [0, stamp, "org"]}, stamp, ["org"], 7, []]))
    assert conversation.owner_of(row) == "org"


def test_of_too_many_claims_the_first_are_remembered() -> None:
    told: claims.Claims[message.MessageFacts] = {}
    for number in range(claims.LIMIT + 3):
        told = claims.join(told, {f"o{number}": (100 - number, message.MessageFacts())}, message.join)
    assert sorted(told) == sorted(f"o{number}" for number in range(3, claims.LIMIT + 3))
    assert claims.first(told) == (100 - claims.LIMIT - 2, f"o{claims.LIMIT + 2}")


def test_a_message_is_said_to_be_in_no_more_conversations_than_can_hear_of_it() -> None:
    """Whoever moves a message about fills up what he says himself, not what its owner says."""
    told: message.MessageFacts | None = None
    for number in range(message.CONVERSATIONS_LIMIT + 1):
        (event,) = by("evil", LATER, of("evil", inserted("m", f"c{number}", "outgoing", 99)))
        new = message.facts_of(event_of(event), event["organizations"])
        assert message.in_too_many(told, new) == (number == message.CONVERSATIONS_LIMIT)
        told = new if told is None else message.join(told, new)
    (own,) = by("org", THEN, inserted("m", "own", "outgoing", 10))
    assert not message.in_too_many(told, message.facts_of(event_of(own), own["organizations"]))
    again = by("evil", LATER, of("evil", inserted("m", "c1", "outgoing", 99)))[0]
    assert not message.in_too_many(told, message.facts_of(event_of(again), again["organizations"]))
