"""The name of whom a conversation is with: from the rows of contacts and of their addresses, whatever comes first."""

from decimal import Decimal
from itertools import permutations
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from avro.rows import made_id
from openbsp.merge import contact
from streams.contract import Refused
from streams.state import conversation, followers
from streams.tables.contacts import AddressPartition
from streams.tables.contributions import decode_record
from streams.tables.links import AddressFollowed, AddressUpdate, ContactUpdate, encode_link
from streams.tables.owned import ADDRESSES
from support.join_cases import address, at, inserted, opened
from support.join_cases import contact as of
from support.join_cases import conversation as changed
from support.shipped import Shipped
from support.wire import event_of

ROW = opened("c", 1, created_by="x")
ADDRESS = address(contact_id="k", extra={"name": "~Ana"}, updated_at=at(1))
CONTACT = of("k", "insert", organization_id="org", name="Ana", updated_at=at(1))
DELETED_BY_ANOTHER = changed("c", "delete", organization_id="another")


def shown(*events: dict[str, Any], key: str = "c") -> Any:
    """Return the contact of a conversation after events, each of which is processed with all that follows from it."""
    shipped = Shipped()
    for event in events:
        shipped.receive([event])
        shipped.relay()
    return shipped.conversation_states[key]["contact"]


def by(organization: str, event: dict[str, Any], received_at: int) -> dict[str, Any]:
    return {**event, "organizations": [organization], "received_at": received_at}


@pytest.mark.parametrize("order", list(permutations([ROW, ADDRESS, CONTACT])))
def test_a_conversation_shows_its_contact_in_whatever_order_the_rows_come(order):
    assert shown(*order) == {"id": "k", "name": "Ana", "address": "5215"}


def test_a_renamed_contact_changes_all_its_conversations():
    shipped = Shipped()
    shipped.receive([opened("c", 1), opened("d", 2), ADDRESS, CONTACT])
    shipped.relay()
    shipped.receive([of("k", name="Ana Ruiz", updated_at=at(2))])
    shipped.relay()
    assert [state["contact"]["name"] for state in shipped.conversation_states.values()] == ["Ana Ruiz", "Ana Ruiz"]
    shipped.receive([of("k", name="before", updated_at=at(0))])
    shipped.relay()
    assert [state["contact"]["name"] for state in shipped.conversation_states.values()] == ["Ana Ruiz", "Ana Ruiz"]


def test_without_a_name_of_the_contact_the_name_at_the_service_is_shown():
    assert shown(ROW, ADDRESS) == {"id": "k", "name": "~Ana", "address": "5215"}
    assert shown(ROW, ADDRESS, of("k", organization_id="org", name=None)) == {
        "id": "k",
        "name": "~Ana",
        "address": "5215",
    }
    assert shown(ROW, address(updated_at=at(1))) == {"id": None, "name": None, "address": "5215"}
    assert shown(ROW, CONTACT) is None


def test_a_deleted_contact_takes_its_name_away():
    gone = of("k", "delete", organization_id="org")
    assert shown(ROW, ADDRESS, CONTACT, gone)["name"] == "~Ana"
    assert shown(gone, ROW, ADDRESS, CONTACT)["name"] == "~Ana"


def test_a_deleted_address_shows_nobody_until_it_comes_back():
    gone = address(action="delete") | {"received_at": 1_778_025_610_000_000}
    assert shown(ROW, CONTACT, ADDRESS, gone) is None
    assert shown(ROW, CONTACT, gone, ADDRESS) is None
    again = address(contact_id="k", updated_at=at(20))
    assert shown(ROW, CONTACT, again, ADDRESS, gone) == {"id": "k", "name": "Ana", "address": "5215"}


def test_a_delete_of_an_address_needs_its_id_only_and_the_organization_in_that():
    told = {"entity": "contacts_addresses", "action": "delete", "received_at": 1_778_025_610_000_000}
    ids = {"id": made_id("org", "whatsapp", "5215"), "organization_id": "org"}
    assert shown(ROW, CONTACT, ADDRESS, {**told, "data": ids}) is None
    foreign = {**event_of({**told, "data": ids}), "organization_id": "evil"}
    table: Any = AddressPartition(SimpleNamespace(number=0), SimpleNamespace(topic=str), None)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="not made of"):
        table.apply(foreign)


