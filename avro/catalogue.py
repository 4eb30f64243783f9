"""The topics of the contract, as data: what is not here does not exist. Tables and columns: `avro/columns.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

DAY_MS = 24 * 60 * 60 * 1000

#: Largest body of a webhook, unless the bridge's setting says otherwise: OpenBSP has rows of more than a megabyte.
MAX_BODY_BYTES = 4 * 1024 * 1024

#: Larger than any record that such bodies can cause: a merged row holds more than one, and more besides.
MAX_MESSAGE_BYTES = 4 * MAX_BODY_BYTES

#: Columns, keys of `status` and its errors that a row may have, together. Each of them costs readers of the row
#: microseconds, however few bytes it has. PostgreSQL has at most 1,600 columns; OpenBSP writes some 20 keys.
MAX_MEMBERS = 32_768


#: The compression of record batches unless a deployment decides otherwise: every client can read it.
COMPRESSION = "gzip"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic without its prefix. `schema` is the record name of its values, None for internal binary values."""

    name: str
    key: str
    schema: str | None
    cleanup_policy: str
    retention_ms: int | None
    purpose: str
    internal: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)

    def config(self) -> dict[str, str]:
        """Return the topic settings that the project sets and verifies."""
        config = {
            "cleanup.policy": self.cleanup_policy,
            "max.message.bytes": str(MAX_MESSAGE_BYTES),
            # The broker's clock: retention must not depend on whether a producer's clock is right.
            "message.timestamp.type": "LogAppendTime",
            **self.settings,
        }
        if self.retention_ms is not None:
            config["retention.ms"] = str(self.retention_ms)
        return config


DELETE = "delete"
ACTIONS = frozenset({"insert", "update", DELETE})

#: Overwritten or deleted records are compacted away at this age. Without it a broker waits until half of a log is such.
MAX_COMPACTION_LAG_MS = DAY_MS

#: A worker that returns to a partition within this time finds the tombstones of what was deleted meanwhile.
CHANGELOG_TOMBSTONES_MS = 7 * DAY_MS

#: Compaction leaves changelogs alone for as long as a paused worker may still write to them by mistake.
_CHANGELOG = MappingProxyType(
    {
        "min.compaction.lag.ms": str(60 * 60 * 1000),
        "max.compaction.lag.ms": str(MAX_COMPACTION_LAG_MS),
        "delete.retention.ms": str(CHANGELOG_TOMBSTONES_MS),
    }
)

_STATES = MappingProxyType({"max.compaction.lag.ms": str(MAX_COMPACTION_LAG_MS)})

TOPICS: Mapping[str, Topic] = MappingProxyType(
    {
        topic.name: topic
        for topic in (
            Topic("messages", "message id", "MessageEvent", "delete", 30 * DAY_MS, "each message row as it came"),
            Topic(
                "conversations",
                "conversation id",
                "ConversationEvent",
                "delete",
                30 * DAY_MS,
                "each conversation row as it came",
            ),
            Topic("contacts", "contact id", "ContactEvent", "delete", 30 * DAY_MS, "each contact row as it came"),
            Topic(
                "contacts-addresses",
                "organization, and a hash of organization, service and address",
                "ContactAddressEvent",
                "delete",
                30 * DAY_MS,
                "each address of a contact as it came",
            ),
            Topic(
                "message-state",
                "message id",
                "MessageState",
                "compact",
                None,
                "each message as it is now",
                settings=_STATES,
            ),
            Topic(
                "conversation-state",
                "conversation id",
                "ConversationState",
                "compact",
                None,
                "each conversation as it is now",
                settings=_STATES,
            ),
            Topic(
                "status-changes",
                "conversation id",
                "StatusChange",
                "delete",
                30 * DAY_MS,
                "each status that a message newly has, with its conversation",
            ),
            Topic(
                "dead-letters",
                "row id or null",
                "DeadLetter",
                "delete",
                90 * DAY_MS,
                "what was authentic but not usable, with the reason",
            ),
            Topic(
                "audits",
                "run id",
                None,
                "delete",
                400 * DAY_MS,
                "what each run of `bridge reconcile` found, as signed JSON",
                internal=True,
            ),
            Topic(
                "suppressions",
                "hash of a contact",
                None,
                "compact",
                None,
                "which erased contacts stay out, by hashes",
                internal=True,
                settings=_STATES,
            ),
            Topic(
                "streams-contributions",
                "conversation id",
                None,
                "delete",
                30 * DAY_MS,
                "what each message adds to its conversation",
                internal=True,
            ),
            Topic(
                "streams-messages-changelog",
                "message id",
                None,
                "compact",
                None,
                "the message table",
                internal=True,
                settings=_CHANGELOG,
            ),
            Topic(
                "streams-conversations-changelog",
                "conversation id and message id",
                None,
                "compact",
                None,
                "the conversation table",
                internal=True,
                settings=_CHANGELOG,
            ),
            Topic(
                "streams-contacts-changelog",
                "contact id",
                None,
                "compact",
                None,
                "the contact table",
                internal=True,
                settings=_CHANGELOG,
            ),
            Topic(
                "streams-addresses-changelog",
                "organization, and a hash of organization, service and address",
                None,
                "compact",
                None,
                "the table of contacts' addresses",
                internal=True,
                settings=_CHANGELOG,
            ),
        )
    }
)


def topic_name(prefix: str, name: str) -> str:
    """Return the full name of a catalogue topic. Raises KeyError for one that is not in the catalogue."""
    return prefix + TOPICS[name].name


def subject(prefix: str, name: str) -> str:
    """Return the registry subject of a topic's values (Confluent's TopicNameStrategy)."""
    return f"{topic_name(prefix, name)}-value"
