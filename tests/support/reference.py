"""The judge: what a set of events adds up to, said as plainly as docs/design.md does. Imports nothing of the project.

Takes bodies of webhooks with numbers as int or Decimal; instants are microseconds since 1970, absent fields None.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from support.received import INSTANTS, NEVER, TEXTS, column, gist, member, newest

RANKS = ["pending", "held_for_quality_assessment", "accepted", "sent", "failed", "delivered", "read", "deleted"]
Fields = dict[str, Any]


def fold(events: Iterable[Fields]) -> tuple[dict[str, Fields], dict[str, Fields], dict[str, tuple[str, str]]]:
    """Return MessageStates by id, ConversationStates by id, (message id, status) by id of the StatusChange."""
    rows: dict[str, dict[str, list[Fields]]] = {"messages": defaultdict(list), "conversations": defaultdict(list)}
    members: dict[str, list[Fields]] = defaultdict(list)
    for event in events:
        rows[event["entity"]][event["data"]["id"]].append(event["data"])
    messages = {key: message(key, own) for key, own in rows["messages"].items()}
    for state in messages.values():
        if state["conversation_id"] is not None:
            members[state["conversation_id"]].append(state)
    keys = rows["conversations"].keys() | members.keys()
    conversations = {key: conversation(key, rows["conversations"].get(key, []), members[key]) for key in keys}
    pairs = [(state["id"], status) for own in members.values() for state in own for status in state["status"]]
    return messages, conversations, {status_change_id(*pair): pair for pair in pairs}


def status_change_id(message_id: str, status: str) -> str:
    """Return the id that every StatusChange of the message to that status has."""
    name = f"status-change\n{len(status.encode())}\n{status}\n{message_id}"
    return str(uuid5(uuid5(NAMESPACE_OID, "openbsp-stream-bridge"), name))


def columns(entity: str, key: str, rows: list[Fields]) -> Fields:
    """Return the columns' fields, last writer wins; but the id is the same, and a message's status objects merge."""
    apart = {"id": str, "status": dict if entity == "messages" else ()}
    told = [(row, name) for row in rows for name in row if not isinstance(row[name], apart.get(name, ()))]
    nulls, instants, texts, extra, _ = newest(column(entity, row, name) for row, name in told)
    fields: Fields = dict.fromkeys(TEXTS[entity] + INSTANTS[entity])
    return fields | instants | texts | {"id": key, "extra": extra, "nulls": sorted(nulls)}


def message(key: str, rows: list[Fields]) -> Fields:
    """Merge the rows of one message into its MessageState."""
    told = [row for row in rows if isinstance(row.get("status"), dict)]
    members = [(row, name) for row in told for name, value in row["status"].items() if value is not None]
    _, moments, _, odd, errors = newest(member(row, name) for row, name in members)
    fields = columns("messages", key, rows)
    if moments or odd or errors:  # then a status that is null or no object says nothing
        fields["nulls"] = [name for name in fields["nulls"] if name != "status"]
        fields["extra"].pop("status", None)
    ranked = [name for name in RANKS if name in moments]
    fields |= {"status": moments, "status_extra": odd or None, "errors": errors.get("errors")}
    fields |= {"content": fields["content"] and fields["content"][1], "delivery_status": ranked[-1] if ranked else None}
    for name in ("sent", "delivered", "read"):
        at, since = moments.get(name), time(fields)
        fields[f"{name}_after_ms"] = None if at is None or since is None else (at - since) // 1000
    return fields


def time(state: Fields) -> Any:
    """Return the message's time, None if it says none."""
    return state["created_at"] if state["timestamp"] is None else state["timestamp"]


def conversation(key: str, rows: list[Fields], members: list[Fields]) -> Fields:
    """Merge the rows of one conversation, and count its messages, into its ConversationState."""
    incoming, outgoing = ([one for one in members if one["direction"] == name] for name in ("incoming", "outgoing"))
    came, went = (sorted(at for one in own if (at := time(one)) is not None) for own in (incoming, outgoing))
    spoken = sorted(incoming + outgoing, key=lambda one: (NEVER if time(one) is None else time(one), one["id"]))
    replies = [at for at in went if came and at >= came[0]]
    fields = columns("conversations", key, rows)
    return fields | {
        "known": bool(rows),
        "message_count": len(members),
        "incoming_count": len(incoming),
        "outgoing_count": len(outgoing),
        "internal_count": sum(one["direction"] == "internal" for one in members),
        "status_counts": dict(Counter(one["delivery_status"] for one in outgoing if one["delivery_status"])),
        "unread_count": sum("read" not in one["status"] for one in incoming),
        "last_message": last_message(spoken[-1]) if spoken else None,
        "last_incoming_at": came[-1] if came else None,
        "last_outgoing_at": went[-1] if went else None,
        "awaiting_reply": spoken != [] and spoken[-1]["direction"] == "incoming" and fields["status"] != "closed",
        "first_response_seconds": (replies[0] - came[0]) / 1_000_000 if replies else None,
    }


def last_message(state: Fields) -> Fields:
    """Return what a conversation shows of its last message."""
    content = gist(json.loads(state["content"] or "null", parse_int=float))
    fields = dict(zip(("type", "kind", "preview"), content, strict=True))
    same = {name: state[name] for name in ("direction", "delivery_status")}
    return {"message_id": state["id"], "timestamp": time(state)} | same | fields
