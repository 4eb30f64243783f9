"""Conversations: the row's facts, the tally of its messages, and the ConversationState derived from both.

The tally is derived: it is kept in memory only and rebuilt from the contributions whenever a conversation comes into
use. `replace` keeps it exact as contributions change.
"""

from collections.abc import Collection, Generator, Iterable
from functools import reduce
from typing import Any, NamedTuple

from msgspec import DecodeError, Struct, json, msgpack, structs

from avro import instants
from avro.columns import ENTITIES
from openbsp.merge import claims, contact, deletion, registers
from openbsp.merge.registers import NEVER, Register, Registers, fields_of, later, moment_of, stamp_of, text_of
from streams.state import contribution as contributions
from streams.state import existence, former
from streams.state.contribution import DAY_US, Contribution, Role
from streams.state.order import Order, Position

_NAMES = tuple(name for name in ENTITIES["conversations"].columns if name != "id")

SUMMARY_FIELDS = ("status", "service", "contact_address", "organization_address", "name")

CLOSED = "closed"
#: Services where a business may write freely for a day after the customer's last message.
_WINDOWED = ("whatsapp", "instagram")

#: Entries that are kept in order, at most: of a conversation, and of a partition. A message has up to two.
ORDERED = 50_000

#: The number with which stored facts begin; those of former versions are read by `streams.state.former`.
FORMAT = 3
#: Same members, without claims.
_UNCLAIMED = 2


class ConversationFacts(Struct, array_like=True, frozen=True, gc=False):
    """The facts of a conversation's row. `newest` is its newest version's stamp, None without a row.

    `contacts` are the facts of the addresses that it may have, by their ids; claims have none.
    """

    format: int = FORMAT
    columns: Registers = {}
    newest: int | None = None
    organizations: list[str] = []
    received_at: int | None = None
    deletes: list[str | None] = []
    claims: "dict[str, tuple[int | None, ConversationFacts]]" = {}
    contacts: dict[str, contact.AddressFacts] = {}


encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(ConversationFacts).decode


def decode(stored: bytes) -> ConversationFacts:
    """Return stored facts."""
    if stored[1] == FORMAT:
        return _decode(stored)
    if stored[1] == _UNCLAIMED:
        # Its writer was not stored, so it counts as trusted: no claim can change it.
        return structs.replace(_decode(stored), format=FORMAT)
    return ConversationFacts(**former.conversation(stored))


def members(facts: ConversationFacts) -> int:
    """Return the number of columns of facts, one for each writer: each of them costs time."""
    return len(facts.columns) + sum(members(told) for _, told in facts.claims.values())


def facts_of(event: dict[str, Any], organizations: Collection[str] | None = None) -> ConversationFacts:
    """Return the facts in one ConversationEvent of a writer for some organizations only (None: all)."""
    told = _told(event)
    if organizations is None:
        return told
    return ConversationFacts(claims=claims.claimed(event, told, organizations))


def _told(event: dict[str, Any]) -> ConversationFacts:
    organization = event["organization_id"]
    if event["action"] == "delete":
        return ConversationFacts(deletes=[organization])
    stamp = stamp_of(event)
    return ConversationFacts(
        columns=registers.columns_of(event, _NAMES, (0, stamp)),
        newest=stamp,
        organizations=[] if organization is None else [organization],
        received_at=event["received_at"],
    )


def join(a: ConversationFacts, b: ConversationFacts) -> ConversationFacts:
    """Merge two facts. Idempotent, commutative, associative."""
    return claims.join_facts(a, b, _join_unclaimed, _stripped)


def effective(facts: ConversationFacts, owner: str | None = None) -> ConversationFacts:
    """Return the facts that count if the conversation is that organization's, without claims.

    All functions but `join` and tallies take effective ones. Without an owner, the first to claim the id is it.
    """
    if not facts.claims:
        return facts
    if owner is None:
        owner = claims.owner(owner_of(facts), facts.claims)
    return reduce(_join_unclaimed, claims.of(facts.claims, owner), structs.replace(facts, claims={}))


