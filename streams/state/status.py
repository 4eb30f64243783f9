"""The status of a message: keys with the instants at which they were reached."""

from collections.abc import Mapping

#: Delivery statuses, lowest first (docs/design.md). Other keys (typing, edited, ...) say nothing about delivery.
RANKS: Mapping[str, int] = {
    status: rank
    for rank, status in enumerate(
        ("pending", "held_for_quality_assessment", "accepted", "sent", "failed", "delivered", "read", "deleted")
    )
}

Moments = dict[str, int]


def join(a: Moments, b: Moments) -> Moments:
    """Return the union; the later instant wins for each key."""
    joined = dict(a)
    for status, at in b.items():
        known = joined.get(status)
        if known is None or at > known:
            joined[status] = at
    return joined


def delivery_status(moments: Moments) -> str | None:
    """Return the highest-ranked status that was reached, None if none of them was."""
    best = None
    highest = -1
    for status in moments:
        rank = RANKS.get(status, -1)
        if rank > highest:
            best, highest = status, rank
    return best


def previous_status(moments: Moments, status: str) -> str | None:
    """Return the highest-ranked status that was reached before `status`; rank decides between equal instants."""
    this = (moments[status], RANKS.get(status, -1))
    return delivery_status({other: at for other, at in moments.items() if (at, RANKS.get(other, -1)) < this})
