"""Records of the contributions topic between conversations, the addresses that they name, and the contacts of those.

A row that needs another partition's row follows it, and is sent its facts from then on, whenever they change. Both
records may be repeated at any time, also late by a former owner: a follower is stored once, facts are joined, and what
takes something away (no facts, no follower) leads to a question: the row is followed once more, with a number that the
answer has.
"""

from msgspec import DecodeError, Struct, ValidationError, msgpack

from openbsp.merge import claims
from openbsp.merge.contact import AddressFacts, ContactFacts, is_key
from openbsp.merge.registers import Registers
from streams.contract import Refused
from streams.state import existence


class AddressFollowed(Struct, array_like=True, tag=1):
    """Keyed by address: a conversation may have it. `age` None: it cannot have it any more."""

    conversation: str
    age: existence.Age | None
    question: int | None = None


class AddressUpdate(Struct, array_like=True, tag=2):
    """Keyed by conversation: the facts of an address that it may have; None: none any more.

    `answers` LEFT: the conversation follows it no more.
    """

    address: str
    facts: AddressFacts | None
    answers: int | None = None


class ContactFollowed(Struct, array_like=True, tag=3):
    """Keyed by contact: rows place an organization's address in it."""

    organization: str
    address: str
    question: int | None = None


class ContactUpdate(Struct, array_like=True, tag=4):
    """Keyed by address: the facts of its contact; None: none any more."""

    contact: str
    facts: ContactFacts | None
    answers: int | None = None


Link = AddressFollowed | AddressUpdate | ContactFollowed | ContactUpdate

encode_link = msgpack.Encoder().encode
_decode = msgpack.Decoder(Link).decode

_LAST_TAG = 4

#: Of `answers`: no question has this number.
LEFT = -1


class Questions:
    """What the rows of a partition have asked whom they follow: one question at a time.

    In memory only. Answers to questions of a former owner, or of this worker before it died, are asked again.
    """

    def __init__(self) -> None:
        """Start without any."""
        self._open: dict[tuple[str, str], int] = {}

    def close(self, follower: str, link: AddressUpdate | ContactUpdate) -> bool:
        """Return whether a record is the answer to an open question: then its facts replace the known ones."""
        ids = follower, link.address if isinstance(link, AddressUpdate) else link.contact
        if link.answers is None or self._open.get(ids) != link.answers:
            return False
        del self._open[ids]
        return True

    def open(self, follower: str, followed: str, number: int) -> bool:
        """Return whether to ask a question; not while another one is open, whose answer will say the same."""
        return self._open.setdefault((follower, followed), number) == number

    def forget(self, follower: str, followed: str) -> None:
        """Drop a question: the row does not follow the other one any more."""
        self._open.pop((follower, followed), None)


def is_doubtful(link: AddressUpdate | ContactUpdate, known: AddressFacts | ContactFacts | None) -> bool:
    """Return whether a record that answers no open question takes something of what is `known` away.

    A former owner can have said so, later than the new one has told facts.
    """
    return link.answers == LEFT or (known is not None and (link.facts is None or link.answers is not None))


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
