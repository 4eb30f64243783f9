"""Status changes of a message that a tombstone removes before its conversation's row is known."""

import pytest

from support.join_cases import inserted, opened
from support.shipped import Shipped


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "before the row"])
def test_what_was_told_without_a_conversation_is_not_told_with_it_once_its_message_is_removed(
    *, together: bool
) -> None:
    """Told once is what is promised; what somebody has erased is not published again."""
    shipped = Shipped()
    shipped.receive([inserted("m", "c", "outgoing", 10), inserted("kept", "c", "outgoing", 20)])
    shipped.relay()
    assert {change["conversation"] for change in shipped.status_changes.values()} == {None}
    shipped.receive([{"entity": "messages", "data": {"id": "m"}, "removed": True}])
    if together:
        shipped.receive([opened("c", 5)], relayed=len(shipped.between) - shipped.read)
    else:
        shipped.relay()
        shipped.receive([opened("c", 5)])
    known = {one["message_id"]: one["conversation"] is not None for one in shipped.status_changes.values()}
    assert known == {"m": False, "kept": True}
    assert shipped.conversation_states["c"]["message_count"] == 1


def test_what_a_removed_message_has_announced_and_not_told_is_told_all_the_same() -> None:
    shipped = Shipped()
    shipped.receive([inserted("m", "c", "outgoing", 10)])
    shipped.receive([{"entity": "messages", "data": {"id": "m"}, "removed": True}])
    shipped.receive([opened("c", 5)], relayed=len(shipped.between) - shipped.read)
    told = [(one["message_id"], one["status"]) for one in shipped.status_changes.values()]
    assert told == [("m", "pending")]
