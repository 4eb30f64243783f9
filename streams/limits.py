"""What fits into a record. Everything that the join writes stays below MAX_MESSAGE_BYTES, whatever its content.

The largest are a ConversationState (the row's facts, texts of one message, the id three times) and a dead letter
(payload and key). A record that the broker always rejects would stop the join for good.
"""

from avro.catalogue import MAX_MEMBERS, MAX_MESSAGE_BYTES

#: Facts of a message, or of a conversation's row, as they are stored.
FACTS_BYTES = MAX_MESSAGE_BYTES * 3 // 8

#: Facts of a message with all claims: each writer may have sent it whole. What counts of them, and what its
#: conversations get, stays below FACTS_BYTES.
CLAIMED_BYTES = FACTS_BYTES * 7 // 4

#: Ids of messages, conversations and organizations, as UTF-8. A record may hold 64 of them and more: those of all
#: messages that have had an external id (`streams.state.existence`), those in each of the status changes of a row.
ID_BYTES = MAX_MESSAGE_BYTES // 256

#: The same of rows that a former version accepted. They can be deleted, and get records of each other until then.
FORMER_ID_BYTES = MAX_MESSAGE_BYTES // 64

#: Facts with what deletes, and verdicts on whether a row exists, add to them: a row that has grown to its bound, or
#: beyond it in a former version, can be deleted all the same.
JUDGED_BYTES = FACTS_BYTES * 2

#: Refused bytes that a dead letter holds; of larger ones only their position.
PAYLOAD_BYTES = MAX_MESSAGE_BYTES * 3 // 4

#: No value of an event grows by more than this factor when it becomes facts: short names weigh most.
GROWTH = 7

#: Facts of fewer bytes cannot have more members than a row may have: each of them takes more than that.
FEW_MEMBERS_BYTES = 6 * MAX_MEMBERS
