"""An external id that a deleted message had, and another one has now: in every order of arrival."""

from itertools import permutations

import pytest

from openbsp.merge.registers import NEVER
from streams.state import existence, message
from streams.state.existence import HOLDERS_LIMIT, Holder
from support.shipped import Shipped
from unit.streams.state.test_existence import FOUND, GHOST, REAL, at, event, outcome, told

DELETE = event("messages", "delete", "a", organization_id="o", conversation_id="c", external_id="w")
#: It is made by a receipt of the service, so it has fewer keys of its status than the deleted one had.
ANEW = told("z", "insert", 9, "read", external_id="w", content={}, created_at=at(9))
RACE = [REAL, GHOST | {"data": GHOST["data"] | {"created_at": at(1)}}, FOUND]


def test_the_message_that_was_inserted_after_the_delete_is_and_what_comes_of_it_counts() -> None:
    left = outcome(FOUND, DELETE, ANEW)
    assert left.message_states.keys() == {"z"}
    assert left.conversation_states["c"]["message_count"] == 1
    receipt = event("messages", "update", "z", status={"delivered": at(10)}, updated_at=at(10))
    left = outcome(FOUND, DELETE, ANEW, receipt)
    assert left.message_states["z"]["delivery_status"] == "read"
    statuses = {(change["message_id"], change["status"]) for change in left.status_changes.values()}
    assert statuses >= {("z", "read"), ("z", "delivered")}


def test_its_statuses_are_told_also_if_the_delete_comes_last_and_the_worker_dies_before_it_is_heard() -> None:
    expected = {("z", "read")}
    for back in range(12):
        shipped = Shipped()
        for one in (FOUND, ANEW):
            shipped.receive([one])
            shipped.relay()
        assert shipped.message_states.keys() == {"a"}
        shipped.receive([DELETE])
        shipped.relay(back)
        shipped.crash(back=back)
        shipped.relay()
        changes = {(change["message_id"], change["status"]) for change in shipped.status_changes.values()}
        assert changes >= expected
        assert shipped.message_states.keys() == {"z"}


def test_a_message_that_the_deleted_one_had_superseded_stays_superseded() -> None:
    assert outcome(*RACE, DELETE).message_states == {}
    assert outcome(*RACE, DELETE, ANEW).message_states.keys() == {"z"}


def test_what_had_more_receipts_before_the_delete_is_not_newer_than_what_came_after_it() -> None:
    receipts = told("b", "update", 4, "sent", "delivered", "read", external_id="w", created_at=at(1))
    found = told("a", "update", 5, "sent", "delivered", "read", "accepted", "pending", external_id="w")
    assert outcome(*RACE, receipts, found, DELETE, ANEW).message_states.keys() == {"z"}


def test_a_race_after_the_delete_is_one() -> None:
    real = told("y", "insert", 8, "pending", created_at=at(8))
    found = told("y", "update", 10, "pending", "read", "accepted", external_id="w", created_at=at(8))
    assert outcome(FOUND, DELETE, real, ANEW, found).message_states.keys() == {"y"}


def test_an_external_id_can_be_given_again_and_again() -> None:
    second = event("messages", "delete", "z", organization_id="o")
    third = told("y", "insert", 20, external_id="w", created_at=at(20))
    assert outcome(FOUND, DELETE, ANEW, second).message_states == {}
    assert outcome(FOUND, DELETE, ANEW, second, third).message_states.keys() == {"y"}


def test_a_conversation_that_is_deleted_gives_the_external_ids_of_its_messages_back() -> None:
    delete = event("conversations", "delete", "c", organization_id="o")
    elsewhere = ANEW | {"data": ANEW["data"] | {"conversation_id": "d"}}
    assert outcome(FOUND, delete, elsewhere).message_states.keys() == {"z"}


def test_late_rows_of_the_deleted_message_change_nothing() -> None:
    late = told("a", "update", 5, "pending", "sent", "accepted", "delivered", external_id="w")
    assert outcome(FOUND, DELETE, ANEW, late).message_states.keys() == {"z"}


