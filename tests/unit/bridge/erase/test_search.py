"""What records have of erased rows: content that a date removes, content that stays, ids, mentions."""

from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import pytest

from avro.codec import CodecError
from avro.rows import made_id
from bridge.contact_tables import UnreadableRowError
from bridge.erase import people
from bridge.erase.find import Row, Wanted
from bridge.erase.search import Trace, service_names, trace
from bridge.erase.sought import Needles, Sought
from openbsp.merge import contact
from streams.state import followers
from support.join_cases import address
from support.join_cases import contact as person
from support.wire import event_of

ROWS = [
    Row("messages", "message-0001", "o1", "conversation-1", "wamid.0000001"),
    Row("conversations", "conversation-1", "o1"),
]
SOUGHT = Sought.of(ROWS, Wanted(contact="+100"))


@dataclass
class Record:
    """As confluent_kafka.Message."""

    number: int
    its_key: bytes | None
    its_value: bytes | None

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.number

    def key(self) -> bytes | None:
        return self.its_key

    def value(self) -> bytes | None:
        return self.its_value

    def timestamp(self) -> tuple[int, int]:
        return 2, 1000 + self.number


class Values:
    """As ValueReader: a value is the place of its fields in a list, behind the bytes that stand for its content."""

    def __init__(self, fields: list[dict[str, Any]]) -> None:
        self.fields = fields

    def decode(self, value: bytes) -> dict[str, Any]:
        place = value.partition(b"|")[0]
        if not place.isdigit():
            raise CodecError("malformed", "of the test")
        return self.fields[int(place)]


def look(name: str, *records: tuple[bytes | None, Any], sought: Sought = SOUGHT) -> Trace:
    """Return the trace of records whose values are None, bytes, or fields with a text."""
    fields: list[dict[str, Any]] = []
    messages = []
    for number, (key, value) in enumerate(records):
        if isinstance(value, dict):
            fields.append(value)
            messages.append(Record(number, key, b"%d|%s" % (len(fields) - 1, str(value).encode())))
        else:
            messages.append(Record(number, key, value))
    internal = name.startswith("streams-") or name == "audits"
    return trace(name, iter(messages), None if internal else Values(fields), sought)  # type: ignore[arg-type]


def state(id_: str, contact_address: str = "+200", **fields: object) -> dict[str, object]:
    return {"id": id_, "contact_address": contact_address, "organization_id": "o1", "service": "whatsapp", **fields}


def test_a_state_under_a_tombstone_goes_from_the_tombstone_on_and_another_one_stays():
    found = look(
        "message-state",
        (b"message-0001", state("message-0001")),
        (b"message-0002", state("message-0002")),
        (b"message-0001", None),
    )
    assert found == Trace(former=1, since_ms=1002, ids=1)


def of_table(*facts: contact.AddressFacts | contact.ContactFacts) -> bytes:
    """Return a row as the worker stores it, of several facts joined."""
    if isinstance(facts[0], contact.AddressFacts):
        return contact.encode(reduce(followers.join_address_rows, map(contact.AddressRow, facts)))
    return contact.encode(reduce(followers.join_contact_rows, map(contact.ContactRow, facts)))