def without_others(facts: ConversationFacts) -> ConversationFacts:
    """Return the facts without claims for others than the owner."""
    kept = claims.owned(facts.claims, claims.owner(owner_of(facts), facts.claims))
    return structs.replace(facts, claims=kept)


def _join_unclaimed(a: ConversationFacts, b: ConversationFacts) -> ConversationFacts:
    joined = ConversationFacts(
        columns=registers.join(a.columns, b.columns),
        newest=later(a.newest, b.newest),
        organizations=deletion.join_names(a.organizations, b.organizations, deletion.NAMES_LIMIT),
        received_at=later(a.received_at, b.received_at),
        deletes=deletion.join_deletes(a.deletes, b.deletes),
        contacts=contact.join_known(a.contacts, b.contacts),
    )
    return _stripped(joined) if deletion.is_certain(joined.deletes, joined.organizations) else joined


def _stripped(facts: ConversationFacts) -> ConversationFacts:
    """Return what must be remembered of a deleted row: no content."""
    return ConversationFacts(newest=facts.newest, organizations=facts.organizations, deletes=facts.deletes)


def addresses_of(facts: ConversationFacts | None) -> set[str]:
    """Return the ids of the addresses that the conversation may have, for each possible owner."""
    if facts is None:
        return set()
    trusted = structs.replace(facts, claims={}) if facts.claims else facts
    # Trap: a delete may apply to the row of one writer, and not to that of another.
    told = [trusted, *(effective(facts, owner) for owner in claims.different(facts.claims))]
    found = (contact.address_id(one.columns) for one in told if not is_deleted(one))
    return {address for address in found if address is not None}


def with_address(facts: ConversationFacts, address: str, told: contact.AddressFacts | None) -> ConversationFacts:
    """Return the facts with these of an address instead of others; None: it has none any more."""
    contacts = {name: one for name, one in facts.contacts.items() if name != address}
    return of_its_addresses(structs.replace(facts, contacts=contacts if told is None else contacts | {address: told}))


def of_its_addresses(facts: ConversationFacts) -> ConversationFacts:
    """Return the facts without those of addresses that the conversation cannot have."""
    possible = addresses_of(facts)
    kept = {name: contact.of_its_contact(one) for name, one in facts.contacts.items() if name in possible}
    return structs.replace(facts, contacts=kept)


def age_of(facts: ConversationFacts) -> existence.Age:
    """Return the age of a conversation, by which those with one address are compared."""
    rows = (facts, *(told for _, told in facts.claims.values()))
    return 0, max(moment_of(told.columns.get("created_at")) or 0 for told in rows)


def deletes_for(facts: ConversationFacts, part: Contribution) -> list[str | None]:
    """Return the deletes to send to a message that is or was in the conversation. Neither is effective.

    A writer that may write for some organizations only deletes no message that does not name one of those.
    """
    if not facts.claims:
        return facts.deletes
    # Trap: a partial update is a claim as well, and names no organization. While the message's organization is unknown,
    # any delete that reaches it counts.
    named = {*part.organizations, *(name for _, told in part.claims.values() for name in told.organizations)}
    claimed: list[str | None] = [name for _, told in facts.claims.values() for name in told.deletes if name in named]
    return deletion.join_deletes(facts.deletes, claimed)


def is_known(facts: ConversationFacts | None) -> bool:
    """Return whether a row has arrived."""
    return facts is not None and facts.newest is not None


def has_deletes(facts: ConversationFacts) -> bool:
    """Return whether anybody has deleted the conversation, effectively or not. Not of effective facts."""
    return bool(facts.deletes) or any(told.deletes for _, told in facts.claims.values())


def is_deleted(facts: ConversationFacts | None) -> bool:
    """Return whether the conversation is deleted, and all its messages with it."""
    return facts is not None and deletion.is_deleted(facts.deletes, facts.organizations)


def exists(facts: ConversationFacts | None, tally: "Tally") -> bool:
    """Return whether there is something to show: a row, or messages while there is none, unless it is deleted."""
    if not tally.known and facts is not None:
        # While no row names the organization, its messages do: another organization cannot hide them. A message that
        # names none now may have named one; the message itself knows whether a delete applies to it.
        owner = tally.owner
        return tally.newest is not None and (owner is None or not deletion.is_deleted(facts.deletes, [owner]))
    return (tally.known or tally.newest is not None) and not is_deleted(facts)


