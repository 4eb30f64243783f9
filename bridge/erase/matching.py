"""Tells what waits in a spool of erased rows from what does not."""

from collections.abc import Callable

from avro.catalogue import DELETE
from bridge.delivery.items import Item, UnreadableError, unpack
from bridge.delivery.records import DeadLetter
from bridge.erase.sought import Sought
from bridge.http.events import Event


def matcher(sought: Sought) -> Callable[[bytes], bool]:
    """Return what tells whether a body in a spool is of one of the rows; a delete is not, which has ids only."""

    def is_of(body: bytes) -> bool:
        try:
            return _is_of(unpack(body), sought)
        except UnreadableError:
            return sought.needles.within(body)

    return is_of


def leaves_open(event: Event, sought: Sought) -> bool:
    """Return whether an event may be of one of the rows: it lacks what would tell, as if it has nothing but an id."""
    return not _is_of(event, sought) and sought.wanted.leaves_open(event.entity.name, event.row)


def _is_of(item: Item, sought: Sought) -> bool:
    if isinstance(item, DeadLetter):
        return sought.is_of(item.fields) or sought.needles.within(item.fields["payload"] or b"")
    if item.action == DELETE:
        return False
    return item.id in sought.ids or sought.is_of(item.row) or sought.wanted.has({**COLUMNS, **item.row})


#: A row can lack what an erasure is asked for by.
COLUMNS = dict.fromkeys(("contact_address", "service", "organization_id"))
