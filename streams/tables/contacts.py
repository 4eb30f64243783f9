"""The tables of contacts and of their addresses: each merges its rows, and sends them to their followers."""

from collections.abc import Callable, Collection, Generator, Iterator
from typing import Any, Generic

from msgspec import structs

from avro.catalogue import DELETE
from avro.rows import made_id, organization_in
from openbsp.merge import contact
from openbsp.merge.contact import NO_ADDRESS, NO_CONTACT, AddressRow, ContactRow
from streams.contract import Contract, Refused
from streams.engine.table import Sender, TablePartition
from streams.state.followers import (
    Row,
    all_of,
    follow_address,
    follow_contact,
    join_address_rows,
    join_contact_rows,
)
from streams.tables.links import (
    LEFT,
    AddressFollowed,
    AddressUpdate,
    ContactFollowed,
    ContactUpdate,
    Link,
    Questions,
    encode_link,
    is_doubtful,
)

#: A stored row without its followers; several of them have to fit into a conversation's.
FACTS_BYTES = 256 * 1024


def join_stored_contacts(key: bytes, a: bytes, b: bytes) -> bytes:
    """Merge two changelog records of the same key."""
    del key
    return contact.encode(join_contact_rows(contact.decode_contact_row(a), contact.decode_contact_row(b)))


def join_stored_addresses(key: bytes, a: bytes, b: bytes) -> bytes:
    """Merge two changelog records of the same key."""
    del key
    return contact.encode(join_address_rows(contact.decode_address_row(a), contact.decode_address_row(b)))


class _Followed(Generic[Row]):
    """One partition of a table whose rows are followed: a `streams.engine.table.Contents`.

    Rows have no state topic: they affect nothing but their followers.
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
        #: Rows whose followers need an update.
        self._news: set[str] = set()
        #: Rows that followers know and that were removed.
        self._forgotten: set[str] = set()
        #: Rows, and followers of theirs beyond the limit that were asked to follow again.
        self._leaving: set[tuple[str, str]] = set()
        self._contributions = contract.topic("streams-contributions")

    def row(self, key: str) -> Row:
        """Return a row's facts, and its followers."""
        changed = self._changed.get(key)
        if changed is not None:
            return changed
        stored = self.rows.get(key.encode())
        return self._empty if stored is None else self._decode(stored)

    def publishing(self) -> Iterator[None]:
        """Update the followers of the rows that have changed since the last time; see Contents."""
        for key in self._news:
            row = self.row(key)
            known = row.facts != self._empty.facts
            # Trap: followers join facts, so facts are removed from them only all together.
            if key in self._forgotten or not known:
                self._update_followers(key, row, nothing=True)
            if known:
                self._update_followers(key, row)
            yield
        self._news.clear()
        self._forgotten.clear()

    def forget(self, key: str) -> None:
        """Remove a row's facts; its followers stay."""
        self._changed[key] = structs.replace(self._empty, followers=self.row(key).followers)
        self._news.add(key)
        self._forgotten.add(key)

    def flushing(self) -> Generator[None, None, int | None]:
        """Write what has changed to the table; see Contents."""
        if self._changed:
            self.rows.mark()
        for key, row in self._changed.items():
            if row == self._empty:
                del self.rows[key.encode()]
            else:
                self.rows[key.encode()] = contact.encode(row)
            yield
        self._changed.clear()
        yield from self.rows.flushing()
        return None

    def rewrite(self, topic: str, key: bytes) -> None:
        """Write a row to the changelog once more, over a foreign record."""
        del topic
        self.rows.rewrite(key)

    def _update_followers(self, key: str, row: Row, *, nothing: bool = False) -> None:
        """Send all followers of a row its facts, or that `nothing` is known any more."""
        raise NotImplementedError

    def _to_ask(self, key: str, follower: str, leaving: list[str]) -> list[str]:
        """Return the followers `leaving` a row, after one was added, that have to follow again. Each is asked once."""
        self._leaving.discard((key, follower))
        asked = [one for one in leaving if (key, one) not in self._leaving]
        self._leaving.update((key, one) for one in asked)
        return asked

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

    def follow(self, key: str, link: ContactFollowed) -> None:
        """Add an address as a follower of a contact, and send it the contact's facts, or that there are none.

        A follower that the limit drops is sent that nothing is known.
        """
        row, dropped, leaving = follow_contact(self.row(key), link.organization, link.address)
        self._changed[key] = row
        asked = set(self._to_ask(key, link.address, leaving))
        for organization, addresses in row.followers.items() if asked else ():
            for address in asked.intersection(addresses):
                self._write(key, ContactFollowed(organization, address))
        for address in dropped:
            self._write(address, ContactUpdate(key, None, link.question if address == link.address else None))
        if link.address not in dropped:
            # Trap: a former owner may have sent it facts and died, and all were removed before this is read again.
            facts = row.facts if row.facts != NO_CONTACT else None
            self._write(link.address, ContactUpdate(key, facts, link.question))

    def _update_followers(self, key: str, row: ContactRow, *, nothing: bool = False) -> None:
        link = ContactUpdate(key, None if nothing else row.facts)
        for address in all_of(row.followers):
            self._write(address, link)