def test_a_message_that_does_not_say_when_it_was_created_is_taken_to_be_the_older_one() -> None:
    undated = told("z", "insert", 9, "read", external_id="w")
    del undated["data"]["created_at"]
    assert outcome(FOUND, DELETE, undated).message_states == {}
    said_later = told("z", "update", 9, "read", external_id="w", created_at=at(9))
    assert outcome(FOUND, DELETE, undated, said_later).message_states.keys() == {"z"}


def test_of_a_deleted_message_without_any_instant_all_others_are_later() -> None:
    undated = told("a", "insert", 0, "sent", "read", external_id="w")
    del undated["data"]["created_at"], undated["data"]["updated_at"]
    assert outcome(undated, DELETE, ANEW).message_states.keys() == {"z"}


def test_another_organization_gives_no_external_id_back() -> None:
    theirs = event("messages", "delete", "a", organization_id="p") | {"organizations": ["p"]}
    assert outcome(FOUND, theirs, ANEW).message_states.keys() == {"a"}
    bound = ANEW | {"organizations": ["o"]}
    mine = DELETE | {"organizations": ["o"]}
    owned = FOUND | {"organizations": ["o"], "received_at": 1}
    assert outcome(owned, mine, bound | {"received_at": 2}).message_states.keys() == {"z"}


def test_a_message_with_two_external_ids_has_to_be_the_newest_for_both() -> None:
    both = told("z", "update", 12, "sent", external_id="v", created_at=at(9))
    assert outcome(FOUND, DELETE, ANEW, both).message_states.keys() == {"z"}
    newer = told("x", "insert", 13, "sent", "read", "pending", external_id="v", created_at=at(3))
    assert outcome(FOUND, DELETE, ANEW, both, newer).message_states.keys() == {"x"}


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_verdicts_say_the_same_whoever_told_last(order: tuple[int, ...]) -> None:
    """Each holder knows after the last of them whether it is the message, from all that it was told."""
    told_of = [
        ("a", Holder(5, 4, 0, deleted=True)),
        ("b", Holder(7, 3, 1)),
        ("c", Holder(1, 18, 9)),
        ("d", Holder(2, 20, 9)),
    ]
    holders: dict[str, Holder] = {}
    rivals: dict[str, dict[str, existence.StoredRivals]] = {}
    for place in order:
        key, holder = told_of[place]
        holders = existence.join_holders(holders, {key: holder})
        for verdict in existence.verdicts(holders, key):
            known = rivals.get(verdict.message_id, {})
            rivals[verdict.message_id] = existence.join_rivals(known, {"o": {"w": verdict.rivals}})
    left = [key for key, holder in told_of if not existence.is_superseded(holder, rivals[key]["o"])]
    assert left == ["d"]


def test_what_a_former_version_noted_of_the_newest_rival_counts_until_that_is_told_by_its_id() -> None:
    own, noted = Holder(1, 18, 9), (5, 4, True)
    assert existence.is_superseded(own, noted)
    living = existence.join_rivals({"o": noted}, {"o": {"w": {"a": (Holder(5, 4, 0), True)}}})
    assert existence.is_superseded(own, living["o"])
    deleted = existence.join_rivals(living, {"o": {"w": {"a": (Holder(5, 4, 0, deleted=True), True)}}})
    assert not existence.is_superseded(own, deleted["o"])
    older = existence.join_rivals({"o": noted}, {"o": {"w": {"b": (Holder(0, 4), True)}}})
    assert existence.is_superseded(own, older["o"])


def test_holders_and_rivals_are_bounded() -> None:
    many = {f"m{number}": Holder(number, 0) for number in range(HOLDERS_LIMIT + 5)}
    assert existence.join_holders({}, {"m": Holder(0, 0)} | many).keys() == set(list(many)[5:])
    rivals = {key: (holder, True) for key, holder in many.items()}
    joined = existence.join_rivals({"o": {"w": {}}}, {"o": {"w": rivals}})["o"]
    assert isinstance(joined, dict)
    assert joined["w"].keys() == set(list(many)[5:])
    assert message.MessageFacts().created_at is None
    assert Holder(1, 1).created_at == NEVER
