"""The status of a message: a register for each key. A key is present as long as its value is not null."""

from collections.abc import Iterable, Mapping
from typing import Any

from openbsp.merge.registers import Registers, Version, instant_of, moment_of

#: Delivery statuses, lowest first. Other keys (typing, edited, ...) are not about delivery.
RANKS: Mapping[str, int] = {
    status: rank
    for rank, status in enumerate(
        ("pending", "held_for_quality_assessment", "accepted", "sent", "failed", "delivered", "read", "deleted")
    )
}
#: Stands alone when a media download failed.
ERROR = "error"
#: Not a status but a list of errors.
ERRORS = "errors"
#: Keys whose status changes include the errors.
FAILURES = frozenset(("failed", ERROR))
#: Keys that OpenBSP writes, in the order in which they are announced if there are too many.
DOCUMENTED: Mapping[str, int] = {
    status: place for place, status in enumerate((*RANKS, ERROR, "typing", "edited", "preprocessing", "preprocessed"))
}
#: At most so many keys of one row give status changes; the others are data.
ANNOUNCED_PER_ROW = 64

_RANKS = {**RANKS, ERROR: RANKS["failed"]}

#: Key to the instant at which it was reached, only keys that are present.
Moments = dict[str, int | None]


def registers_of(event: dict[str, Any], version: Version) -> Registers:
    """Return the registers of a MessageEvent's status."""
    keys, stamp = version
    found: Registers = {key: (keys, stamp, at) for key, at in (event["status"] or {}).items()}
    for key, text in (event["status_extra"] or {}).items():
        at = found.get(key)
        value = None if text == "null" else text.encode()
        # Trap: a null beside an instant, or an instant of errors, is not of OpenBSP.
        says_more = value is not None and key != ERRORS
        found[key] = (keys, stamp, [at[2], value] if at is not None and says_more else value)
    if event["errors"] is not None:
        found[ERRORS] = (keys, stamp, event["errors"])
    return found


def count_of(event: dict[str, Any]) -> int:
    """Return the number of keys of a MessageEvent's status."""
    moments, extra = event["status"] or {}, event["status_extra"] or {}
    beside = sum(key not in moments for key in extra) if extra else 0
    return len(moments) + beside + (event["errors"] is not None)


def announced(status: Registers) -> list[str]:
    """Return the keys of a row's status that give status changes, sorted."""
    names = [name for name, register in status.items() if name != ERRORS and register[2] is not None]
    if len(names) > ANNOUNCED_PER_ROW:
        last = len(DOCUMENTED)
        names.sort(key=lambda name: (DOCUMENTED.get(name, last), name))
        del names[ANNOUNCED_PER_ROW:]
    names.sort()
    return names


def moments_of(status: Registers) -> Moments:
    """Return the keys that are present. One whose value is no instant has that of its row, or None."""
    return {
        key: instant_of(register[1]) if (at := moment_of(register)) is None else at
        for key, register in status.items()
        if register[2] is not None and key != ERRORS
    }


def delivery_status(present: Iterable[str]) -> str | None:
    """Return the highest-ranked of the keys that are present, None if none of them is ranked. An error is a failure."""
    best = None
    highest = -1
    for status in present:
        rank = _RANKS.get(status, -1)
        if rank > highest:
            best, highest = status, rank
    return "failed" if best == ERROR else best


#: `(moment, rank, status)` of a ranked status that was reached.
Reached = tuple[int, int, str]


def reached(moments: Mapping[str, int | None]) -> list[Reached]:
    """Return the ranked statuses that are present with an instant. Checks no others, however many there are."""
    return [(at, rank, status) for status, rank in _RANKS.items() if (at := moments.get(status)) is not None]


def previous_status(ranked: list[Reached], status: str, at: int) -> str | None:
    """Return the highest of the `reached` statuses before `status`; rank decides between equal instants."""
    this = (at, _RANKS.get(status, -1))
    return delivery_status(other for moment, rank, other in ranked if (moment, rank) < this and other != status)


def errors_of(status: Registers) -> list[str] | None:
    """Return the JSON text of each of the errors, whatever their shape, else that of `error`, else None."""
    for name in (ERRORS, ERROR):
        register = status.get(name)
        value = None if register is None else register[2]
        if type(value) is list and name == ERRORS:
            return value
        if type(value) is bytes:
            return [value.decode()]
    return None
