"""The join in Quix Streams: a program of its own, with libraries of its own (see benchmarks/requirements.txt).

The argument is a JSON file: `bootstrap_servers`, `group`, `prefix`, `partitions`, `state_dir`, `name_space` (of UUIDs,
hexadecimal) and `schemas` (record name to `id` and `schema`). It runs until SIGTERM and prints `first` and the
milliseconds since 1970 when it takes the first event.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from io import BytesIO
from pathlib import Path
from struct import Struct
from typing import Any
from uuid import UUID

import fastavro
from quixstreams import Application, State
from quixstreams.models import Deserializer, SerializationContext, Serializer, Topic, TopicConfig

Fields = dict[str, Any]

MESSAGE_COLUMNS = (
    *("organization_id", "conversation_id", "external_id", "direction", "agent_id", "contact_address", "service"),
    *("organization_address", "group_address", "thread_id", "content", "timestamp", "created_at", "updated_at"),
)
CONVERSATION_COLUMNS = (
    *("organization_id", "service", "organization_address", "contact_address", "group_address", "name", "status"),
    *("created_at", "updated_at"),
)
SUMMARY_COLUMNS = ("status", "service", "contact_address", "organization_address", "name")
CONTRIBUTION_COLUMNS = ("conversation_id", "organization_id", "direction", "timestamp", "created_at", "summary")
RANKS = {
    status: rank
    for rank, status in enumerate(
        ("pending", "held_for_quality_assessment", "accepted", "sent", "failed", "delivered", "read", "deleted")
    )
}
NEVER = -(2**63)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PREFIX = Struct(">bI")


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    codecs = {record: Codec(found["id"], found["schema"]) for record, found in job["schemas"].items()}
    name_space = UUID(job["name_space"])
    app = Application(
        broker_address=job["bootstrap_servers"],
        consumer_group=job["group"],
        auto_offset_reset="earliest",
        state_dir=job["state_dir"],
        loglevel="WARNING",
    )

    def source(name: str, record: str) -> Topic:
        return app.topic(job["prefix"] + name, key_deserializer="str", value_deserializer=AvroReader(codecs[record]))

    def sink(name: str, record: str, fields_of: Callable[[Fields], Fields] = lambda fields: fields) -> Topic:
        writer = AvroWriter(codecs[record], fields_of)
        return app.topic(job["prefix"] + name, key_serializer="str", value_serializer=writer)

    # An internal topic instead of group_by and concat: concat of several topics aligns them by time, and its waits
    # make the job several times slower.
    facts = app.topic(
        job["prefix"] + "quix-facts",
        key_serializer="str",
        key_deserializer="str",
        config=TopicConfig(num_partitions=job["partitions"], replication_factor=1),
    )
    # No branches either: Quix Streams copies each value for each of them.
    messages = app.dataframe(source("messages", "MessageEvent")).apply(merge_message, stateful=True)
    messages = messages.set_headers(event_headers(name_space))
    messages.to_topic(sink("message-state", "MessageState", message_state))
    messages.apply(contributions_of, expand=True).to_topic(facts, key=lambda contribution: contribution["to"])

    app.dataframe(source("conversations", "ConversationEvent")).apply(row_facts).to_topic(facts)

    states = sink("conversation-state", "ConversationState")
    changes = sink("status-changes", "StatusChange")
    joined = app.dataframe(facts).apply(Joiner(name_space), stateful=True, metadata=True, expand=True)
    joined = joined.set_headers(event_headers(name_space))
    joined.to_topic(lambda fields, *_: states if "message_count" in fields else changes)
    app.run()


class Codec:
    """Values in Confluent wire format under one schema id; instants stay microseconds."""

    def __init__(self, schema_id: int, schema: str) -> None:
        self.prefix = PREFIX.pack(0, schema_id)
        self.schema = fastavro.parse_schema(without_logical_types(json.loads(schema)))


def without_logical_types(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: without_logical_types(value) for key, value in schema.items() if key != "logicalType"}
    return [without_logical_types(item) for item in schema] if isinstance(schema, list) else schema


class AvroReader(Deserializer):  # type: ignore[misc]
    """Reads the values of an input topic."""

    first = True

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def __call__(self, value: bytes, ctx: SerializationContext) -> Fields:
        """Return the fields."""
        if AvroReader.first:
            AvroReader.first = False
            print(f"first {time.time_ns() // 1_000_000}", flush=True)
        if not value.startswith(self.codec.prefix):
            raise ValueError(f"{ctx.topic}: not under the schema of this job")
        buffer = BytesIO(value)
        buffer.seek(PREFIX.size)
        fields: Fields = fastavro.schemaless_reader(buffer, self.codec.schema)
        return fields


class AvroWriter(Serializer):  # type: ignore[misc]
    """Writes the values of an output topic."""

    def __init__(self, codec: Codec, fields_of: Callable[[Fields], Fields]) -> None:
        super().__init__()
        self.codec = codec
        self.fields_of = fields_of

    def __call__(self, value: Fields, ctx: SerializationContext) -> bytes:  # noqa: ARG002 passed by name
        """Return the bytes."""
        buffer = BytesIO()
        buffer.write(self.codec.prefix)
        fastavro.schemaless_writer(buffer, self.codec.schema, self.fields_of(value))
        return buffer.getvalue()


def event_headers(name_space: UUID) -> Callable[..., list[tuple[str, bytes]]]:
    """Return the function that makes CloudEvents headers."""

    def headers(value: Fields, key: str, timestamp: int, _: Any) -> list[tuple[str, bytes]]:
        if "at" in value:
            kind, event_id, subject, at = "status-change", value["id"], value["message_id"], value["at"]
        else:
            kind = "conversation-state" if "message_count" in value else "message-state"
            event_id = name_id(name_space, f"{kind}{key}{timestamp}".encode())
            subject, at = key, timestamp * 1000
        return [
            ("ce_specversion", b"1.0"),
            ("ce_id", event_id.encode()),
            ("ce_source", b"openbsp-streams"),
            ("ce_type", b"openbsp." + kind.encode()),
            ("ce_subject", subject.encode()),
            ("ce_time", (EPOCH + timedelta(microseconds=at)).isoformat().encode()),
            ("content-type", b"application/avro"),
        ]

    return headers


def name_id(name_space: UUID, name: bytes) -> str:
    """Return a UUIDv5; uuid.uuid5 costs three times as much."""
    digest = bytearray(sha1(name_space.bytes + name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


# Facts: columns as registers [version, kind, value] (kind 0: null, 1: typed, 2: JSON text), the later version wins.


def columns_of(event: Fields, names: Iterable[str]) -> Fields:
    version = event["updated_at"] if event["updated_at"] is not None else event["created_at"]
    if version is None:
        version = NEVER
    columns = {name: [version, 1, event[name]] for name in names if event[name] is not None}
    for name, text in event["extra"].items():
        columns[name] = [version, 2, text]
    for name in event["nulls"]:
        columns[name] = [version, 0, None]
    return columns


def merge_registers(known: Fields, told: Fields) -> None:
    for name, register in told.items():
        if name not in known or order(register) > order(known[name]):
            known[name] = register


def order(register: list[Any]) -> tuple[Any, ...]:
    version, kind, value = register
    return (version, kind, isinstance(value, str), value) if value is not None else (version, kind)


def merge_status(known: Fields, told: Fields) -> None:
    for status, at in told.items():
        if at > known.get(status, NEVER):
            known[status] = at


def split_columns(columns: Fields, names: Iterable[str]) -> Fields:
    """Return typed fields, `extra` and `nulls` out of registers."""
    fields = {name: columns[name][2] for name in names if name in columns and columns[name][1] == 1}
    fields["extra"] = {name: register[2] for name, register in columns.items() if register[1] == 2}
    fields["nulls"] = sorted(name for name, register in columns.items() if register[1] == 0)
    return fields


def merge_message(event: Fields, state: State) -> Fields:
    """Merge an event into its message, and return the message."""
    told = columns_of(event, MESSAGE_COLUMNS)
    version = next(iter(told.values()))[0] if told else NEVER
    facts = state.get("facts")
    if facts is None:
        facts = {"id": event["id"], "columns": {}, "status": {}, "errors": None, "odd": {}, "conversations": []}
    merge_registers(facts["columns"], told)
    merge_status(facts["status"], event["status"] or {})
    if event["errors"] is not None:
        facts["errors"] = max(facts["errors"] or [NEVER, []], [version, event["errors"]])
    for key, text in (event["status_extra"] or {}).items():
        facts["odd"][key] = max(facts["odd"].get(key, [NEVER, ""]), [version, text])
    conversation = event["conversation_id"]
    if conversation is not None and conversation not in facts["conversations"]:
        facts["conversations"].append(conversation)
    state.set("facts", facts)
    return facts


def message_state(facts: Fields) -> Fields:
    status = facts["status"]
    fields = split_columns(facts["columns"], MESSAGE_COLUMNS)
    fields["id"] = facts["id"]
    fields["status"] = status
    fields["delivery_status"] = delivery_status(status)
    if facts["errors"] is not None:
        fields["errors"] = facts["errors"][1]
    if facts["odd"]:
        fields["status_extra"] = {
            key: text for key, (_, text) in facts["odd"].items() if text != "null" and key not in status
        }
    time_of = fields.get("timestamp", fields.get("created_at"))
    if time_of is not None:
        for name in ("sent", "delivered", "read"):
            if name in status:
                fields[f"{name}_after_ms"] = (status[name] - time_of) // 1000
    return fields


def delivery_status(status: Iterable[str]) -> str | None:
    return max((name for name in status if name in RANKS), key=RANKS.__getitem__, default=None)


def contributions_of(facts: Fields) -> list[Fields]:
    """Return what a message adds to each conversation that it was ever said to belong to."""
    columns = facts["columns"]
    part = {name: columns[name] for name in CONTRIBUTION_COLUMNS if name in columns}
    if "content" in columns:
        version, kind, content = columns["content"]
        part["summary"] = [version, 1, summarize(content) if kind == 1 else [None, None, None]]
    return [
        {"to": conversation, "message": facts["id"], "columns": part, "status": facts["status"]}
        for conversation in facts["conversations"]
    ]


def summarize(content: str) -> list[str | None]:
    found = json.loads(content)
    if not isinstance(found, dict):
        return [None, None, None]
    text = found.get("text")
    if isinstance(text, dict):
        text = text.get("body")
    texts = (found.get("type"), found.get("kind"), text[:280] if isinstance(text, str) else None)
    return [value if isinstance(value, str) else None for value in texts]


def row_facts(event: Fields) -> Fields:
    return {"row": columns_of(event, CONVERSATION_COLUMNS)}


class Joiner:
    """Merges a row or a contribution into its conversation, and yields its state and the status changes.

    All contributions to a conversation are one value of the store, as is usual in Quix Streams, whose state cannot be
    scanned: simple and quick for ten messages, and growing with the conversation.
    """

    def __init__(self, name_space: UUID) -> None:
        self.name_space = name_space

    def __call__(self, fact: Fields, key: str, _timestamp: int, _headers: Any, state: State) -> list[Fields]:
        """Return the fields of the status changes, and of the state."""
        known = state.get("conversation") or {"row": None, "messages": {}}
        results = []
        if "row" in fact:
            known["row"] = known["row"] or {}
            merge_registers(known["row"], fact["row"])
        else:
            results = self._contribute(fact, key, known)
        state.set("conversation", known)
        results.append(conversation_state(key, known))
        return results

    def _contribute(self, fact: Fields, key: str, known: Fields) -> list[Fields]:
        message = known["messages"].setdefault(fact["message"], {"columns": {}, "status": {}})
        columns, status = message["columns"], message["status"]
        new = [name for name in fact["status"] if name not in status]
        merge_registers(columns, fact["columns"])
        merge_status(status, fact["status"])
        if text_of(columns, "conversation_id") != key:
            return []
        summary = None if known["row"] is None else {name: text_of(known["row"], name) for name in SUMMARY_COLUMNS}
        return [self._status_change(fact["message"], key, message, name, summary) for name in new]

    def _status_change(self, message_id: str, key: str, message: Fields, name: str, summary: Fields | None) -> Fields:
        columns, status = message["columns"], message["status"]
        at = status[name]
        time_of = message_time(columns)
        this = (at, RANKS.get(name, -1))
        return {
            "id": name_id(self.name_space, f"status-change\n{len(name.encode())}\n{name}\n{message_id}".encode()),
            "message_id": message_id,
            "conversation_id": key,
            "organization_id": text_of(columns, "organization_id"),
            "direction": text_of(columns, "direction"),
            "status": name,
            "at": at,
            "previous": delivery_status(other for other in status if (status[other], RANKS.get(other, -1)) < this),
            "seconds_since_message": None if time_of is None else (at - time_of) / 1_000_000,
            "conversation": summary,
        }


def text_of(columns: Fields, name: str) -> str | None:
    register = columns.get(name)
    return register[2] if register is not None and register[1] == 1 else None


def message_time(columns: Fields) -> int | None:
    for name in ("timestamp", "created_at"):
        register = columns.get(name)
        if register is not None and register[1] == 1:
            return int(register[2])
    return None


def conversation_state(key: str, known: Fields) -> Fields:
    """Return the fields of the ConversationState that follows from the row and the contributions."""
    counts = {"incoming": 0, "outgoing": 0, "internal": 0}
    status_counts: dict[str, int] = {}
    unread = 0
    messages = 0
    incoming: list[tuple[int, str]] = []
    outgoing: list[tuple[int, str]] = []
    for message_id, message in known["messages"].items():
        columns = message["columns"]
        if text_of(columns, "conversation_id") != key:
            continue
        messages += 1
        direction = text_of(columns, "direction")
        if direction in counts:
            counts[direction] += 1
        time_of = message_time(columns)
        position = (NEVER if time_of is None else time_of, message_id)
        if direction == "incoming":
            incoming.append(position)
            unread += "read" not in message["status"]
        elif direction == "outgoing":
            outgoing.append(position)
            status = delivery_status(message["status"])
            if status is not None:
                status_counts[status] = status_counts.get(status, 0) + 1
    fields = split_columns(known["row"] or {}, CONVERSATION_COLUMNS)
    last = max(incoming + outgoing, default=None)
    last_message = None if last is None else describe(last, known["messages"][last[1]])
    first = min((position for position in incoming if position[0] != NEVER), default=None)
    reply = None if first is None else min((found for found in outgoing if found[0] >= first[0]), default=None)
    return fields | {
        "id": key,
        "known": known["row"] is not None,
        "message_count": messages,
        "incoming_count": counts["incoming"],
        "outgoing_count": counts["outgoing"],
        "internal_count": counts["internal"],
        "status_counts": status_counts,
        "unread_count": unread,
        "last_message": last_message,
        "last_incoming_at": instant(max(incoming, default=None)),
        "last_outgoing_at": instant(max(outgoing, default=None)),
        "awaiting_reply": last_message is not None
        and last_message["direction"] == "incoming"
        and fields.get("status") != "closed",
        "first_response_seconds": None if first is None or reply is None else (reply[0] - first[0]) / 1_000_000,
    }


def describe(position: tuple[int, str], message: Fields) -> Fields:
    columns = message["columns"]
    kind_of, kind, preview = columns["summary"][2] if "summary" in columns else (None, None, None)
    return {
        "message_id": position[1],
        "direction": text_of(columns, "direction"),
        "type": kind_of,
        "kind": kind,
        "preview": preview,
        "timestamp": instant(position),
        "delivery_status": delivery_status(message["status"]),
    }


def instant(position: tuple[int, str] | None) -> int | None:
    return None if position is None or position[0] == NEVER else position[0]


if __name__ == "__main__":
    main()
