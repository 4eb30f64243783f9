"""Which contacts and addresses an erasure finds in the workers' tables, whatever conversations show."""

from collections.abc import Callable, Iterator
from functools import reduce
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from avro.rows import made_id
from bridge.contact_tables import TABLES
from bridge.erase.find import Row, States, Wanted
from openbsp.kafka.reading import Range
from openbsp.merge import contact
from support.join_cases import address, at
from support.join_cases import contact as person
from support.wire import event_of

if TYPE_CHECKING:
    from bridge.cluster import Cluster

MADE, OTHER = made_id("org", "whatsapp", "+100"), made_id("org", "whatsapp", "+200")
ADDRESSES, CONTACTS = TABLES["contacts_addresses"], TABLES["contacts"]


class Topics:
    """Topics in memory, as a cluster whose readers know one partition of each."""

    def __init__(self) -> None:
        self.records: dict[str, list[SimpleNamespace]] = {}
        self.registry = None

    def put(self, topic: str, key: str, value: bytes | None) -> None:
        """Write a record."""
        record = SimpleNamespace(key=key.encode, value=lambda: value)
        self.records.setdefault(topic, []).append(record)

    def reader(self, topic: str) -> Any:
        """As Cluster.reader."""
        records = self.records.setdefault(topic, [])

        def read(within: Range) -> Iterator[SimpleNamespace]:
            begin, end = within[0]
            return iter(records[begin:end])

        return SimpleNamespace(range=lambda: {0: (0, len(records))}, read=read, close=lambda: None)


def of_address(*events: dict[str, Any]) -> bytes:
    """Return the row of an address that was told this."""
    facts = [contact.address_facts(event_of(event)) for event in events]
    return contact.encode(contact.AddressRow(contact.of_its_contact(reduce(contact.join_addresses, facts))))


def of_contact(
    *events: dict[str, Any], by: Callable[[dict[str, Any]], list[str] | None] = lambda _: None, of: tuple[str, ...] = ()
) -> bytes:
    """Return the row of a contact that was told this by writers for `by` of each; addresses `of` follow it."""
    facts = [contact.contact_facts(event_of(event), by(event)) for event in events]
    followers: contact.Followers = {}
    for key in of:
        followers.setdefault(key.rpartition(":")[0], []).append(key)
    return contact.encode(contact.ContactRow(reduce(contact.join_contacts, facts), followers))


def bound(event: dict[str, Any]) -> list[str]:
    """Return that a row was told with a token of its own organization."""
    return [event["data"]["organization_id"]]


def find(topics: Topics, wanted: Wanted) -> list[Row]:
    with States(cast("Cluster", topics)) as states:
        return states.find(wanted).all()


ANA = person("contact-1", organization_id="org", name="Ana")


def test_a_contact_is_found_whose_address_was_unlinked_when_openbsp_deleted_it():
    topics = Topics()
    linked = address("+100", contact_id="contact-1", updated_at=at(1))
    unlinked = address("+100", contact_id=None, updated_at=at(2))
    topics.put(ADDRESSES, MADE, of_address(linked, unlinked))
    topics.put(CONTACTS, "contact-1", of_contact(ANA, of=(MADE,)))
    topics.put(CONTACTS, "contact-2", of_contact(person("contact-2", organization_id="org", name="Eva"), of=(OTHER,)))
    assert find(topics, Wanted(contact="+100")) == [
        Row("contacts", "contact-1", "org"),
        Row("contacts_addresses", MADE, "org"),
    ]


def test_an_erasure_that_was_interrupted_finds_the_contact_though_its_address_is_deleted():
    topics = Topics()
    gone = contact.AddressRow(contact.AddressFacts(cut=2**62))
    topics.put(ADDRESSES, MADE, contact.encode(gone))
    topics.put(CONTACTS, "contact-1", of_contact(ANA, of=(MADE,)))
    assert find(topics, Wanted(contact="+100")) == [Row("contacts", "contact-1", "org")]


def test_a_contact_is_deleted_before_the_addresses_that_lead_to_it():
    topics = Topics()
    topics.put(ADDRESSES, MADE, of_address(address("+100", contact_id="contact-1")))
    topics.put(CONTACTS, "contact-1", of_contact(ANA))
    assert [row.entity for row in find(topics, Wanted(contact="+100"))] == ["contacts", "contacts_addresses"]


def test_somebody_who_has_another_address_now_is_not_erased_with_a_former_one():
    topics = Topics()
    topics.put(ADDRESSES, MADE, of_address(address("+100", contact_id="contact-2")))
    topics.put(ADDRESSES, OTHER, of_address(address("+200", contact_id="contact-1")))
    topics.put(CONTACTS, "contact-1", of_contact(ANA, of=(MADE, OTHER)))
    assert {row.id for row in find(topics, Wanted(contact="+100"))} == {"contact-2", MADE}


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_contact_that_several_organizations_name_is_erased_for_the_one_whose_it_is(first):
    topics = Topics()
    organizations = sorted(["a", "b"], key=lambda organization: organization != first)
    made = [made_id(organization, "whatsapp", "+100") for organization in organizations]
    for key, organization in zip(made, organizations, strict=True):
        topics.put(ADDRESSES, key, of_address(address("+100", organization_id=organization, contact_id="contact-1")))
    row = person("contact-1", organization_id="b", name="Ana")
    topics.put(CONTACTS, "contact-1", of_contact(row, of=(*made,)))
    assert find(topics, Wanted(contact="+100"))[0] == Row("contacts", "contact-1", "b")


def test_of_a_contact_that_several_organizations_claim_each_claim_is_erased():
    topics = Topics()
    claims = [person("contact-1", organization_id=of, name="Ana") for of in ("a", "b")]
    made = [made_id(of, "whatsapp", "+100") for of in ("a", "b")]
    for key, of in zip(made, ("a", "b"), strict=True):
        topics.put(ADDRESSES, key, of_address(address("+100", organization_id=of, contact_id="contact-1")))
    topics.put(CONTACTS, "contact-1", of_contact(*claims, by=bound))
    rows = [row for row in find(topics, Wanted(contact="+100")) if row.entity == "contacts"]
    assert rows == [Row("contacts", "contact-1", "a"), Row("contacts", "contact-1", "b")]


def test_one_organizations_claim_is_gone_once_it_is_deleted_and_the_others_stays():
    topics = Topics()
    claims = [person("contact-1", organization_id=of, name="Ana") for of in ("a", "b")]
    topics.put(CONTACTS, "contact-1", of_contact(*claims, by=bound))
    with States(cast("Cluster", topics)) as states:
        rows = states.find(Wanted(organization_id="a")).all()
        assert rows == [Row("contacts", "contact-1", "a")]
        gone: set[Row] = set()
        assert states.left(rows, gone) == rows, "nothing was deleted yet"
        deleted = {"entity": "contacts", "action": "delete", "data": {"id": "contact-1", "organization_id": "a"}}
        without = contact.join_contacts(
            reduce(contact.join_contacts, (contact.contact_facts(event_of(row), bound(row)) for row in claims)),
            contact.contact_facts(event_of(deleted)),
        )
        topics.put(CONTACTS, "contact-1", contact.encode(contact.ContactRow(without)))
        assert states.left([*rows, Row("contacts", "contact-1", "b")], gone) == [Row("contacts", "contact-1", "b")]
    assert find(topics, Wanted(organization_id="a")) == []
    assert find(topics, Wanted(organization_id="b")) == [Row("contacts", "contact-1", "b")]
