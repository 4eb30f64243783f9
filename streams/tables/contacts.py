"""The tables of contacts and of their addresses: each merges its rows, and tells those who follow them."""

from collections.abc import Callable, Collection
from typing import Any, Generic, TypeVar

from avro.catalogue import DELETE
from avro.rows import made_id, organization_in
from streams.contract import Contract, Refused
from streams.engine.table import Sender, TablePartition
from streams.state import contact
from streams.state.contact import NO_ADDRESS, NO_CONTACT, AddressRow, ContactRow
from streams.tables.links import (
    AddressFollowed,
    AddressTold,
    ContactFollowed,
    ContactTold,
    Link,
    encode_link,
)

#: A row as it is stored, without its followers; several of them have to fit into a conversation's.
FACTS_BYTES = 256 * 1024

Row = TypeVar("Row", bound=ContactRow | AddressRow)


def join_stored_contacts(key: bytes, a: bytes, b: bytes) -> bytes:
    """Return what two records of the changelog for the same key say together."""
    del key
    return contact.encode(contact.join_contact_rows(contact.decode_contact_row(a), contact.decode_contact_row(b)))


def join_stored_addresses(key: bytes, a: bytes, b: bytes) -> bytes:
    """Return what two records of the changelog for the same key say together."""
    del key
    return contact.encode(contact.join_address_rows(contact.decode_address_row(a), contact.decode_address_row(b)))


class _Followed(Generic[Row]):
    """One partition of a table whose rows are followed: a `streams.engine.table.Contents`.

    Rows have no state topic, so nothing but the links follows from them.
    """

    def __init__(
        self, rows: TablePartition, contract: Contract, sender: Sender, empty: Row, decode: Callable[[bytes], Row]
    ) -> None:
        self.partition = rows.number
        self.rows = rows
        self._sender = sender
        self._empty = empty
        self._decode = decode
        self._changed: dict[str, Row] = {}
        #: Rows whose followers have to be told.
        self._news: set[str] = set()
        self._contributions = contract.topic("streams-contributions")

    def row(self, key: str) -> Row:
        """Return what is known of a row, and who follows it."""
        changed = self._changed.get(key)
        if changed is not None:
            return changed
        stored = self.rows.get(key.encode())
        return self._empty if stored is None else self._decode(stored)

    def publish(self) -> None:
        """Tell the followers of the rows that have changed since the last call."""
        for key in self._news:
            self._tell(key, self.row(key))
        self._news.clear()

    def flush(self) -> int | None:
        """Write what has changed to the table; see Contents."""
        if self._changed:
            self.rows.mark()
        for key, row in self._changed.items():
            if row == self._empty:
                del self.rows[key.encode()]
            else:
                self.rows[key.encode()] = contact.encode(row)
        self._changed.clear()
        self.rows.flush()
        return None

    def rewrite(self, topic: str, key: bytes) -> None:
        """Write a row to the changelog once more, over what another worker wrote by mistake."""
        del topic
        self.rows.rewrite(key)

    def _tell(self, key: str, row: Row) -> None:
        raise NotImplementedError

    def _write(self, key: str, link: Link) -> None:
        self._sender.write(self._contributions, key.encode(), encode_link(link))


class ContactPartition(_Followed[ContactRow]):
    """One partition of the contact table."""

    def __init__(self, rows: TablePartition, contract: Contract, sender: Sender) -> None:
        """Take over a restored partition; `sender` writes what follows from its rows."""
        super().__init__(rows, contract, sender, ContactRow(), contact.decode_contact_row)

    def apply(self, event: dict[str, Any], *, organizations: Collection[str] | None = None) -> None:
        """Merge an event of a writer for some organizations (None: all). Raises Refused if it becomes too large."""
        key = event["id"]
        known = self.row(key)
        facts = contact.join_contacts(known.facts, contact.contact_facts(event, organizations))
        _check(key, facts)
        self._changed[key] = ContactRow(facts, known.followers)
        self._news.add(key)

    def forget(self, key: str) -> None:
        """Remove what was told of a contact; its addresses still follow it."""
        self._changed[key] = ContactRow(NO_CONTACT, self.row(key).followers)
        self._news.add(key)

    def follow(self, key: str, link: ContactFollowed) -> None:
        """Remember an address that is said to be of a contact, and tell it what is known of that."""
        known = self.row(key)
        followers = contact.join_followers(known.followers, {link.organization: [link.address]})
        self._changed[key] = ContactRow(known.facts, followers)
        if known.facts != NO_CONTACT and link.address in followers.get(link.organization, ()):
            self._write(link.address, ContactTold(key, known.facts))

    def _tell(self, key: str, row: ContactRow) -> None:
        link = ContactTold(key, None if row.facts == NO_CONTACT else row.facts)
        for address in contact.all_of(row.followers):
            self._write(address, link)


