"""Records of the topic between the two tables: what a message adds to a conversation."""

from msgspec import DecodeError, Struct, ValidationError, msgpack

from avro.instants import FIRST, LAST
from streams.contract import Refused
from streams.state.contribution import Contribution


class ContributionRecord(Struct, array_like=True):
    """A value of the contributions topic, keyed by conversation: what a message adds, or None when it is removed.

    `announce` are the status keys of which the conversation has to tell, `received_at` is when the bridge received the
    oldest of the events that this follows from (microseconds since the epoch; None: that is not measured).
    """

    message_id: str
    contribution: Contribution | None
    announce: list[str]
    received_at: int | None = None


encode_contribution = msgpack.Encoder().encode
_decode = msgpack.Decoder(ContributionRecord).decode


def decode_contribution(value: bytes) -> ContributionRecord:
    """Return a contribution record, read from its bytes. Raises Refused if it is none."""
    try:
        record = _decode(value)
    except (DecodeError, ValidationError) as error:
        raise Refused("undecodable", f"not a contribution: {error}") from None
    contribution = record.contribution
    # Trap: the empty member of a conversation's group is its row.
    if not record.message_id:
        raise Refused("undecodable", "not a contribution: no message has an empty id")
    if contribution is not None and not (_fits(contribution) and contribution.status.keys() >= set(record.announce)):
        raise Refused("undecodable", "not a contribution: values that no message has")
    return record


def _fits(contribution: Contribution) -> bool:
    for register in (
        contribution.conversation_id,
        contribution.organization_id,
        contribution.direction,
        contribution.timestamp,
        contribution.created_at,
    ):
        if register is not None:
            value = register[1]
            kind = type(value)
            if kind is int:
                if not FIRST <= value <= LAST:
                    return False
            elif value is not None and kind is not str and kind is not bytes:
                return False
    return all(FIRST <= at <= LAST for at in contribution.status.values())