class AddressPartition(_Followed[AddressRow]):
    """One partition of the table of addresses."""

    def __init__(self, rows: TablePartition, contract: Contract, sender: Sender) -> None:
        """Take over a restored partition; `sender` writes what follows from its rows."""
        super().__init__(rows, contract, sender, AddressRow(), contact.decode_address_row)
        #: The organization of each address that has to follow its contact.
        self._following: dict[str, str] = {}
        self._questions = Questions()

    def apply(self, event: dict[str, Any]) -> None:
        """Merge an event. Raises Refused if its id is not that of its address: its writer may not write that one."""
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

    def follow(self, key: str, link: AddressFollowed) -> None:
        """Add or remove a conversation as a follower, and send it the address's facts, or that there are none.

        A follower that the limit drops is sent that nothing is known.
        """
        known = self.row(key)
        if link.age is None:
            followers = {name: age for name, age in known.followers.items() if name != link.conversation}
            self._changed[key] = AddressRow(known.facts, followers)
            # Trap: a former owner may have said so, and the conversation may be back.
            self._write(link.conversation, AddressUpdate(key, None, LEFT))
            return
        row, dropped, leaving = follow_address(known, link.conversation, link.age)
        self._changed[key] = row
        for conversation in self._to_ask(key, link.conversation, leaving):
            self._write(key, AddressFollowed(conversation, row.followers[conversation]))
        for conversation in dropped:
            answers = link.question if conversation == link.conversation else None
            self._write(conversation, AddressUpdate(key, None, answers))
        if link.conversation not in dropped:
            # Trap: see ContactPartition.follow.
            facts = row.facts if row.facts != NO_ADDRESS else None
            self._write(link.conversation, AddressUpdate(key, facts, link.question))

    def apply_contact(self, key: str, link: ContactUpdate, number: int) -> None:
        """Store a contact's facts, if the address is of that contact.

        If the record takes something away that is known, the contact is asked first, with the record's `number`.
        """
        row = self.row(key)
        if contact.contact_of(row.facts) != link.contact:
            self._questions.forget(key, link.contact)
            return
        known = row.facts.contacts.get(link.contact)
        is_answer = self._questions.close(key, link)
        organization = organization_in(key)
        asks = not is_answer and is_doubtful(link, known) and self._questions.open(key, link.contact, number)
        if asks and organization is not None:
            self._write(link.contact, ContactFollowed(organization, key, number))
        # Trap: a worker may have dropped the facts and died before it told the followers.
        if link.facts is None and link.answers is None and self.rows.caught_up():
            return
        told = link.facts
        if not is_answer and known is not None:
            told = known if told is None else contact.join_contacts(known, told)
        facts = contact.with_contact(row.facts, link.contact, told)
        _check(key, facts)
        self._changed[key] = AddressRow(facts, row.followers)
        self._news.add(key)
        if link.facts is None or link.answers is not None:
            # Trap: the answer may have replaced what followers know, before a crash too.
            self._forgotten.add(key)

    def publishing(self) -> Iterator[None]:
        """See Contents."""
        for key, organization in self._following.items():
            followed = contact.contact_of(self.row(key).facts)
            if followed is not None:
                self._write(followed, ContactFollowed(organization, key))
            yield
        self._following.clear()
        yield from super().publishing()

    def _update_followers(self, key: str, row: AddressRow, *, nothing: bool = False) -> None:
        link = AddressUpdate(key, None if nothing else row.facts)
        for conversation in row.followers:
            self._write(conversation, link)


def _is_its_id(key: str, event: dict[str, Any]) -> bool:
    organization, *others = named = [event[name] for name in ("organization_id", "service", "address")]
    if event["action"] == DELETE and not any(others):
        return organization is not None and organization_in(key) == organization
    return all(named) and made_id(*named) == key


def _check(key: str, facts: contact.ContactFacts | contact.AddressFacts) -> None:
    if not contact.is_key(key) or len(contact.encode(facts)) > FACTS_BYTES:
        raise Refused("too_large", f"the id exceeds {contact.KEY_BYTES} bytes, or the merged row {FACTS_BYTES}")