def test_rows_of_the_contact_tables_are_read_as_the_worker_writes_them():
    """What is remembered of a deleted row has ids only, and what was before is former."""
    told = contact.address_facts(event_of(address("+100", contact_id="contact-1", extra={"name": "~Ana"})))
    cut = contact.AddressFacts(cut=2**62)
    made = made_id("org", "whatsapp", "+100")
    assert people.read("contacts_addresses", made, of_table(told))[:3] == (True, {"org"}, "contact-1")
    assert people.read("contacts_addresses", made, of_table(told, cut))[:3] == (False, {"org"}, None)
    row = person("contact-1", organization_id="org", name="Ana")
    for organizations in (None, ["org"]):
        named = contact.contact_facts(event_of(row), organizations)
        gone = contact.contact_facts(event_of({**row, "action": "delete"}), organizations)
        assert people.read("contacts", "contact-1", of_table(named))[:3] == (True, {"org"}, None)
        assert not people.read("contacts", "contact-1", of_table(named, gone)).live
    facts: list[Any] = [1, {}, [], [], {}]
    others = [[[2]], [[1, {}]], [facts], [facts, []], [[*facts, 0], {}], [[1, {"name": [0, 0, 7]}, [], [], {}], {}]]
    assert not people.read("contacts", "contact-1", contact.encode([facts, {}])).live
    for unreadable in (b"\x00", *map(contact.encode, others)):
        with pytest.raises(UnreadableRowError):
            people.read("contacts", "contact-1", unreadable)
    assert not people.read("contacts", "", b"how far the table is").live
    found = look("streams-contacts-changelog", (b"contact-9", b"\x00"), (b"", b"\x00"))
    assert (found.unreadable, found.content) == (1, 0)

    for topic, key, before, after in (
        ("streams-addresses-changelog", made, of_table(told), of_table(told, cut)),
        ("streams-contacts-changelog", "contact-1", of_table(named), of_table(named, gone)),
    ):
        sought = Sought.of([Row("contacts", "contact-1", "org")], Wanted(contact="+100"))
        everything = Sought.of([], Wanted(organization_id="org"))
        for wanted in (sought, everything):
            assert look(topic, (key.encode(), before), sought=wanted).live == ["t:0:0"]
            found = look(topic, (key.encode(), before), (key.encode(), after), sought=wanted)
            assert found == Trace(former=1, since_ms=1001, ids=1)
        assert look(topic, (b"another", after), sought=everything).ids == (topic == "streams-contacts-changelog")


def test_a_conversation_of_somebody_else_has_the_name_of_an_erased_contact_until_it_is_superseded():
    sought = Sought.of([Row("contacts", "contact-1", "o1")], Wanted(contact="+100"))
    shows = state("conversation-9", contact={"id": "contact-1", "name": "Ana", "address": "+200"})
    nobody = state("conversation-9", contact={"id": "contact-1", "name": None, "address": "+200"})
    found = look("conversation-state", (b"conversation-9", shows), (b"conversation-9", nobody), sought=sought)
    assert found == Trace(former=1, since_ms=1001, ids=1)
    values = (b"...contact-1...Ana", b"...contact-1...")
    found = look("streams-conversations-changelog", *((b"conversation-9", value) for value in values), sought=sought)
    assert found == Trace(former=1, since_ms=1001, ids=1)


def test_another_organizations_row_of_an_erased_contact_is_no_fault():
    claims = [
        contact.contact_facts(event_of(person("contact-1", organization_id=of, name=of)), [of]) for of in ("o1", "o2")
    ]
    gone = contact.contact_facts(event_of(person("contact-1", "delete", organization_id="o1")))
    for sought in (
        Sought.of([Row("contacts", "contact-1", "o1")], Wanted()),
        Sought.of([], Wanted(organization_id="o1")),
    ):
        before, after = of_table(*claims), of_table(*claims, gone)
        assert look("streams-contacts-changelog", (b"contact-1", before), sought=sought).live == ["t:0:0"]
        found = look("streams-contacts-changelog", (b"contact-1", before), (b"contact-1", after), sought=sought)
        assert found == Trace(former=1, since_ms=1001, ids=1)


def test_a_conversation_that_still_has_an_erased_contacts_name_is_named_and_the_name_of_its_address_is_not():
    key = made_id("o1", "whatsapp", "+200")
    told = contact.address_facts(
        event_of(address("+200", organization_id="o1", contact_id="contact-1", extra={"name": "~ana"}))
    )
    sought = Sought.of([Row("contacts", "contact-1", "o1")], Wanted(contact="+100"))
    table = [Record(0, key.encode(), of_table(told)), Record(1, b"another", None), Record(2, b"", b"how far")]
    names = service_names(iter(table), sought)  # type: ignore[arg-type]
    assert names == {key: "~ana"}
    sought = replace(sought, names=names)

    def shown(name: str | None, organization: str = "o1") -> Trace:
        contact_shown = {"id": "contact-1", "name": name, "address": "+200"}
        fields = state("conversation-9", contact=contact_shown) | {"organization_id": organization}
        return look("conversation-state", (b"conversation-9", fields), sought=sought)

    assert shown("Ana").live == ["t:0:0"], "a conversation that was not told of the delete"
    assert shown("~ana") == shown(None) == Trace(ids=1)
    assert shown("Ana", "o2") == Trace(), "another organization's contact of that id"