def owner_of(facts: ConversationFacts | None) -> str | None:
    """Return the organization that the row names."""
    return None if facts is None else text_of(facts.columns.get("organization_id"))


class Tally:
    """The aggregates of one conversation's messages.

    Messages that name another organization than the conversation's do not count. That is the one that trusted writers
    name in its row; while they name none, the one of the newest message whose organization trusted writers name, else
    the first to claim the conversation or a message in it. `told` are all facts of its row.
    """

    __slots__ = (
        "active_at",
        "borrowed",
        "claim",
        "failed",
        "first_incoming",
        "first_outgoing",
        "first_unanswered",
        "follows",
        "incoming",
        "internal",
        "known",
        "last_incoming",
        "last_outgoing",
        "last_shown",
        "messages",
        "newest",
        "order",
        "outgoing",
        "owner",
        "recounted",
        "reply",
        "row_claim",
        "scheduled",
        "stale",
        "status_counts",
        "told",
        "trusted",
        "unanswered",
        "unread",
    )

    def __init__(self, told: ConversationFacts | None = None) -> None:
        """Start with no message of a conversation with these facts of its row."""
        self.told = told
        #: Whether the organization is taken from messages and claims of the row, and the first of these claims.
        self.follows = owner_of(told) is None
        self.row_claim = None if told is None else claims.first(told.claims)
        #: The newest message whose organization trusted writers name, with that; the first claim of all others.
        self.trusted: tuple[Position, str] | None = None
        self.claim: tuple[int, str] | None = None
        self.owner = self._decided()
        self.known = is_known(self.facts)
        self.messages = self.incoming = self.outgoing = self.internal = self.unread = 0
        self.scheduled = self.failed = self.unanswered = 0
        self.status_counts: dict[str, int] = {}
        #: The newest message that counts while that matters, and what the conversation takes from it.
        self.newest: Position | None = None
        self.borrowed: dict[str, str | None] = {}
        #: The last one that may be shown as the last.
        self.last_shown: Position | None = None
        #: From here on, only messages that count as spoken.
        self.last_incoming: Position | None = None
        self.last_outgoing: Position | None = None
        #: The first incoming one after the last outgoing one.
        self.first_unanswered: Position | None = None
        #: The first ones that have a time.
        self.first_incoming: Position | None = None
        self.first_outgoing: Position | None = None
        #: The first outgoing one at or after the first incoming one.
        self.reply: Position | None = None
        self.active_at: int | None = None
        #: All of these messages in order, from which the above follows; None: it has to be counted again at times.
        self.order: Order | None = None
        #: Whether it was counted again while it was in use.
        self.recounted = False
        #: Uncounted messages matter now: only a new tally over all messages is right.
        self.stale = False

    @classmethod
    def of(
        cls,
        conversation_id: str,
        messages: Iterable[tuple[str, Contribution]],
        told: ConversationFacts | None = None,
        *,
        ordered: bool = False,
    ) -> "Tally":
        """Return the tally of all `(message id, contribution)` of a conversation with these facts of its row."""
        counting = Counting(conversation_id)
        for message_id, contribution in messages:
            counting.add(message_id, contribution)
        return counting.tally(told, ordered=ordered)

    @property
    def facts(self) -> ConversationFacts | None:
        """The facts of the row that count."""
        return None if self.told is None else effective(self.told, self.owner)

    def row_changed(self, told: ConversationFacts | None) -> None:
        """Set more facts of the conversation's row."""
        self.told = told
        owner = owner_of(told)
        self.row_claim = None if told is None else claims.first(told.claims)
        if owner is None:
            self.stale |= not self.follows
            self._follow_owner()
        else:
            # Trap: messages of other organizations than the former owner are not counted.
            self.stale |= owner != self.owner and (
                self.messages > 0 or self.newest is not None or self.owner is not None
            )
            self.owner, self.follows, self.newest, self.borrowed = owner, False, None, {}
            self.trusted = self.claim = None
        self.known = is_known(self.facts)

    def _decided(self) -> str | None:
        """Return the conversation's organization."""
        if not self.follows:
            return owner_of(self.told)
        if self.trusted is not None:
            return self.trusted[1]
        first = min((one for one in (self.claim, self.row_claim) if one is not None), default=None)
        return None if first is None else first[1]

    def _follow_owner(self) -> None:
        owner = self._decided()
        if owner != self.owner:
            self.stale |= self.messages > 0 or self.newest is not None or self.owner is not None
            self.owner = owner
            self.known = is_known(self.facts)

    def replace(
        self, conversation_id: str, message_id: str, old: Contribution | None, new: Contribution | None
    ) -> None:
        """Take the old contribution of a message out and the new one in; either may be None."""
        if self.stale:
            return
        if old is not None and not contributions.belongs_to(old, conversation_id):
            old = None
        if new is not None and not contributions.belongs_to(new, conversation_id):
            new = None
        if self.follows:
            self._follow(message_id, old, new)
        before = (
            None if old is None or not contributions.is_of(old, self.owner) else contributions.role_of(message_id, old)
        )
        after = (
            None if new is None or not contributions.is_of(new, self.owner) else contributions.role_of(message_id, new)
        )
        if before is not None:
            self._count(before, -1)
        if after is not None:
            self._count(after, 1)
        if before is not None and after is not None and (before[:2], before[3:]) == (after[:2], after[3:]):
            return
        self._move(before, after)

    def _follow(self, message_id: str, old: Contribution | None, new: Contribution | None) -> None:
        position = None if new is None else contributions.sort_key(message_id, new)
        was = None if old is None else contributions.sort_key(message_id, old)
        self._decide(old, was, new, position)
        if was is not None and was == self.newest and position != was:
            self.stale = True
        elif (
            new is not None
            and position is not None
            and contributions.is_of(new, self.owner)
            and (self.newest is None or position >= self.newest)
        ):
            self.newest, self.borrowed = position, contributions.borrowed_of(new)

    def _decide(
        self, old: Contribution | None, was: Position | None, new: Contribution | None, position: Position | None
    ) -> None:
        """Find the conversation's organization after a message has changed; stale if only all messages determine it."""
        claim_before, claim = _claim_of(old), _claim_of(new)
        trusted_before, trusted = _trusted_of(old, was), _trusted_of(new, position)
        if (trusted_before is not None and trusted_before == self.trusted and trusted != trusted_before) or (
            claim_before is not None and claim_before == self.claim and claim != claim_before
        ):
            self.stale = True
            return
        if claim is not None and (self.claim is None or claim <= self.claim):
            self.claim = claim
        if trusted is not None and (self.trusted is None or trusted[0] >= self.trusted[0]):
            self.trusted = trusted
        self._follow_owner()

    def _count(self, role: Role, step: int) -> None:
        self.messages += step
        self.scheduled += step * role.scheduled
        if role.direction == "incoming":
            self.incoming += step
            self.unread += step * role.unread
        elif role.direction == "outgoing":
            self.outgoing += step
            self.failed += step * (role.delivery_status == "failed")
            status = role.delivery_status or "none"
            count = self.status_counts.get(status, 0) + step
            if count:
                self.status_counts[status] = count
            else:
                del self.status_counts[status]
        elif role.direction == "internal":
            self.internal += step

    def _move(self, before: Role | None, after: Role | None) -> None:
        if self.order is not None:
            self._reorder(self.order, before, after)
            return
        if before is not None:
            self._leave(before, after)
        if after is not None:
            self._stretch(before, after)

    def _reorder(self, order: Order, before: Role | None, after: Role | None) -> None:
        if before is not None:
            order.remove(before)
        if after is not None:
            order.add(after)
        self.last_shown, self.active_at = _last(order.shown), _last(order.active_at)
        self.last_incoming, self.last_outgoing = _last(order.incoming), _last(order.outgoing)
        self.unanswered, self.first_unanswered = order.unanswered()
        self.first_incoming, self.first_outgoing = order.first_incoming(), order.first_outgoing()
        self.reply = order.reply(self.first_incoming)
        if len(order) > ORDERED:
            self.order = None

    def _leave(self, before: Role, after: Role | None) -> None:
        """Subtract what the message no longer is; stale if something depends on it."""
        stays = after is not None and after[:2] == before[:2]
        if before.shown and before.position == self.last_shown and not (stays and after is not None and after.shown):
            self.stale = True
        if not before.said:
            return
        held = before.active_at is not None and before.active_at == self.active_at
        if stays and after is not None and after.said:
            self.stale |= held and later(before.active_at, after.active_at) != after.active_at
            return
        extremes = (
            self.last_incoming,
            self.last_outgoing,
            self.first_incoming,
            self.first_outgoing,
            self.first_unanswered,
            self.reply,
        )
        if held or before.position in extremes:
            self.stale = True
        elif before.direction == "incoming" and self._is_unanswered(before.position):
            self.unanswered -= 1

    def _is_unanswered(self, position: Position) -> bool:
        return self.last_outgoing is None or position > self.last_outgoing

    def _stretch(self, before: Role | None, after: Role) -> None:
        position = after.position
        if after.shown and (self.last_shown is None or position > self.last_shown):
            self.last_shown = position
        if not after.said:
            return
        if after.active_at is not None and (self.active_at is None or after.active_at > self.active_at):
            self.active_at = after.active_at
        if before is not None and before.said and before[:2] == after[:2]:
            return
        if after.direction == "incoming":
            self._stretch_incoming(position)
        else:
            self._stretch_outgoing(position)

    def _stretch_incoming(self, position: Position) -> None:
        if self._is_unanswered(position):
            self.unanswered += 1
            if self.first_unanswered is None or position < self.first_unanswered:
                self.first_unanswered = position
        if self.last_incoming is None or position > self.last_incoming:
            self.last_incoming = position
        first = self.first_incoming
        if position[0] != NEVER and (first is None or position < first):
            self.first_incoming = position
            if first is None or position[0] < first[0]:
                self._begin_at(position[0])

    def _stretch_outgoing(self, position: Position) -> None:
        if self.last_outgoing is None or position > self.last_outgoing:
            self.last_outgoing = position
            if self.last_incoming is None or position > self.last_incoming:
                self.unanswered, self.first_unanswered = 0, None
            elif self.first_unanswered is None or position > self.first_unanswered:
                # It answers some of those that wait, not all.
                self.stale = True
        if position[0] != NEVER and (self.first_outgoing is None or position < self.first_outgoing):
            self.first_outgoing = position
        first = self.first_incoming
        if first is not None and position[0] >= first[0] and (self.reply is None or position < self.reply):
            self.reply = position

    def _begin_at(self, time: int) -> None:
        # An earlier start may make an earlier outgoing message the reply. Which one is known if all outgoing messages
        # are on one side of it.
        if self.first_outgoing is None or self.last_outgoing is None or self.last_outgoing[0] < time:
            self.reply = None
        elif self.first_outgoing[0] >= time:
            self.reply = self.first_outgoing
        else:
            self.stale = True

    @property
    def empty(self) -> bool:
        """Whether no message is in the conversation, of no organization."""
        return self.messages == 0 and self.newest is None and not self.stale

    @property
    def last_message(self) -> str | None:
        """Id of the newest message that may be shown as the last."""
        return None if self.last_shown is None else self.last_shown[1]

    @property
    def last_said_at(self) -> int | None:
        """When the last spoken message was said."""
        times = [last[0] for last in (self.last_incoming, self.last_outgoing) if last is not None and last[0] != NEVER]
        return max(times, default=None)