def test_a_conversation_that_was_known_before_there_were_contacts_shows_its_own_with_its_next_event():
    shipped = Shipped()
    shipped.receive([ROW])
    shipped.between.clear()
    shipped.receive([ADDRESS, CONTACT])
    shipped.relay()
    assert shipped.conversation_states["c"]["contact"] is None
    shipped.receive([changed("c", extra={"pinned": True}, updated_at=at(5))])
    shipped.relay()
    assert shipped.conversation_states["c"]["contact"]["name"] == "Ana"
    read = shipped.read
    shipped.receive([changed("c", extra={}, updated_at=at(6))])
    assert len(shipped.between) == read, "it has been told, and needs to ask no more"


def test_another_address_is_of_another_contact():
    other = address("777", contact_id="j", updated_at=at(1))
    named = of("j", organization_id="org", name="Juan", updated_at=at(1))
    moved = changed("c", contact_address="777", updated_at=at(5))
    assert shown(ROW, ADDRESS, CONTACT, other, named, moved) == {"id": "j", "name": "Juan", "address": "777"}
    elsewhere = address("5215", contact_id="k", updated_at=at(1), service="instagram")
    assert shown(ROW, elsewhere, CONTACT) is None


def test_while_only_messages_are_known_nobody_is_shown():
    assert shown(inserted("m", "c", "incoming", 1), ADDRESS, CONTACT) is None


def test_an_organization_does_not_learn_the_name_of_anothers_contact():
    """Whoever may tell of `evil` only cannot have its conversations show a contact of `org`, nor rename one."""
    row = opened("e", 1) | {"data": {**opened("e", 1)["data"], "organization_id": "evil"}}
    named = address(organization_id="evil", contact_id="k", updated_at=at(1))
    claim = of("k", organization_id="evil", updated_at=at(99))
    attack = [by("evil", event, 5_000) for event in (row, named, claim)]
    for events in ([CONTACT, *attack], [*attack, CONTACT]):
        assert shown(*events, key="e") == {"id": "k", "name": None, "address": "5215"}
    for mine in (CONTACT, by("org", CONTACT, 1_000)):
        renamed = by("evil", of("k", organization_id="evil", name="evil", updated_at=at(99)), 5_000)
        removed = by("evil", of("k", "delete", organization_id="evil"), 5_001)
        for events in ([ROW, ADDRESS, mine, renamed, removed], [removed, renamed, mine, ADDRESS, ROW]):
            assert shown(*events) == {"id": "k", "name": "Ana", "address": "5215"}


def test_names_are_cut_and_odd_values_are_no_names():
    assert shown(ROW, ADDRESS, of("k", organization_id="org", name="x" * 300, updated_at=at(1)))["name"] == "x" * 280
    for extra in (None, [], {"name": 5}, {"name": None, "n": 10**400}, "name"):
        assert shown(ROW, address(extra=extra, updated_at=at(1)))["name"] is None
    assert shown(ROW, address(extra={"name": "Ana", "n": Decimal("1" * 4301)}, updated_at=at(1)))["name"] == "Ana"


def test_of_too_many_conversations_of_an_address_the_newest_are_told():
    limit = followers.FOLLOWERS_LIMIT
    rows = [opened(f"c{number:03}", number) for number in range(limit + 6)]
    for order in (rows, rows[::-1]):
        shipped = Shipped()
        shipped.receive(order)
        shipped.relay()
        shipped.receive([ADDRESS])
        shipped.relay()
        known = {key for key, state in shipped.conversation_states.items() if state["contact"] is not None}
        assert known == {f"c{number:03}" for number in range(6, limit + 6)}


def test_facts_that_were_stored_before_there_were_contacts_are_read():
    """Also the other way round: a worker of the former version reads what this one stores."""
    facts = conversation.ConversationFacts(columns={"name": (0, 4, "n")}, newest=4)
    stored = msgspec.msgpack.decode(conversation.encode(facts))
    assert stored.pop() == {}
    assert conversation.decode(msgspec.msgpack.encode(stored)) == facts


@pytest.mark.parametrize(
    "value",
    [
        b"\x93\x01",
        b"\x93\x01\xa0\xc0",
        encode_link(AddressFollowed("x" * 1025, (0, 0))),
        encode_link(AddressUpdate("", None)),
        encode_link(AddressUpdate("a", contact.AddressFacts(columns={"extra": (0, 0, 5)}))),
        encode_link(ContactUpdate("a", contact.ContactFacts(columns={"name": (0, 0, b"")}))),
    ],
)
def test_what_is_no_link_is_refused(value):
    with pytest.raises(Refused):
        decode_record(value)


def _named(shipped: Shipped) -> dict[str, Any]:
    return {key: (state["contact"] or {}).get("name") for key, state in shipped.conversation_states.items()}


