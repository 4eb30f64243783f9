"""Whether a row exists: it can be deleted, and a message can be superseded by another with its external id.

Facts about that are only ever added, so the result does not depend on the order of arrival.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from openbsp.merge.deletion import is_certain, join_deletes
from openbsp.merge.registers import NEVER, UNFIT, Version, instant_of, join_each

#: The age of a message by which those with one external id are compared: `(keys ever named, stamp)`.
Age = Version


class Holder(NamedTuple):
    """A message that has had an external id: its age, when it was created, and whether it is deleted.

    `created_at` is the latest instant in any of its rows (NEVER: none has one). `deleted` is also true of a message
    that has left a deleted conversation, so for rows up to its age: a message created later with the same external id
    is another one. A stored holder of a former version has its age alone.
    """

    keys: int
    stamp: int
    created_at: int = NEVER
    deleted: bool = False

    @property
    def age(self) -> Age:
        """The age by which it is compared with others."""
        return self.keys, self.stamp

    @property
    def last_at(self) -> int:
        """The instant of its newest row; NEVER if that has none."""
        at = instant_of(self.stamp)
        return NEVER + 1 if at is None else at


#: Another holder, and whether it wins a tie: its id is the larger one.
Rival = tuple[Holder, bool]
#: Rivals of a message by their ids: all deleted ones, and as many others as are needed.
Rivals = dict[str, Rival]
#: The same by external id (the beginning of its key), as stored. A former version stored `(keys, stamp, wins)` of the
#: newest one, without its id.
StoredRivals = dict[str, Rivals] | tuple[int, int, bool]
#: In place of the external id, and the id, of that one.
_UNNAMED = ""

#: A holder that is too old to be remembered; it needs no further verdict.
FORGOTTEN = Holder(2**31, 0, 2**63 - 1, deleted=True)

#: At most so many holders of one external id are remembered, the newest ones.
HOLDERS_LIMIT = 64


#: `(keys, stamp, deletes)` of a conversation that rows placed a message in: the newest version of those rows, UNFIT if
#: there are none, and the organizations that the conversation's deletes name.
Stay = tuple[int, int, list[str | None]]


def join_stays(a: dict[str, Stay], b: dict[str, Stay]) -> dict[str, Stay]:
    """Return the newest version and all deletes of each conversation."""
    if not b or a == b:
        return a
    joined = dict(a)
    for name, stay in b.items():
        known = joined.get(name)
        joined[name] = stay if known is None else (*max(known[:2], stay[:2]), join_deletes(known[2], stay[2]))
    return joined


def cut_of(stays: Mapping[str, Stay], organizations: Sequence[str]) -> Version | None:
    """Return the version up to which a message's whole rows do not count, None if all do.

    That is the version of the newest row that placed the message in a now deleted conversation. Partial rows of such a
    message never count: they do not name its conversation.
    """
    newest: Version | None = None
    for keys, stamp, deletes in stays.values():
        if deletes and (version := (keys, stamp)) != UNFIT and is_certain(deletes, organizations):
            newest = version if newest is None else max(newest, version)
    return newest


def holder(
    age: Age,
    created_at: int | None,
    deletes: Sequence[str | None],
    stays: Mapping[str, Stay],
    organizations: Sequence[str],
) -> Holder:
    """Return the holder that a message with this age, deletes and stays in conversations is."""
    deleted = is_certain(deletes, organizations) or cut_of(stays, organizations) is not None
    return Holder(*age, NEVER if created_at is None else created_at, deleted)


def is_superseded(own: Holder, stored: StoredRivals | None) -> bool:
    """Return whether a message is not the newest of those with one of its external ids."""
    if stored is None:
        return False
    groups = _named(stored)
    unnamed = groups.get(_UNNAMED, {}).get(_UNNAMED)
    # Trap: it is one of the named rivals, unless it is newer than all of them: ages only grow.
    is_known = unnamed is not None and any(
        _rank(unnamed) <= _rank(rival) for key, rivals in groups.items() if key != _UNNAMED for rival in rivals.values()
    )
    return any(_is_beaten(own, rivals) for key, rivals in groups.items() if not (is_known and key == _UNNAMED))


def _is_beaten(own: Holder, rivals: Rivals) -> bool:
    began, *eras = eras_of([own, *(holder for holder, _ in rivals.values())])
    return any((era, *_rank(rival)) > (began, own.age, False) for era, rival in zip(eras, rivals.values(), strict=True))


def _rank(rival: Rival) -> tuple[Age, bool]:
    holder, wins = rival
    return holder.age, wins


def has_deleted(stored: StoredRivals | None) -> bool:
    """Return whether one of the rivals is deleted: a message that it superseded may exist again."""
    groups = stored.values() if isinstance(stored, dict) else ()
    return any(holder.deleted for rivals in groups for holder, _ in rivals.values())


def says_more(holder: Holder, known: Holder) -> bool:
    """Return whether a holder has news beyond what is known of it."""
    return _later(known, holder) != known


def eras_of(holders: Sequence[Holder]) -> list[int]:
    """Return since when each holder may have the external id: since the last of the others was deleted before it.

    Among those with the same era the newest is the message; those of an earlier one went with its message.
    """
    ends = [(place, holder.last_at) for place, holder in enumerate(holders) if holder.deleted]
    if not ends:
        return [NEVER] * len(holders)
    return [
        max((at for other, at in ends if other != place and at < holder.created_at), default=NEVER)
        for place, holder in enumerate(holders)
    ]


def _named(stored: StoredRivals) -> dict[str, Rivals]:
    if isinstance(stored, dict):
        return stored
    keys, stamp, wins = stored
    return {_UNNAMED: {_UNNAMED: (Holder(keys, stamp), wins)}}


def join_rivals(a: dict[str, StoredRivals], b: dict[str, StoredRivals]) -> dict[str, StoredRivals]:
    """Merge the known rivals in each organization; of too many, keep the newest ones."""
    return join_each(a, b, _join_stored)


def _join_stored(a: StoredRivals, b: StoredRivals) -> StoredRivals:
    return a if a == b else join_each(_named(a), _named(b), _join_rivals)


def _join_rivals(a: Rivals, b: Rivals) -> Rivals:
    joined = join_each(a, b, lambda x, y: (_later(x[0], y[0]), x[1] or y[1]))
    if len(joined) > HOLDERS_LIMIT:
        joined = dict(sorted(joined.items(), key=lambda item: (_rank(item[1]), item[0]), reverse=True)[:HOLDERS_LIMIT])
    return joined


def _later(a: Holder, b: Holder) -> Holder:
    return Holder(*max(a.age, b.age), max(a.created_at, b.created_at), a.deleted or b.deleted)


def join_holders(a: dict[str, Holder], b: dict[str, Holder]) -> dict[str, Holder]:
    """Merge the known holders of an external id; of too many, keep the newest ones."""
    joined = join_each(a, b, _later)
    if len(joined) > HOLDERS_LIMIT:
        joined = dict(sorted(joined.items(), key=lambda item: (item[1].age, item[0]), reverse=True)[:HOLDERS_LIMIT])
    return joined


def join_ages(a: Mapping[str, Age], b: Mapping[str, Age]) -> dict[str, Age]:
    """Return the newest age of each row."""
    joined = dict(a)
    for key, age in b.items():
        joined[key] = max(age, joined.get(key, age))
    return joined


def newest_first(ages: Mapping[str, Age]) -> list[tuple[str, Age]]:
    """Return rows with their ages, the newest first."""
    return sorted(ages.items(), key=lambda item: (item[1], item[0]), reverse=True)


class Verdict(NamedTuple):
    """What is sent to a holder of an external id: `rivals`, and its own data as far as known."""

    message_id: str
    rivals: Rivals
    known: Holder


def verdicts(holders: Mapping[str, Holder], message_id: str) -> list[Verdict]:
    """Return the verdicts to send after a message has reported itself: to it, the next older one, and the newest one.

    That suffices even if former verdicts are lost in a crash and only their cause is replayed: a message older than
    another gets a verdict again when that one, or one in between, reports its age again. The newest one learns of the
    second so that it reports every later change of its age, which a message without rivals need not do. A deletion
    changes which ones are older, so every verdict lists all deleted ones, and all holders get one.
    """
    eras = dict(zip(holders, eras_of(list(holders.values())), strict=True))
    order = sorted(holders, key=lambda key: (eras[key], holders[key].age, key))
    if message_id in holders and len(order) == 1:
        return []
    wanted = {message_id, order[-1]}
    if message_id in holders:
        place = order.index(message_id)
        wanted |= set(order) if holders[message_id].deleted else set(order[max(place - 1, 0) : place])
    deleted = {key for key in order if holders[key].deleted}
    told = []
    for key in sorted(wanted):
        newest = next(([other] for other in reversed(order) if other != key), [])
        rivals = {other: (holders[other], other > key) for other in sorted({*deleted, *newest}) if other != key}
        if rivals:
            told.append(Verdict(key, rivals, holders.get(key, FORGOTTEN)))
    return told
