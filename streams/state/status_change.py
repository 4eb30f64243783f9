"""Status changes: the fact that a message has a status, with its conversation."""

from collections.abc import Mapping
from typing import Any

from avro.identity import status_change_id
from openbsp.merge.registers import instant_of
from streams.state import contribution as contributions
from streams.state import status as statuses
from streams.state.contribution import Contribution

#: Longest text of a conversation, and direction, in a status change. Each status of each message repeats them: a name
#: of megabytes would be thousands of records of megabytes.
TOLD_CHARACTERS = 1_000


def status_changes(
    message_id: str,
    conversation_id: str,
    part: Contribution,
    announced: list[str],
    conversation: Mapping[str, str | None] | None,
) -> list[dict[str, Any]]:
    """Return the fields of the StatusChange for each of the announced status keys.

    `conversation` is the row's summary (`conversation.summary`). Only the id is the same whenever this is made: the
    rest is as known at that moment. A status without an instant has that of its row, else the message's, else 1970.
    """
    status = contributions.status_of(part)
    moments = statuses.moments_of(status)
    ranked = statuses.reached(moments)
    time = contributions.time_of(part)
    common = {
        "message_id": message_id,
        "conversation_id": conversation_id,
        "organization_id": contributions.organization_of(part),
        "direction": _beginning(contributions.direction_of(part)),
        "conversation": conversation and {name: _beginning(text) for name, text in conversation.items()},
    }
    changes = []
    for key in announced:
        at = moments.get(key)
        if at is None and key in status:
            at = instant_of(status[key][1])
        if at is None:
            at = time or 0
        changes.append(
            {
                "id": status_change_id(message_id, key),
                "status": key,
                "at": at,
                "previous": statuses.previous_status(ranked, key, at),
                "seconds_since_message": None if time is None else (at - time) / 1_000_000,
                "errors": statuses.errors_of(status) if key in statuses.FAILURES else None,
                **common,
            }
        )
    return changes


def _beginning(text: str | None) -> str | None:
    return text and text[:TOLD_CHARACTERS]
