"""Rows that others follow: the addresses of a contact, and the conversations of an address."""

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

from openbsp.merge import claims, deletion
from openbsp.merge.contact import AddressRow, ContactRow, Followers, join_addresses, join_contacts, owner_of
from streams.state import existence

#: At most so many conversations follow an address, and so many addresses of an organization a contact.
FOLLOWERS_LIMIT = 64
#: So many more of either are stored until they are sent that nothing is known any more.
LEAVING_LIMIT = 64
#: Addresses of at most so many organizations may name a contact, as claims of so many writers are stored.
ORGANIZATIONS_LIMIT = claims.LIMIT

Row = TypeVar("Row", bound=ContactRow | AddressRow)


def join_followers(a: Followers, b: Followers) -> Followers:
    """Return the addresses that follow a contact, by their organization."""
    joined = dict(a)
    for organization, addresses in b.items():
        joined[organization] = deletion.join_names(joined.get(organization, []), addresses)
    return joined


def join_contact_rows(a: ContactRow, b: ContactRow) -> ContactRow:
    """Merge two rows. Idempotent, commutative, associative."""
    return ContactRow(join_contacts(a.facts, b.facts), join_followers(a.followers, b.followers))


def join_address_rows(a: AddressRow, b: AddressRow) -> AddressRow:
    """Merge two rows. Idempotent, commutative, associative."""
    return AddressRow(join_addresses(a.facts, b.facts), existence.join_ages(a.followers, b.followers))


class Followed(NamedTuple, Generic[Row]):
    """A row with followers.

    `dropped` are followers removed by a limit: the one just added, or asked to follow again, and all beyond
    LEAVING_LIMIT. `leaving` are those beyond the limit that are still in it, and have to be asked to follow again.
    """

    # Trap: dropped followers need an update, and a crash may keep the row and lose that. A record that names the
    # dropped one is replayed then; one that names another would find the row without it, and send it nothing.
    row: Row
    dropped: list[str]
    leaving: list[str]


def follow_contact(row: ContactRow, organization: str, address: str) -> Followed[ContactRow]:
    """Return the row of a contact that an address of an organization follows.

    Of too many organizations the contact's own comes first, then those that claim it: any writer can name the contact
    in addresses of its own, and must not crowd out the owner's.
    """
    joined = join_followers(row.followers, {organization: [address]})
    facts = row.facts
    owner = owner_of(facts)
    order = sorted(
        joined,
        key=lambda name: (name != owner, name not in facts.organizations and name not in facts.claims, name),
    )
    beyond = [
        one
        for place, name in enumerate(order)
        for one in joined[name][FOLLOWERS_LIMIT if place < ORGANIZATIONS_LIMIT else 0 :]
    ]
    dropped, leaving = _parted(beyond, address)
    kept = {name: [one for one in addresses if one not in dropped] for name, addresses in joined.items()}
    kept = {name: addresses for name, addresses in kept.items() if addresses}
    return Followed(ContactRow(facts, kept), dropped, leaving)


def follow_address(row: AddressRow, conversation: str, age: existence.Age) -> Followed[AddressRow]:
    """Return the row of an address that a conversation of that age follows. Of too many the newest are kept."""
    joined = existence.join_ages(row.followers, {conversation: age})
    beyond = [name for name, _ in existence.newest_first(joined)[FOLLOWERS_LIMIT:]]
    dropped, leaving = _parted(beyond, conversation)
    for name in dropped:
        del joined[name]
    return Followed(AddressRow(row.facts, joined), dropped, leaving)


def _parted(beyond: list[str], asker: str) -> tuple[list[str], list[str]]:
    """Return which followers beyond a limit are dropped now, and which stay until they follow again."""
    others = [one for one in beyond if one != asker]
    dropped = others[LEAVING_LIMIT:]
    if len(others) < len(beyond):
        dropped.append(asker)
    return dropped, others[:LEAVING_LIMIT]


def all_of(followers: Followers) -> Iterable[str]:
    """Yield all addresses that follow a contact."""
    return (address for addresses in followers.values() for address in addresses)
