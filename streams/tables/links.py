"""Records of the contributions topic between conversations, the addresses that they name, and the contacts of those.

A row that needs another partition's row follows it, and is sent its facts from then on, whenever they change. Both
records may be repeated at any time: a follower is stored once, and facts are joined.
"""

from msgspec import DecodeError, Struct, ValidationError, msgpack

from streams.contract import Refused
from streams.state import claims, existence
from streams.state.contact import AddressFacts, ContactFacts, is_key
from streams.state.registers import Registers


class AddressFollowed(Struct, array_like=True, tag=1):
    """Keyed by address: a conversation may have it. `age` None: the conversation is removed."""

    conversation: str
    age: existence.Age | None


class AddressUpdate(Struct, array_like=True, tag=2):
    """Keyed by conversation: the facts of an address that it may have; None: none any more."""

    address: str
    facts: AddressFacts | None


class ContactFollowed(Struct, array_like=True, tag=3):
    """Keyed by contact: rows place an organization's address in it."""

    organization: str
    address: str


class ContactUpdate(Struct, array_like=True, tag=4):
    """Keyed by address: the facts of its contact; None: none any more."""

    contact: str
    facts: ContactFacts | None


Link = AddressFollowed | AddressUpdate | ContactFollowed | ContactUpdate

encode_link = msgpack.Encoder().encode
_decode = msgpack.Decoder(Link).decode

_LAST_TAG = 4


def is_link(value: bytes) -> bool:
    """Return whether a record of the contributions topic is one of these: all others begin with a text."""
    return len(value) > 1 and value[1] <= _LAST_TAG


def decode_link(value: bytes) -> Link:
    """Return a record, read from its bytes. Raises Refused if it is none."""
    try:
        link: Link = _decode(value)
    except (DecodeError, ValidationError) as error:
        raise Refused("undecodable", f"not a link: {error}") from None
    if not _fits(link):
        raise Refused("undecodable", "not a link: values that no row has")
    return link


def _fits(link: Link) -> bool:
    match link:
        case AddressFollowed():
            return is_key(link.conversation)
        case ContactFollowed():
            return is_key(link.address)
        case AddressUpdate():
            return is_key(link.address) and (link.facts is None or _fits_address(link.facts))
        case ContactUpdate():
            return is_key(link.contact) and (link.facts is None or _fits_contact(link.facts))


def _fits_address(facts: AddressFacts) -> bool:
    return _are_texts(facts.columns) and all(map(_fits_contact, facts.contacts.values()))


def _fits_contact(facts: ContactFacts) -> bool:
    claimed = [told for _, told in facts.claims.values()]
    return (
        len(claimed) <= claims.LIMIT
        and not any(told.claims for told in claimed)
        and all(_are_texts(told.columns) for told in (facts, *claimed))
    )


def _are_texts(columns: Registers) -> bool:
    return all(value is None or type(value) is str for _, _, value in columns.values())
