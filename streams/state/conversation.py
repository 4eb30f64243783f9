"""Conversations: the row's facts, the tally of its messages, and the ConversationState that follows from both.

The tally is derived: it is kept in memory only and made again from the contributions whenever a conversation comes
into use. `replace` keeps it exact as contributions change.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from msgspec import Struct, msgpack

from avro.catalogue import ENTITIES
from streams.state import contribution as contributions
from streams.state import status as statuses
from streams.state.contribution import Contribution
from streams.state.registers import NEVER, Register, newer, version_of

_NAMES = tuple(name for name in ENTITIES["conversations"].columns if name != "id")

SUMMARY_FIELDS = ("status", "service", "contact_address", "organization_address", "name")

CLOSED = "closed"

#: `(time, message id)`.
Position = tuple[int, str]


class ConversationFacts(Struct, array_like=True, frozen=True, gc=False):
    """All that is remembered of a conversation's row."""

    columns: dict[str, Register]


decode = msgpack.Decoder(ConversationFacts).decode
encode = msgpack.Encoder().encode


def facts_of(event: dict[str, Any]) -> ConversationFacts:
    """Return what one ConversationEvent says."""
    version = version_of(event)
    columns: dict[str, Register] = {}
    for name in _NAMES:
        value = event[name]
        if value is not None:
            columns[name] = (version, value)
    for name, text in event["extra"].items():
        # The text of an instant that has a field stands beside it.
        columns.setdefault(name, (version, text.encode()))
    for name in event["nulls"]:
        columns[name] = (version, None)
    return ConversationFacts(columns)


def join(a: ConversationFacts, b: ConversationFacts) -> ConversationFacts:
    """Return what both say together. Idempotent, commutative, associative."""
    columns = dict(a.columns)
    for name, register in b.columns.items():
        known = columns.get(name)
        columns[name] = register if known is None else newer(known, register)
    return ConversationFacts(columns)


class Tally:
    """What the messages of one conversation add up to."""

    __slots__ = (
        "first_incoming",
        "first_outgoing",
        "incoming",
        "internal",
        "last_incoming",
        "last_outgoing",
        "messages",
        "outgoing",
        "reply",
        "stale",
        "status_counts",
        "unread",
    )

    def __init__(self) -> None:
        """Start with no message."""
        self.messages = self.incoming = self.outgoing = self.internal = self.unread = 0
        self.status_counts: dict[str, int] = {}
        self.last_incoming: Position | None = None
        self.last_outgoing: Position | None = None
        #: The first ones that have a time.
        self.first_incoming: Position | None = None
        self.first_outgoing: Position | None = None
        #: The first outgoing one at or after the first incoming one.
        self.reply: Position | None = None
        #: An extreme has lost its message: only a new tally over all messages can tell the next one.
        self.stale = False

    @classmethod
    def of(cls, conversation_id: str, messages: Iterable[tuple[str, Contribution]]) -> "Tally":
        """Return the tally of all `(message id, contribution)`."""
        counting = Counting(conversation_id)
        for message_id, contribution in messages:
            counting.add(message_id, contribution)
        return counting.tally()

    def replace(
        self, conversation_id: str, message_id: str, old: Contribution | None, new: Contribution | None
    ) -> None:
        """Take the old contribution of a message out and the new one in; either may be None."""
        if old is not None and not contributions.belongs_to(old, conversation_id):
            old = None
        if new is not None and not contributions.belongs_to(new, conversation_id):
            new = None
        if old is not None:
            self._count(old, -1)
        if new is not None:
            self._count(new, 1)
        before = None if old is None else contributions.sort_key(message_id, old)
        if old is not None and new is not None and before is not None:
            same_place = before == contributions.sort_key(message_id, new) and contributions.text_of(
                old.direction
            ) == contributions.text_of(new.direction)
            if same_place:
                return
        extremes = (self.last_incoming, self.last_outgoing, self.first_incoming, self.first_outgoing, self.reply)
        if before is not None and before in extremes:
            self.stale = True
        elif new is not None:
            self._stretch(new, contributions.sort_key(message_id, new))

    def _count(self, contribution: Contribution, step: int) -> None:
        self.messages += step
        direction = contributions.text_of(contribution.direction)
        if direction == "incoming":
            self.incoming += step
            if "read" not in contribution.status:
                self.unread += step
        elif direction == "outgoing":
            self.outgoing += step
            status = statuses.delivery_status(contribution.status)
            if status is not None:
                count = self.status_counts.get(status, 0) + step
                if count:
                    self.status_counts[status] = count
                else:
                    del self.status_counts[status]
        elif direction == "internal":
            self.internal += step

    def _stretch(self, contribution: Contribution, position: Position) -> None:
        direction = contributions.text_of(contribution.direction)
        if direction == "incoming":
            if self.last_incoming is None or position > self.last_incoming:
                self.last_incoming = position
            first = self.first_incoming
            if position[0] != NEVER and (first is None or position < first):
                self.first_incoming = position
                if first is None or position[0] < first[0]:
                    self._begin_at(position[0])
        elif direction == "outgoing":
            if self.last_outgoing is None or position > self.last_outgoing:
                self.last_outgoing = position
            if position[0] != NEVER and (self.first_outgoing is None or position < self.first_outgoing):
                self.first_outgoing = position
            first = self.first_incoming
            if first is not None and position[0] >= first[0] and (self.reply is None or position < self.reply):
                self.reply = position

    def _begin_at(self, time: int) -> None:
        # An earlier beginning may make an earlier outgoing message the reply. Which one is known if all outgoing
        # messages are on one side of it.
        if self.first_outgoing is None or self.last_outgoing is None or self.last_outgoing[0] < time:
            self.reply = None
        elif self.first_outgoing[0] >= time:
            self.reply = self.first_outgoing
        else:
            self.stale = True

    @property
    def last_message(self) -> str | None:
        """Id of the newest incoming or outgoing message."""
        newest = max((last for last in (self.last_incoming, self.last_outgoing) if last is not None), default=None)
        return None if newest is None else newest[1]


