"""The join's tables while partitions of them are owned."""

from typing import TYPE_CHECKING, cast

from streams.engine.assignment import Assignment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.tables.conversations import ConversationPartition
    from streams.tables.messages import MessagePartition

#: The tables, by their changelogs.
MESSAGES = "streams-messages-changelog"
CONVERSATIONS = "streams-conversations-changelog"
CONTACTS = "streams-contacts-changelog"
ADDRESSES = "streams-addresses-changelog"


class Owned:
    """The tables of one assignment, by partition, and their progress."""

    def __init__(self, work: Assignment) -> None:
        """Take over the contents that `streams.app` has declared."""
        self.messages = cast("Mapping[int, MessagePartition]", work.contents[MESSAGES])
        self.conversations = cast("Mapping[int, ConversationPartition]", work.contents[CONVERSATIONS])
        #: Return the offset up to which (exclusive) a source partition is in the tables.
        self.position = work.position
        #: Return whether all that former owners can have read of a partition is in the tables.
        self.caught_up = work.caught_up
        #: Wait until the producer has room for more records.
        self.room = work.room
