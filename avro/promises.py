"""What a consumer of each public topic may rely on, in words; pages and AsyncAPI document are generated from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from avro import writers
from avro.catalogue import COMPRESSION
from avro.cloudevents import RECONCILED
from avro.dead_letters import REDRIVEN_HEADER

PARTITIONING = (
    "By key: murmur2 of its UTF-8 bytes, as Java's default partitioner does it (librdkafka: `murmur2_random`)."
    " All topics have the same number of partitions, so equal keys are in partitions of equal number."
)
EVOLUTION = (
    "Subjects are `<topic>-value` with compatibility FULL_TRANSITIVE: every version reads every other one."
    " A new version adds fields that have a default, or leaves such fields out; it never renames, never changes a type,"
    " a logical type or a default. A published version never changes. Unknown fields may appear at any time: ignore"
    " them."
)
COMPRESSED = (
    f"Batches of records are compressed with {COMPRESSION}, which every client reads without a further package, unless"
    " the deployment's KAFKA_COMPRESSION says otherwise: `none` is as safe; for lz4, snappy and zstd, kafkajs and"
    " aiokafka, for example, need one."
)
_AT_LEAST_ONCE = (
    "At least once. Before the sender gets its 2xx, a record is acknowledged by all in-sync replicas, or waits on the"
    " bridge's disk. The same event can come more than once: the sender repeats batches, and a restart writes again"
    " what was not yet confirmed."
)
_STATE_DELIVERY = (
    "At least once. Values are absolute, so a record that comes twice changes nothing: overwrite what you have under"
    " the key. While events are replayed after a restart an older state can appear again before the newest; the last"
    " record of a key is always right."
)
_STATE_ORDER = "Within a key, records are in the order in which the state was computed: the last one is the state."
_BY_CE_ID = "By `ce_id`, which is also `event_id`: UUIDv5 of entity, action and data; equal for equal events."
_BY_KEY = "None needed: upsert by key. `ce_id` is made from the value, so equal states have equal ids."
_REMOVAL_OF_ROW = (
    "An event with action `delete` says that the row is gone for good: delete what you have of it. It holds ids only,"
    " and its `event_id` is made from those; earlier events of the row stay in the topic until they expire. A record"
    " without value (tombstone) says the same; an operator may write one, without headers."
)
_REMOVAL_OF_STATE = (
    "A record without value (tombstone) says that the key is deleted: the row was deleted, another"
    " message has its `external_id`, or the last message that named a conversation without a row moved to another one."
    " Delete what you have."
)
_ORDER_OF_A_WORKER = (
    "Within a key, the order in which one of the bridge's workers took the events: what waits in the spool of another,"
    " or of the one before an upgrade, comes later. It is not the order of the changes: the sender sends up to 200 at"
    " once, in any order. Compare `updated_at`, or read"
)
_NO_ORDER = f"{_ORDER_OF_A_WORKER} the state topic, where this is done."
_NO_ORDER_OF_PEOPLE = f"{_ORDER_OF_A_WORKER} the field `contact` of conversation-state, where this is done."

_BRIDGE = "the bridge's setting BRIDGE_SOURCE, `openbsp` unless set"
#: Headers that records made from webhooks can have besides those that all records have.
_OF_WEBHOOKS = {
    REDRIVEN_HEADER: "how often dead letters of this event had been redriven, where any were",
    writers.NAME: (
        "only where the event came with a token that is bound to organizations: those whose rows it may write,"
        " separated by spaces. A writer without it may write rows of any"
    ),
}
_OF_ROWS = _OF_WEBHOOKS | {
    RECONCILED[0]: "`true` where a repair read the row from the sender's database; absent where it came as a webhook"
}


@dataclass(frozen=True, slots=True)
class Promise:
    """The promises of one topic; the first four describe `ce_type`, `ce_source`, `ce_subject` and `ce_time`."""

    event_types: tuple[str, ...]
    source: str
    subject: str
    time: str
    ordering: str
    delivery: str
    deduplication: str
    removal: str
    #: The meaning of headers that not all topics have.
    headers: Mapping[str, str]
    #: Additions to the meaning of a field: the texts in a released schema never change.
    remarks: Mapping[str, str] = field(default_factory=dict)


_ROW_TIME = "the row's `updated_at`, else `created_at`, else when the bridge received it"
_STATE_TIME = (
    "the row's `updated_at`, else `created_at`, else the message's `timestamp` or newest status, or the time of the"
    " conversation's last message; 1970 where nothing says any. It depends on the value alone"
)
_STREAMS = "`openbsp-streams`"

PROMISES: Mapping[str, Promise] = MappingProxyType(
    {
        "messages": Promise(
            ("openbsp.messages.insert", "openbsp.messages.update", "openbsp.messages.delete"),
            _BRIDGE,
            "the message id",
            _ROW_TIME,
            _NO_ORDER,
            _AT_LEAST_ONCE,
            _BY_CE_ID,
            _REMOVAL_OF_ROW,
            _OF_ROWS,
        ),
        "conversations": Promise(
            ("openbsp.conversations.insert", "openbsp.conversations.update", "openbsp.conversations.delete"),
            _BRIDGE,
            "the conversation id",
            _ROW_TIME,
            _NO_ORDER,
            _AT_LEAST_ONCE,
            _BY_CE_ID,
            _REMOVAL_OF_ROW,
            _OF_ROWS,
        ),
        "contacts": Promise(
            ("openbsp.contacts.insert", "openbsp.contacts.update", "openbsp.contacts.delete"),
            _BRIDGE,
            "the contact id",
            _ROW_TIME,
            _NO_ORDER_OF_PEOPLE,
            _AT_LEAST_ONCE,
            _BY_CE_ID,
            _REMOVAL_OF_ROW,
            _OF_ROWS,
        ),
        "contacts-addresses": Promise(
            (
                "openbsp.contacts_addresses.insert",
                "openbsp.contacts_addresses.update",
                "openbsp.contacts_addresses.delete",
            ),
            _BRIDGE,
            "the id that is made for the address, the record's key",
            _ROW_TIME,
            _NO_ORDER_OF_PEOPLE,
            _AT_LEAST_ONCE,
            f"{_BY_CE_ID} Never events with action `delete`: of one address all have the same `ce_id`, and one that"
            " came back can be deleted again. Apply each of them; to apply one twice changes nothing.",
            "An event with action `delete` says that the row is gone: delete what you have of it that is not newer than"
            " `received_at`. An address can come back, since it is its own id. A record without value (tombstone) says"
            " the same; an operator may write one, without headers.",
            _OF_ROWS,
            {"event_id": "But not events with action `delete`: apply each of them."},
        ),
        "message-state": Promise(
            ("openbsp.message-state",),
            _STREAMS,
            "the message id",
            _STATE_TIME,
            _STATE_ORDER,
            _STATE_DELIVERY,
            _BY_KEY,
            _REMOVAL_OF_STATE,
            {},
        ),
        "conversation-state": Promise(
            ("openbsp.conversation-state",),
            _STREAMS,
            "the conversation id",
            _STATE_TIME,
            _STATE_ORDER,
            _STATE_DELIVERY,
            _BY_KEY,
            _REMOVAL_OF_STATE,
            {},
        ),
        "status-changes": Promise(
            ("openbsp.status-change",),
            _STREAMS,
            "the message id",
            "when the status was reached",
            "Within a conversation, the order in which the changes became known. Compare `at` for the order in which"
            " they happened.",
            "At least once for each status that a message has, never zero times. It is written once the message's"
            " conversation id is known, with the conversation's row as it was known then.",
            "Events by `ce_id`: UUIDv5 of message id, status, and whether the conversation's row was known. Facts by"
            " `id`: UUIDv5 of message id and status, upsert by it. A change that was written without its conversation"
            " comes again with it, another event of the same fact; who left it out by `id` would keep the empty one.",
            "None: what became of a message that was deleted stays until it expires.",
            {},
        ),
        "dead-letters": Promise(
            ("openbsp.dead-letter",),
            f"{_BRIDGE}; {_STREAMS} for a record that the streams refused",
            "the record key: the row id where one is known, else absent",
            "when it was refused",
            "None.",
            "At least once. `payload` is null, and the refused bytes are kept nowhere, of a webhook that is refused as"
            " `malformed_json`, `unsupported_entity`, `wrong_organization`, `too_large` or `suppressed`, and of what"
            " the bridge finds `suppressed` in its spool; of an `invalid_event` that is a deletion or no JSON object,"
            " of one of a bound token unless its row can be told to be of the token's organizations, and, while"
            " contacts are suppressed, of one that cannot be told to be of none of them. It is null as well for a"
            " record without value, or with one that no dead letter can hold.",
            "By `ce_id`, which is also `event_id`.",
            "None.",
            _OF_WEBHOOKS,
        ),
    }
)
