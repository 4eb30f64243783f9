"""Distinguishes spooled events of erased rows from others."""

from collections.abc import Callable

from avro.catalogue import DELETE
from bridge.delivery.items import DeadLetter, Event, Item, UnreadableError, unpack
from bridge.erase.sought import Sought


def matcher(sought: Sought) -> Callable[[bytes], bool]:
    """Return a predicate for spooled bodies of one of the rows; false for a delete, which has ids only."""

    def is_of(body: bytes) -> bool:
        try:
            return _is_of(unpack(body), sought)
        except UnreadableError:
            return sought.needles.within(body)

    return is_of


def leaves_open(event: Event, sought: Sought) -> bool:
    """Return whether an event may be of one of the rows: it lacks what would decide, as if it has nothing but an id."""
    return not _is_of(event, sought) and sought.wanted.leaves_open(event.entity.name, event.row)


def _is_of(item: Item, sought: Sought) -> bool:
    if isinstance(item, DeadLetter):
        return sought.is_of(item.fields) or sought.needles.within(item.fields["payload"] or b"")
    if item.action == DELETE:
        return False
    return item.id in sought.ids or sought.is_of(item.row) or sought.wanted.has({**COLUMNS, **item.row})


#: Columns that select an erasure and that a row can lack.
COLUMNS = dict.fromkeys(("contact_address", "service", "organization_id"))