RENAMED = of("k", name="Ana Ruiz", updated_at=at(500))


@pytest.mark.parametrize("leaving", [0, 1, 64])
@pytest.mark.parametrize("lost", range(8))
def test_a_conversation_that_newer_ones_drop_knows_no_name_any_more(monkeypatch, leaving, lost):
    """Also if the worker dies before it has told the one that it dropped; with no room for those who leave it may."""
    monkeypatch.setattr(followers, "FOLLOWERS_LIMIT", 2)
    monkeypatch.setattr(followers, "LEAVING_LIMIT", leaving)
    rows = [opened(f"c{number}", number) for number in (1, 3, 2, 5, 4)]
    shipped = Shipped()
    shipped.receive([ADDRESS, CONTACT, *rows[:2]])
    shipped.relay()
    assert _named(shipped) == {"c1": "Ana", "c3": "Ana"}
    for row in rows[2:]:
        shipped.receive([row])
        committed = shipped.read, len(shipped.between)
        shipped.relay(lost)
        if leaving:
            del shipped.between[max(committed[1], shipped.read) :]
            shipped.crash(back=shipped.read - committed[0])
        shipped.relay()
    expected = dict.fromkeys(("c1", "c2", "c3"), None) | dict.fromkeys(("c4", "c5"), "Ana")
    assert _named(shipped) == expected
    shipped.receive([RENAMED])
    shipped.relay()
    assert _named(shipped) == expected | dict.fromkeys(("c4", "c5"), "Ana Ruiz")


def test_a_conversation_that_is_too_old_for_its_address_knows_no_name():
    rows = [opened(f"c{number:03}", number) for number in range(followers.FOLLOWERS_LIMIT + 70)]
    for order in (rows, rows[::-1]):
        shipped = Shipped()
        shipped.receive([ADDRESS, CONTACT])
        shipped.relay()
        for row in order:
            shipped.receive([row])
            shipped.relay(2)
        shipped.relay()
        shipped.receive([RENAMED])
        shipped.relay()
        kept = {f"c{number:03}" for number in range(70, len(rows))}
        assert _named(shipped) == {key: "Ana Ruiz" if key in kept else None for key in _named(shipped)}


def test_an_address_that_others_drop_from_its_contact_knows_no_name_any_more(monkeypatch):
    monkeypatch.setattr(followers, "FOLLOWERS_LIMIT", 2)
    texts = sorted(map(str, range(6)), key=lambda text: made_id("org", "whatsapp", text))
    for order in list(permutations(texts, 4))[::7]:
        shipped = Shipped()
        shipped.receive([CONTACT])
        shipped.relay()
        for number, text in enumerate(order):
            row = opened(text, number)
            named = address(text, contact_id="k", updated_at=at(1))
            shipped.receive([row | {"data": {**row["data"], "contact_address": text}}, named])
            shipped.relay()
        shipped.receive([RENAMED])
        shipped.relay()
        kept = [text for text in texts if text in order][:2]
        assert _named(shipped) == {text: "Ana Ruiz" if text in kept else None for text in order}


@pytest.mark.parametrize(
    ("removed", "again", "name"),
    [
        (CONTACT, of("k", "insert", organization_id="org", name="before", updated_at=at(0)), "before"),
        (ADDRESS, address(extra={"name": "~before"}, updated_at=at(0)), "~before"),
    ],
)
def test_what_is_removed_and_told_again_in_one_batch_is_what_was_told_last(removed, again, name):
    """A newer name that was removed must not win over the one that came afterwards."""
    shipped = Shipped()
    shipped.receive([ROW, ADDRESS, CONTACT])
    shipped.relay()
    shipped.receive([removed | {"removed": True}, again])
    shipped.relay()
    assert _named(shipped) == {"c": name}


def _followers(shipped: Shipped, text: str = "5215") -> set[str]:
    """Return the conversations that hear of an address."""
    return set(shipped.address_row(made_id("org", "whatsapp", text)).followers)


@pytest.mark.parametrize(
    ("last", "by_whom"),
    [
        (changed("c", contact_address="777", updated_at=at(5)), None),
        (changed("c", contact_address=None, updated_at=at(5)), None),
        (changed("c", "delete", organization_id="org"), None),
        (changed("c", "delete", organization_id="org"), "org"),
        (ROW | {"removed": True}, None),
    ],
)
def test_a_conversation_that_has_an_address_no_more_follows_it_no_more(last, by_whom):
    first = ROW if by_whom is None else by(by_whom, ROW, 1_000)
    shipped = Shipped()
    shipped.receive([first, ADDRESS])
    shipped.relay()
    assert _followers(shipped) == {"c"}
    shipped.receive([last if by_whom is None else by(by_whom, last, 2_000)])
    shipped.relay()
    assert _followers(shipped) == set()