def _last(values: Any) -> Any:
    return values[-1] if values else None


def _claim_of(part: Contribution | None) -> tuple[int, str] | None:
    """Return since when a message is in the conversation, and its organization; None if trusted writers name that."""
    return None if part is None else part.claimed


def _trusted_of(part: Contribution | None, position: Position | None) -> tuple[Position, str] | None:
    """Return the position and organization of a message whose organization trusted writers name."""
    if part is None or position is None or part.claimed is not None:
        return None
    organization = contributions.organization_of(part)
    return None if organization is None else (position, organization)


#: Messages that are counted in one step.
_ROLES = 1_000


class Counting:
    """Builds a tally: one message after the other, in any order."""

    def __init__(self, conversation_id: str) -> None:
        """Start with no message."""
        self._conversation_id = conversation_id
        #: Roles by the organization that the message names, and the newest message of each.
        self._roles: dict[str | None, list[Role]] = {}
        self._newest: dict[str | None, tuple[Position, Contribution]] = {}
        self._trusted: tuple[Position, str] | None = None
        self._claim: tuple[int, str] | None = None

    def add(self, message_id: str, contribution: Contribution) -> None:
        """Count a message, once each; those that have left the conversation do not count."""
        if not contributions.belongs_to(contribution, self._conversation_id):
            return
        role = contributions.role_of(message_id, contribution)
        organization = contributions.organization_of(contribution)
        self._roles.setdefault(organization, []).append(role)
        newest = self._newest.get(organization)
        if newest is None or role.position > newest[0]:
            self._newest[organization] = role.position, contribution
        claim, trusted = _claim_of(contribution), _trusted_of(contribution, role.position)
        if claim is not None:
            self._claim = claim if self._claim is None else min(self._claim, claim)
        if trusted is not None and (self._trusted is None or trusted[0] > self._trusted[0]):
            self._trusted = trusted

    def tally(self, told: ConversationFacts | None = None, *, ordered: bool = False) -> Tally:
        """Return the tally of all added messages, of a conversation with these facts of its row."""
        steps = self.tallying(told, ordered=ordered)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found: Tally = end.value
                return found

    def tallying(self, told: ConversationFacts | None = None, *, ordered: bool = False) -> Generator[None, None, Tally]:
        """Return the same, in steps."""
        tally = Tally(told)
        if tally.follows:
            tally.claim, tally.trusted = self._claim, self._trusted
            tally._follow_owner()  # noqa: SLF001 two halves of one thing
        wanted = self._roles.keys() if tally.owner is None else {None, tally.owner}
        if tally.follows and (found := [self._newest[name] for name in wanted if name in self._newest]):
            newest = max(found, key=lambda one: one[0])
            tally.newest, tally.borrowed = newest[0], contributions.borrowed_of(newest[1])
        roles = [role for organization in wanted for role in self._roles.get(organization, ())]
        replies = [role.position for role in roles if role.said and role.direction == "outgoing"]
        tally.last_outgoing = max(replies, default=None)
        order = Order() if ordered and len(roles) <= ORDERED else None
        for count, role in enumerate(roles, 1):
            tally._count(role, 1)  # noqa: SLF001
            tally._stretch(None, role)  # noqa: SLF001
            if order is not None:
                order.add(role)
            if count % _ROLES == 0:
                yield
        tally.reply = None
        if tally.first_incoming is not None:
            first = tally.first_incoming[0]
            tally.reply = min((position for position in replies if position[0] >= first), default=None)
        tally.order = order
        tally.stale = False
        return tally