class Counting:
    """The way to a tally: one message after the other, in any order."""

    def __init__(self, conversation_id: str) -> None:
        """Start with no message."""
        self._conversation_id = conversation_id
        self._tally = Tally()
        self._outgoing: list[Position] = []

    def add(self, message_id: str, contribution: Contribution) -> None:
        """Count a message, once each; those that have left the conversation do not count."""
        if contributions.belongs_to(contribution, self._conversation_id):
            position = contributions.sort_key(message_id, contribution)
            self._tally._count(contribution, 1)  # noqa: SLF001 two halves of one thing
            self._tally._stretch(contribution, position)  # noqa: SLF001
            if contributions.text_of(contribution.direction) == "outgoing":
                self._outgoing.append(position)

    def tally(self) -> Tally:
        """Return the tally of all that were added."""
        tally = self._tally
        tally.reply = None
        if tally.first_incoming is not None:
            first = tally.first_incoming[0]
            tally.reply = min((position for position in self._outgoing if position[0] >= first), default=None)
        tally.stale = False
        return tally


def state(
    conversation_id: str, facts: ConversationFacts | None, tally: Tally, last: Contribution | None
) -> dict[str, Any]:
    """Return the fields of the ConversationState that follows from the row, the tally and the last message's part.

    `last` is the contribution of `tally.last_message`; `facts` is None while only messages have been seen.
    """
    fields: dict[str, Any] = {"id": conversation_id}
    extra: dict[str, str] = {}
    nulls: list[str] = []
    if facts is not None:
        for name, (_, value) in facts.columns.items():
            if value is None:
                nulls.append(name)
            elif type(value) is bytes:
                extra[name] = value.decode()
            else:
                fields[name] = value
        nulls.sort()
    last_message = None
    if last is not None:
        kind_of, kind, preview = last.summary[1] if last.summary is not None else (None, None, None)
        last_message = {
            "message_id": tally.last_message,
            "direction": contributions.text_of(last.direction),
            "type": kind_of,
            "kind": kind,
            "preview": preview,
            "timestamp": contributions.time_of(last),
            "delivery_status": statuses.delivery_status(last.status),
        }
    first, reply = tally.first_incoming, tally.reply
    fields |= {
        "extra": extra,
        "nulls": nulls,
        "known": facts is not None,
        "message_count": tally.messages,
        "incoming_count": tally.incoming,
        "outgoing_count": tally.outgoing,
        "internal_count": tally.internal,
        "status_counts": dict(tally.status_counts),
        "unread_count": tally.unread,
        "last_message": last_message,
        "last_incoming_at": _time(tally.last_incoming),
        "last_outgoing_at": _time(tally.last_outgoing),
        "awaiting_reply": last_message is not None
        and last_message["direction"] == "incoming"
        and fields.get("status") != CLOSED,
        "first_response_seconds": None if first is None or reply is None else (reply[0] - first[0]) / 1_000_000,
    }
    return fields


class Standing(NamedTuple):
    """Of a ConversationState: what a conversation is found by, and when it was active last (None: unknown).

    `organization` is that of the row; None also while there is no row.
    """

    organization: str | None
    status: str | None
    service: str | None
    awaiting_reply: bool
    active_at: int | None


def standing(facts: ConversationFacts | None, tally: Tally) -> Standing:
    """Return the same as `state` would lead to, for a tenth of its cost."""
    get = facts.columns.get if facts is not None else _NO_COLUMNS.get
    status = contributions.text_of(get("status"))
    incoming, outgoing = tally.last_incoming, tally.last_outgoing
    waiting = incoming is not None and (outgoing is None or incoming > outgoing) and status != CLOSED
    moments = [_moment(get("created_at")), _moment(get("updated_at")), _time(incoming), _time(outgoing)]
    return Standing(
        contributions.text_of(get("organization_id")),
        status,
        contributions.text_of(get("service")),
        waiting,
        max((moment for moment in moments if moment is not None), default=None),
    )


_NO_COLUMNS: dict[str, Register] = {}


def _moment(register: Register | None) -> int | None:
    value = None if register is None else register[1]
    return value if type(value) is int else None


def _time(position: Position | None) -> int | None:
    return None if position is None or position[0] == NEVER else position[0]


def summary(facts: ConversationFacts | None) -> dict[str, str | None] | None:
    """Return what a StatusChange tells of its conversation, None while the row is unknown."""
    if facts is None:
        return None
    get = facts.columns.get
    return {name: contributions.text_of(get(name)) for name in SUMMARY_FIELDS}