def test_a_state_that_nothing_supersedes_is_named():
    assert look("message-state", (b"message-0001", state("message-0001"))).live == ["t:0:0"]
    again = look("message-state", (b"message-0001", None), (b"message-0001", state("message-0001")))
    assert again.live == ["t:0:1"], "it came back"


def test_a_row_of_the_contact_that_came_since_is_named():
    assert look("message-state", (b"message-0009", state("message-0009", "+100"))).live == ["t:0:0"]
    elsewhere = Sought.of(ROWS, Wanted(contact="+100", organization_id="o2"))
    assert not look("message-state", (b"message-0009", state("message-0009", "+100")), sought=elsewhere).live


def test_another_conversation_whose_last_message_it_was_is_named_until_it_says_otherwise():
    told = state("conversation-2", last_message={"message_id": "message-0001", "preview": "hi"})
    assert look("conversation-state", (b"conversation-2", told)).live == ["t:0:0"]
    later = look("conversation-state", (b"conversation-2", told), (b"conversation-2", state("conversation-2")))
    assert later == Trace(former=1, since_ms=1001)


def test_events_go_by_retention_and_deletes_have_ids_only():
    found = look(
        "messages",
        (b"message-0001", {"id": "message-0001", "action": "insert"}),
        (b"message-0001", {"id": "message-0001", "action": "delete"}),
        (b"message-0002", {"id": "message-0002", "action": "insert", "content": "call +100"}),
        (b"message-0003", {"id": "message-0003", "action": "insert"}),
    )
    assert found == Trace(former=1, since_ms=1000, ids=1, mentions=1)


def test_a_message_of_an_erased_conversation_is_its_content_whatever_its_id():
    found = look(
        "messages", (b"message-0009", {"id": "message-0009", "action": "insert", "conversation_id": "conversation-1"})
    )
    assert found.former == 1


def test_dead_letters_are_found_by_key_and_by_what_is_in_their_payload():
    found = look(
        "dead-letters",
        (b"message-0001", {"key": "message-0001", "payload": None, "action": "delete"}),
        (None, {"key": None, "payload": b"{+100}"}),
        (None, {"key": None, "payload": None}),
    )
    assert found.positions == ["t:0:0", "t:0:1"]


def test_what_a_changelog_keeps_of_a_deleted_row_may_have_ids_but_no_address():
    former, ids = b"\x93message-0001 +100 hello", b"\x92message-0001"
    assert look("streams-messages-changelog", (b"message-0001", former), (b"message-0001", ids)) == Trace(
        former=1, since_ms=1001, ids=1
    )
    assert look("streams-messages-changelog", (b"message-0001", former)).live == ["t:0:0"]
    parts = look("streams-conversations-changelog", (b"conversation-1/message-0001", former))
    assert parts.live == ["t:0:0"], "the key has the id behind another one"


def test_internal_records_are_searched_as_bytes():
    found = look("streams-contributions", (b"conversation-2", b"\x94\xacmessage-0001"), (b"conversation-2", b"\x94"))
    assert found == Trace(former=1, since_ms=1000)


def test_an_organization_is_found_by_its_field():
    whole = Sought.of([], Wanted(organization_id="o1"))
    found = look("message-state", (b"m", state("m")), (b"n", state("n", organization_id="o2")), sought=whole)
    assert found.live == ["t:0:0"]


def test_a_value_that_cannot_be_read_is_counted():
    found = look("message-state", (b"message-0002", b"???"), (b"message-0001", b"???"))
    assert (found.unreadable, found.live) == (2, ["t:0:1"])


@pytest.mark.parametrize("count", [1, 3, 1000])
def test_needles_are_found_wherever_they_stand_however_many_there_are(count):
    needles = Needles(f"needle-{number:05}" for number in range(count))
    last = f"needle-{count - 1:05}".encode()
    for data in (last, b"x" + last, last + b"x", b"needle-0" * 3 + last):
        assert needles.within(data)
    assert not needles.within(b"needle-99999 needle-")
    assert not needles.within(b"")
    assert not Needles([""])