def state(
    conversation_id: str, facts: ConversationFacts | None, tally: Tally, last: Contribution | None
) -> dict[str, Any]:
    """Return the fields of the ConversationState derived from the row, the tally and the last message's part.

    `last` is the contribution of `tally.last_message`; `facts` is None while only messages have arrived.
    """
    columns: Registers = {} if facts is None else facts.columns
    fields, extra, nulls = fields_of(columns)
    if not tally.known:
        fields |= {name: text for name, text in tally.borrowed.items() if text is not None}
    last_message = None
    if last is not None:
        kind_of, kind, preview = contributions.summary_of(last)
        last_message = {
            "message_id": tally.last_message,
            "direction": contributions.direction_of(last),
            "type": kind_of,
            "kind": kind,
            "preview": preview,
            "timestamp": contributions.time_of(last),
            "delivery_status": contributions.delivery_status_of(last),
        }
    first, reply = tally.first_incoming, tally.reply
    stands = standing(facts, tally)
    last_incoming_at = _time(tally.last_incoming)
    windowed = last_incoming_at is not None and fields.get("service") in _WINDOWED
    fields |= {
        "id": conversation_id,
        "extra": extra,
        "nulls": nulls,
        "known": tally.known,
        "message_count": tally.messages,
        "incoming_count": tally.incoming,
        "outgoing_count": tally.outgoing,
        "internal_count": tally.internal,
        "status_counts": dict(tally.status_counts),
        "unread_count": tally.unread,
        "last_message": last_message,
        "first_incoming_at": _time(first),
        "last_incoming_at": last_incoming_at,
        "last_outgoing_at": _time(tally.last_outgoing),
        "awaiting_reply": stands.awaiting_reply,
        "unanswered_count": tally.unanswered,
        "first_response_seconds": None if first is None or reply is None else (reply[0] - first[0]) / 1_000_000,
        # Trap: a day after the year 9999 could not be read by clients in Python or Java, or be shown by a view.
        "reply_window_until": min(last_incoming_at + DAY_US, instants.LAST)
        if windowed and last_incoming_at is not None
        else None,
        "archived": stands.archived,
        "scheduled_count": tally.scheduled,
        "failed_count": tally.failed,
        "active_at": stands.active_at,
        "contact": None if facts is None or not facts.contacts else _contact_of(facts),
    }
    return fields