class AddressPartition(_Followed[AddressRow]):
    """One partition of the table of addresses."""

    def __init__(self, rows: TablePartition, contract: Contract, sender: Sender) -> None:
        """Take over a restored partition; `sender` writes what follows from its rows."""
        super().__init__(rows, contract, sender, AddressRow(), contact.decode_address_row)
        #: The organization of each address whose contact has to be followed.
        self._following: dict[str, str] = {}
        #: Addresses of which conversations know something that is known no more.
        self._forgotten: set[str] = set()

    def apply(self, event: dict[str, Any]) -> None:
        """Merge an event. Raises Refused if its id is not that of its address: its writer may not tell of that."""
        key = event["id"]
        if not _is_its_id(key, event):
            raise Refused("key_mismatch", "the row's id is not made of its organization, service and address")
        if not contact.is_key(key):
            raise Refused("too_large", f"the address's id exceeds {contact.KEY_BYTES} bytes")
        known = self.row(key)
        facts = contact.of_its_contact(contact.join_addresses(known.facts, contact.address_facts(event)))
        _check(key, facts)
        self._changed[key] = AddressRow(facts, known.followers)
        self._following[key] = event["organization_id"]
        self._news.add(key)

    def forget(self, key: str) -> None:
        """Remove what was told of an address; conversations still follow it."""
        self._changed[key] = AddressRow(NO_ADDRESS, self.row(key).followers)
        self._news.add(key)

    def follow(self, key: str, link: AddressFollowed) -> None:
        """Remember, or forget, a conversation that may have an address, and tell it what is known of that."""
        known = self.row(key)
        if link.age is None:
            followers = {name: age for name, age in known.followers.items() if name != link.conversation}
        else:
            followers = contact.join_address_rows(known, AddressRow(followers={link.conversation: link.age})).followers
        self._changed[key] = AddressRow(known.facts, followers)
        if known.facts != NO_ADDRESS and link.conversation in followers:
            self._write(link.conversation, AddressTold(key, known.facts))

    def hear(self, key: str, link: ContactTold) -> None:
        """Note what is known of a contact, if the address is of that contact."""
        known = self.row(key)
        if contact.contact_of(known.facts) != link.contact:
            return
        facts = contact.with_contact(known.facts, link.contact, link.facts)
        _check(key, facts)
        self._changed[key] = AddressRow(facts, known.followers)
        self._news.add(key)
        if link.facts is None:
            self._forgotten.add(key)

    def publish(self) -> None:
        """See Contents."""
        for key, organization in self._following.items():
            followed = contact.contact_of(self.row(key).facts)
            if followed is not None:
                self._write(followed, ContactFollowed(organization, key))
        self._following.clear()
        super().publish()
        self._forgotten.clear()

    def _tell(self, key: str, row: AddressRow) -> None:
        # Trap: conversations join what they are told, so that nothing leaves their facts but with all the rest.
        told = [None] if row.facts == NO_ADDRESS else [None, row.facts] if key in self._forgotten else [row.facts]
        for conversation in row.followers:
            for facts in told:
                self._write(conversation, AddressTold(key, facts))


def _is_its_id(key: str, event: dict[str, Any]) -> bool:
    organization, *others = named = [event[name] for name in ("organization_id", "service", "address")]
    if event["action"] == DELETE and not any(others):
        return organization is not None and organization_in(key) == organization
    return all(named) and made_id(*named) == key


def _check(key: str, facts: contact.ContactFacts | contact.AddressFacts) -> None:
    if not contact.is_key(key) or len(contact.encode(facts)) > FACTS_BYTES:
        raise Refused("too_large", f"the id exceeds {contact.KEY_BYTES} bytes, or the merged row {FACTS_BYTES}")
