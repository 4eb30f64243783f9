"""Messages that have left a conversation that is deleted: in every order of arrival, each event once or twice."""

from collections.abc import Iterator
from itertools import permutations

from support.join_cases import Envelope, at, inserted, message, opened
from support.reference import fold
from support.shipped import Shipped


def delete(key: str, organization: str = "org") -> Envelope:
    return {"entity": "conversations", "action": "delete", "data": {"id": key, "organization_id": organization}}


def moved(key: str, conversation_id: str, second: int, status: str = "delivered") -> Envelope:
    """Return an update that says where a message is, and not whose."""
    return message(key, conversation_id=conversation_id, status={status: at(second)}, updated_at=at(second))


def by(organization: str, received_at: int, event: Envelope) -> Envelope:
    """Return what a writer tells that is bound to an organization: a row names that one."""
    data = event["data"]
    if "organization_id" in data:
        data = data | {"organization_id": organization}
    return {**event, "data": data, "organizations": [organization], "received_at": received_at}


def orders(events: list[Envelope]) -> Iterator[list[Envelope]]:
    for number, order in enumerate(permutations(events)):
        yield [list(order), [*order, *order], [one for one in order for _ in range(2)]][number % 3]


def outcome(*events: Envelope) -> Shipped:
    """Return what is left, the same in all orders of arrival, which is what the reference model says."""
    messages, conversations, changes = fold(events)
    for number, order in enumerate(orders(list(events))):
        shipped = Shipped()
        for one in order:
            shipped.receive([one])
            shipped.relay(None if number % 2 else 1)
        shipped.relay()
        assert shipped.message_states == messages
        assert shipped.conversation_states == conversations
        assert changes.keys() <= shipped.status_changes.keys()
    return shipped


def test_another_organization_does_not_get_a_message_whose_first_conversation_is_deleted() -> None:
    """It is still known whose it is, although the row that said so went with the conversation."""
    own = [inserted("m", "c1", "incoming", 7), moved("m", "c2", 14), delete("c1")]
    wanted = outcome(*own)
    assert wanted.message_states["m"]["organization_id"] == "org"
    assert wanted.conversation_states["c2"]["message_count"] == 1
    for row in (inserted("m", "c1", "incoming", 99), inserted("m", "c2", "incoming", 99)):
        left = outcome(*own, by("evil", 500, row))
        assert left.message_states == wanted.message_states
        assert left.conversation_states == wanted.conversation_states


def test_nor_does_it_when_the_owner_is_told_by_a_row_that_holds_only_what_changed() -> None:
    told = message("m", organization_id="org", updated_at=at(8))
    left = outcome(told, moved("m", "c1", 7), moved("m", "c2", 14), delete("c1"), by("evil", 500, opened("c2", 99)))
    assert left.message_states["m"]["organization_id"] == "org"
    assert left.conversation_states["c2"]["known"] is False


def test_nor_when_all_that_its_owner_tells_comes_from_a_bound_writer() -> None:
    own = [by("org", 1_000, inserted("m", "c1", "incoming", 7)), moved("m", "c2", 14), by("org", 1_000, delete("c1"))]
    wanted = outcome(*own)
    left = outcome(*own, by("evil", 3_000, inserted("m", "c1", "incoming", 99)))
    assert left.message_states == wanted.message_states
    assert left.message_states.keys() == {"m"}


def test_a_message_that_came_back_from_a_conversation_stays_when_that_is_deleted() -> None:
    left = outcome(inserted("m", "c1", "outgoing", 48), moved("m", "c0", 53), moved("m", "c1", 57), delete("c0"))
    assert left.message_states["m"]["conversation_id"] == "c1"
    assert left.message_states["m"]["organization_id"] == "org"
    assert left.conversation_states["c1"]["message_count"] == 1


def test_it_is_still_superseded_by_what_has_its_external_id() -> None:
    own = [
        inserted("m", "c1", "outgoing", 48, external_id="w"),
        moved("m", "c0", 53),
        moved("m", "c1", 57),
        delete("c0"),
    ]
    assert outcome(*own).message_states.keys() == {"m"}
    newer = inserted("n", "c2", "outgoing", 60, external_id="w")
    newer["data"]["status"] |= {"failed": at(60), "sent": at(60)}
    left = outcome(*own, newer)
    assert left.message_states.keys() == {"n"}
    assert left.conversation_states.keys() == {"c2"}


def test_a_message_that_is_not_back_goes_with_its_conversation() -> None:
    left = outcome(inserted("m", "c1", "outgoing", 48), moved("m", "c0", 53), delete("c0"))
    assert (left.message_states, left.conversation_states) == ({}, {})


def test_messages_of_the_owner_count_when_another_one_was_taken_to_be_it() -> None:
    """A trusted row comes last, after an earlier claim of the conversation."""
    theirs = by("evil", 500, opened("c1", 99))
    left = outcome(by("org", 1_000, inserted("m", "c1", "outgoing", 34)), theirs, opened("c1", 64))
    assert left.conversation_states["c1"]["message_count"] == 1


NOBODYS = moved("m", "c", 9)
#: A bound writer that does not name an organization says nothing of whose a message is.
PARTIAL = {**message("m", status={"read": at(12)}, updated_at=at(12)), "organizations": ["evil"], "received_at": 500}


def test_while_nobody_says_whose_a_message_is_no_bound_writer_ends_it() -> None:
    left = outcome(NOBODYS, PARTIAL, by("evil", 2_000, delete("c")))
    assert left.message_states.keys() == {"m"}
    assert left.conversation_states["c"]["message_count"] == 1


def test_nor_does_another_organization_hide_the_conversation_of_one_that_names_nobody_any_more() -> None:
    told = message("m", organization_id="org", conversation_id="c", updated_at=at(2))
    unnamed = message("m", organization_id=None, conversation_id="c", updated_at=at(4))
    left = outcome(told, unnamed, delete("c", "other"))
    assert left.message_states.keys() == {"m"}
    assert left.conversation_states["c"]["message_count"] == 1
    assert outcome(told, unnamed, delete("c")).conversation_states == {}
    assert outcome(unnamed, delete("c", "other")).conversation_states == {}


def test_but_whoever_has_the_conversation_does() -> None:
    for row in (opened("c", 1), by("org", 500, opened("c", 1))):
        left = outcome(row, NOBODYS, delete("c"))
        assert (left.message_states, left.conversation_states) == ({}, {})
    assert outcome(opened("c", 1), NOBODYS, by("org", 2_000, delete("c"))).message_states == {}


def test_a_message_that_names_nobody_does_not_say_whose_its_conversation_is() -> None:
    left = outcome(NOBODYS, by("org", 500, opened("c", 30)), by("evil", 600, opened("c", 99)))
    assert left.conversation_states["c"]["organization_id"] == "org"
    assert left.conversation_states["c"]["name"] == "conversation c"


def test_claims_of_the_same_moment_are_ordered_also_if_a_message_names_nobody_any_more() -> None:
    unnamed = {**PARTIAL, "data": PARTIAL["data"] | {"organization_id": None}}
    left = outcome(by("evil", 500, inserted("m", "c", "incoming", 7)), unnamed, by("org", 500, opened("c", 1)))
    assert left.conversation_states["c"]["known"] is False
    assert left.conversation_states["c"]["message_count"] == 1