def _contact_of(facts: ConversationFacts) -> dict[str, str | None] | None:
    address = contact.address_id(facts.columns)
    if address is None:
        return None
    organization, at = (text_of(facts.columns.get(name)) for name in ("organization_id", "contact_address"))
    return contact.shown(facts.contacts.get(address), str(organization), str(at))


class Standing(NamedTuple):
    """Of a ConversationState: its facets, and its last activity (None: unknown).

    `organization` is that of its row, else of its newest message, as `service` and `contact_address` are without a row.
    `unread`, `unanswered` and `failed`: whether there is such a message.
    """

    organization: str | None
    status: str | None
    service: str | None
    contact_address: str | None
    awaiting_reply: bool
    unread: bool
    unanswered: bool
    failed: bool
    archived: bool
    known: bool
    active_at: int | None


def standing(facts: ConversationFacts | None, tally: Tally) -> Standing:
    """Return the same as `state` would lead to, for a tenth of its cost."""
    get = facts.columns.get if facts is not None else _NO_COLUMNS.get
    status = text_of(get("status"))
    archived = _is_archived(get("extra"), tally.last_said_at)
    created_at = contributions.capped(moment_of(get("created_at")), None if facts is None else facts.received_at)
    return Standing(
        tally.owner,
        status,
        text_of(get("service")) if tally.known else tally.borrowed.get("service"),
        text_of(get("contact_address")) if tally.known else tally.borrowed.get("contact_address"),
        tally.unanswered > 0 and status != CLOSED and not archived,
        tally.unread > 0,
        tally.unanswered > 0,
        tally.failed > 0,
        archived,
        tally.known,
        later(created_at, tally.active_at),
    )


_NO_COLUMNS: Registers = {}


class _Extra(Struct):
    archived: Any = None


_decode_extra = json.Decoder(_Extra).decode


def _is_archived(extra: Register | None, last_said_at: int | None) -> bool:
    """Return whether the conversation was archived after its last spoken message."""
    if extra is None or type(extra[2]) is not bytes or b"archived" not in extra[2]:
        return False
    try:
        text = _decode_extra(extra[2]).archived
    except (DecodeError, RecursionError):
        return False
    at = instants.parse(text) if type(text) is str else None
    return at is not None and (last_said_at is None or at >= last_said_at)


def _time(position: Position | None) -> int | None:
    return None if position is None or position[0] == NEVER else position[0]


def summary(facts: ConversationFacts | None) -> dict[str, str | None] | None:
    """Return a StatusChange's data about its conversation, None while the row is unknown."""
    if facts is None or facts.newest is None:
        return None
    return {name: text_of(facts.columns.get(name)) for name in SUMMARY_FIELDS}


def tells(facts: ConversationFacts | None, part: Contribution) -> bool:
    """Return whether a message's status changes may show the conversation's data: not if its owner is another one."""
    return contributions.is_of(part, owner_of(facts))
