"""What received values are to the reference model: their kinds, their versions, and which of two wins.

Imports nothing of the project: its own reading of rows must agree with this one on every row that there can be.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from support import moments

SHARED = ["organization_id", "service", "organization_address", "contact_address", "group_address"]
OF_MESSAGES = ["conversation_id", "external_id", "direction", "agent_id", "thread_id", "content"]
TEXTS = {
    "messages": [*SHARED, *OF_MESSAGES],
    "conversations": [*SHARED, "name", "status"],
    "contacts": ["organization_id", "name", "status"],
    "contacts_addresses": ["organization_id", "service", "address", "contact_id", "status"],
}
#: JSON columns that are like any other; `content` is not.
JSONS: dict[str, list[str]] = {
    "messages": [],
    "conversations": [],
    "contacts": [],
    "contacts_addresses": [],
}
WRITTEN = ["created_at", "updated_at"]
INSTANTS = {
    "messages": [*WRITTEN, "timestamp"],
    "conversations": [*WRITTEN],
    "contacts": [*WRITTEN],
    "contacts_addresses": [*WRITTEN],
}

#: On a tie of versions the larger kind wins, then the larger value.
NULL, INSTANT, TEXT, JSON, LIST = range(5)
NEVER = -(10**30)

#: Which of two rows is newer: number of keys in `status`, instant, whether it is an update.
Version = tuple[int, int, bool]
#: `(name, is partial, version, kind, value)`.
Entry = tuple[str, bool, Version, int, Any]
#: A webhook's body, with `received_at` in microseconds, or None if nobody knows.
Event = dict[str, Any]


def winners(entries: Iterable[Entry]) -> dict[str, tuple[Version, int, Any]]:
    """Return the winning version, kind and value of each name.

    A row that holds only what changed says nothing of how many keys its message has, so such rows are compared with
    each other, and with the newest whole row, by their instants alone; on a tie with it they win.
    """
    best: dict[str, dict[bool, tuple[Version, int, Any]]] = {}
    for name, partial, *rest in entries:
        own = best.setdefault(name, {})
        own[partial] = max(tuple(rest), own.get(partial, tuple(rest)))
    return {name: max(own.items(), key=lambda item: (item[1][0][1], item[0]))[1] for name, own in best.items()}


def newest(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Return the winning value of each name, in one dict for each kind."""
    found = winners(entries)
    return [{name: entry[2] for name, entry in found.items() if entry[1] == kind} for kind in range(5)]


def column(event: Event, name: str) -> Entry:
    """Return the entry of a column."""
    entity, row = event["entity"], event["data"]
    value, own = row[name], version(event)
    if value is None:
        kind = NULL
    elif (entity, name) == ("messages", "content"):
        # A conversation knows only the gist of a content: it decides a tie before the content does.
        kind, value = TEXT, ([(part is not None, part or "") for part in gist(value)], json_text(value))
    elif name in INSTANTS[entity] and instant(value) is not None:
        kind, value = INSTANT, (instant(value), beyond(value))
    elif name in TEXTS[entity] and isinstance(value, str):
        kind = TEXT
    elif name in JSONS[entity]:
        kind, value = TEXT, json_text(value)
    else:
        kind, value = JSON, json_text(value)
    if (entity, name) == ("messages", "conversation_id") and kind != TEXT:
        # A message that has a conversation always has one: what is no id never overrules an id.
        own = NEVER - 1, NEVER - 1, False
    return name, is_partial(event), own, kind, value


def member(event: Event, name: str) -> Entry:
    """Return the entry of a member of the row's status object."""
    value = event["data"]["status"][name]
    if value is None:
        kind = NULL
    elif name == "errors" and isinstance(value, list):
        kind, value = LIST, [json_text(error) for error in value]
    elif name != "errors" and instant(value) is not None:
        kind, value = INSTANT, (instant(value), beyond(value))
    else:
        kind, value = JSON, json_text(value)
    return name, is_partial(event), version(event), kind, value


def is_partial(event: Event) -> bool:
    """Return whether the row holds only what changed: the update of a message that does not name its conversation."""
    return (event["entity"], event["action"]) == ("messages", "update") and "conversation_id" not in event["data"]


def version(event: Event) -> Version:
    """Return which of two rows is newer; how many keys a partial row, or a conversation, has does not matter."""
    row = event["data"]
    told = [instant(row.get(name)) for name in ("updated_at", "created_at")]
    at = next((moment for moment in told if moment is not None), NEVER)
    status = row.get("status")
    counts = event["entity"] == "messages" and isinstance(status, dict) and not is_partial(event)
    return len(status) if counts else 0, at, event["action"] == "update"


def instant(value: Any) -> int | None:
    """Return the microseconds since 1970 that a text names, None for everything else."""
    return moments.read(value)[0]


def beyond(text: str) -> str:
    """Return the JSON text of an instant that says more than microseconds, else nothing."""
    return json_text(text) if moments.read(text)[1] else ""


def json_text(value: Any) -> str:
    """Return the canonical JSON text."""
    return msgspec.json.Encoder(order="sorted", decimal_format="number").encode(value).decode()


def gist(content: Any) -> tuple[str | None, str | None, str | None]:
    """Return what a conversation shows of a content: type, kind, preview."""
    told = content if isinstance(content, dict) else {}
    text = told.get("text")
    text = text.get("body") if isinstance(text, dict) else text
    kind_of, kind, text = (
        value if isinstance(value, str) else None for value in (told.get("type"), told.get("kind"), text)
    )
    return kind_of, kind, None if text is None else text[:280]
