"""Whether a row still is: it can be deleted, and a message can be superseded by another one with its external id.

What is known of that only grows, so it is the same in whatever order it is told.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streams.state.registers import UNFIT, Version

#: `(keys, stamp, wins ties)` of another message with the same external id.
Rival = tuple[int, int, bool]

#: The age of a message by which those with one external id are compared: `(keys ever named, stamp)`.
Age = Version

#: The age of a holder that is too old to be remembered; nothing has to be told of it again.
FORGOTTEN: Age = (2**31, 0)

#: So many organizations, and so many external ids, are remembered of one message; nobody has ever sent more than two.
NAMES_LIMIT = 8

#: So many holders of one external id are remembered, the newest ones.
HOLDERS_LIMIT = 64


def is_deleted(deletes: Sequence[str | None], organizations: Sequence[str]) -> bool:
    """Return whether one of the deletes is about a row: an organization cannot delete what is another's.

    `deletes` are the organizations that the deletes name (None: none), `organizations` those that the row ever named.
    """
    return bool(deletes) and (not organizations or is_certain(deletes, organizations))


def is_certain(deletes: Sequence[str | None], organizations: Sequence[str]) -> bool:
    """Return whether a row is deleted whatever else is told of it."""
    return bool(deletes) and (None in deletes or any(name in organizations for name in deletes))


#: `(keys, stamp, deletes)` of a conversation that a message was said to be in: the newest version of the rows that said
#: so, UNFIT if none did, and the organizations that its deletes name.
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
    """Return the version up to which nothing counts that whole rows of a message said, None if all of it does.

    That is the newest row which said that the message is in a conversation that is deleted now. Of such a message rows
    that hold only what changed never count: they do not say where it is.
    """
    newest: Version | None = None
    for keys, stamp, deletes in stays.values():
        if deletes and (version := (keys, stamp)) != UNFIT and is_certain(deletes, organizations):
            newest = version if newest is None else max(newest, version)
    return newest


def is_superseded(age: Age, rival: Rival | None) -> bool:
    """Return whether a message of that age is not the newest of those with its external id."""
    return rival is not None and rival > (*age, False)


def join_rivals(a: dict[str, Rival], b: dict[str, Rival]) -> dict[str, Rival]:
    """Return the newer one of each organization."""
    if not b or a == b:
        return a
    joined = dict(a)
    for name, rival in b.items():
        joined[name] = max(rival, joined.get(name, rival))
    return joined


def join_names(a: list[str], b: list[str], limit: int | None = None) -> list[str]:
    """Return the sorted union, the first ones of it."""
    if not b or a == b:
        return a
    return sorted({*a, *b})[:limit]


def join_deletes(a: list[str | None], b: list[str | None]) -> list[str | None]:
    """Return the sorted union, null first."""
    if not b or a == b:
        return a
    return sorted({*a, *b}, key=lambda name: (name is not None, name or ""))


def join_holders(a: Mapping[str, Age], b: Mapping[str, Age]) -> dict[str, Age]:
    """Return the newest age of each message that has had an external id; of too many, the newest ones."""
    joined = join_ages(a, b)
    return joined if len(joined) <= HOLDERS_LIMIT else dict(newest_first(joined)[:HOLDERS_LIMIT])


def join_ages(a: Mapping[str, Age], b: Mapping[str, Age]) -> dict[str, Age]:
    """Return the newest age of each row."""
    joined = dict(a)
    for key, age in b.items():
        joined[key] = max(age, joined.get(key, age))
    return joined


def newest_first(ages: Mapping[str, Age]) -> list[tuple[str, Age]]:
    """Return rows with their ages, the newest first."""
    return sorted(ages.items(), key=_newest, reverse=True)


class Verdict(NamedTuple):
    """What a holder of an external id has to hear: its newest `rival`, and how old it is itself as far as is known."""

    message_id: str
    rival: Rival
    known: Age


def verdicts(holders: Mapping[str, Age], message_id: str) -> list[Verdict]:
    """Return who has to hear what after a message told its age: it, the next older one, and the newest one.

    That is enough, even if what was said before is lost in a crash and only what caused it is said again: whoever was
    told that it is older than a message is told again when that message, or one in between, tells its age again. The
    newest one hears of the second: from then on it tells its age whenever that changes, which nobody needs of a
    message that is alone.
    """
    order = sorted(holders.items(), key=_newest)
    place = next((at for at, (holder, _) in enumerate(order) if holder == message_id), None)
    if len(order) <= 1 and place is not None:
        return []
    wanted = {message_id, order[-1][0]} | ({order[place - 1][0]} if place else set())
    newest, second = order[-1], order[-2] if len(order) > 1 else None
    told = []
    for holder in sorted(wanted):
        rival = second if holder == newest[0] else newest
        if rival is not None:
            told.append(Verdict(holder, (*rival[1], rival[0] > holder), holders.get(holder, FORGOTTEN)))
    return told


def _newest(holder: tuple[str, Age]) -> tuple[Age, str]:
    return holder[1], holder[0]
