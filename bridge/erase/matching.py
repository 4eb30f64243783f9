"""Tells what waits in a spool of erased rows from what does not."""

from collections.abc import Callable

from bridge.delivery.items import UnreadableError, unpack
from bridge.delivery.records import DeadLetter
from bridge.erase.sought import Sought


def matcher(sought: Sought) -> Callable[[bytes], bool]:
    """Return what tells whether a body in a spool is of one of the rows; a delete is not, which has ids only."""

    def is_of(body: bytes) -> bool:
        try:
            item = unpack(body)
        except UnreadableError:
            return sought.needles.within(body)
        if isinstance(item, DeadLetter):
            return sought.is_of(item.fields) or sought.needles.within(item.fields["payload"] or b"")
        if item.action == "delete":
            return False
        return item.id in sought.ids or sought.is_of(item.row) or sought.wanted.has({**_COLUMNS, **item.row})

    return is_of


#: A row can lack what an erasure is asked for by.
_COLUMNS = dict.fromkeys(("contact_address", "service", "organization_id"))