@pytest.mark.parametrize("told", [CONTACT, ADDRESS | {"removed": True}])
def test_a_follower_that_a_crash_has_left_behind_leaves_when_it_is_told_something(told):
    shipped = Shipped()
    shipped.receive([ROW, ADDRESS])
    shipped.relay()
    moved = changed("c", contact_address="777", updated_at=at(5))
    shipped.receive([moved])
    del shipped.between[shipped.read :]
    shipped.crash(back=0)
    shipped.receive([moved], replayed=True)
    shipped.relay()
    assert (_followers(shipped), _followers(shipped, "777")) == ({"c"}, {"c"})
    shipped.receive([told])
    shipped.relay()
    assert (_followers(shipped), _followers(shipped, "777")) == (set(), {"c"})


@pytest.mark.parametrize("removed", [[ADDRESS], [ADDRESS, CONTACT]], ids=["address", "both"])
def test_what_a_follower_was_told_before_a_crash_that_forgot_it_does_not_outlive_a_removal(removed):
    shipped = Shipped()
    shipped.receive([ADDRESS, CONTACT])
    shipped.relay()
    rows, key = shipped._stores[ADDRESSES, 0], made_id("org", "whatsapp", "5215").encode()
    before = rows.get(key)
    shipped.receive([ROW])
    shipped.relay(1)
    assert _followers(shipped) == {"c"}
    # What it was told is in the topic; that it follows is not in the changelog.
    rows.put(key, before)
    shipped.crash(back=1)
    shipped.receive([event | {"removed": True} for event in removed])
    shipped.relay()
    assert shipped.conversation_states["c"]["contact"] is None


def test_a_removal_that_can_be_given_up_has_not_taken_a_conversation_from_its_address():
    """An idle conversation stays if something comes to it before its tombstones are acknowledged."""
    shipped = Shipped()
    shipped.receive([ROW, ADDRESS])
    shipped.relay()
    assert shipped.begin_removal("c") == {"streams-conversations-changelog"}


def test_other_organizations_that_name_a_contact_do_not_keep_its_own_from_hearing_of_it():
    evil = [f"evil{number}" for number in range(followers.ORGANIZATIONS_LIMIT + 2)]
    named = [by(name, address(organization_id=name, contact_id="k", updated_at=at(1)), 5_000) for name in evil]
    claims = [by(name, of("k", organization_id=name, name="evil", updated_at=at(99)), 5_000) for name in evil]
    for mine in (CONTACT, by("org", CONTACT, 1_000)):
        for events in ([mine, *named, ROW, ADDRESS, RENAMED], [mine, ROW, ADDRESS, *named, *claims, RENAMED]):
            last = events[-1] if mine is CONTACT else by("org", events[-1], 6_000)
            assert shown(*events[:-1], last)["name"] == "Ana Ruiz"


@pytest.mark.parametrize("order", list(permutations([by("org", ROW, 1_000), ADDRESS, CONTACT, DELETED_BY_ANOTHER])))
def test_a_delete_that_names_another_organization_than_the_only_one_that_tells_of_a_row_takes_no_contact_away(order):
    assert shown(*order) == {"id": "k", "name": "Ana", "address": "5215"}


def test_addresses_are_searched_once_for_claims_that_count_together(monkeypatch):
    """A token may be bound to hundreds of organizations, and each event of a conversation asks for its addresses."""
    told = [f"o{number}" for number in range(500)]
    facts = [
        conversation.facts_of(event_of(changed("c", **columns, updated_at=at(1))), organizations)
        for columns, organizations in (
            ({"organization_id": "o1", "service": "whatsapp", "contact_address": "5215"}, told),
            ({"contact_address": "777"}, told),
            ({"contact_address": "888"}, [*told, "p"]),
        )
    ]
    joined = conversation.join(conversation.join(facts[0], facts[1]), facts[2])
    calls: list[str | None] = []
    original = conversation.effective
    monkeypatch.setattr(conversation, "effective", lambda one, owner=None: calls.append(owner) or original(one, owner))
    found = conversation.addresses_of(joined)
    assert found == {contact.address_id(original(joined, name).columns) for name in (*told, "p")} - {None}
    assert len(calls) == 3
