"""Status changes: the fact that a message has a status, told with its conversation."""

from typing import Any

from avro.identity import status_change_id
from streams.state import contribution as contributions
from streams.state import status as statuses
from streams.state.contribution import Contribution


def status_change(
    message_id: str, conversation_id: str, contribution: Contribution, status: str, conversation: Any
) -> dict[str, Any]:
    """Return the fields of the StatusChange for one status key that the message has.

    `conversation` is the row's summary (`conversation.summary`). Only the id is the same whenever this is made:
    the rest tells what was known at that moment.
    """
    at = contribution.status[status]
    time = contributions.time_of(contribution)
    return {
        "id": status_change_id(message_id, status),
        "message_id": message_id,
        "conversation_id": conversation_id,
        "organization_id": contributions.text_of(contribution.organization_id),
        "direction": contributions.text_of(contribution.direction),
        "status": status,
        "at": at,
        "previous": statuses.previous_status(contribution.status, status),
        "seconds_since_message": None if time is None else (at - time) / 1_000_000,
        "conversation": conversation,
    }
