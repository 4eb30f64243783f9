"""What received values are to the reference model: their kinds, their versions, and which of two wins.

Imports nothing of the project: its own reading of rows must agree with this one on every row that there can be.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

SHARED = ["organization_id", "service", "organization_address", "contact_address", "group_address"]
OF_MESSAGES = ["conversation_id", "external_id", "direction", "agent_id", "thread_id", "content"]
TEXTS = {"messages": [*SHARED, *OF_MESSAGES], "conversations": [*SHARED, "name", "status"]}
INSTANTS = {"messages": ["created_at", "updated_at", "timestamp"], "conversations": ["created_at", "updated_at"]}

#: On a tie of versions the larger kind wins, then the larger value.
NULL, INSTANT, TEXT, JSON, LIST = range(5)
NEVER, FOREVER = -(10**30), 10**30

#: `(name, version, kind, value)`.
Entry = tuple[str, int, int, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = re.compile(r"\d{4}(-\d\d){2}[T ]\d\d(:\d\d){2}(\.\d+)?(Z|[+-]\d\d(:?\d\d){0,2})", re.ASCII)


def newest(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Return the winning value of each name, in one dict for each kind."""
    best: dict[str, tuple[int, int, Any]] = {}
    for name, *rest in entries:
        best[name] = max(tuple(rest), best.get(name, tuple(rest)))
    return [{name: entry[2] for name, entry in best.items() if entry[1] == kind} for kind in range(5)]


def column(entity: str, row: dict[str, Any], name: str) -> Entry:
    """Return the entry of a column."""
    value, version = row[name], _version(row)
    if value is None:
        kind = NULL
    elif (entity, name) == ("messages", "content"):
        # A conversation knows only the gist of a content: it decides a tie before the content does.
        kind, value = TEXT, ([(part is not None, part or "") for part in gist(value)], json_text(value))
    elif name in INSTANTS[entity] and instant(value) is not None:
        kind, value = INSTANT, instant(value)
    elif name in TEXTS[entity] and isinstance(value, str):
        kind = TEXT
    else:
        kind, value = JSON, json_text(value)
    if (entity, name) == ("messages", "conversation_id") and kind != TEXT:
        # A message that has a conversation always has one: what is no id never overrules an id.
        version = NEVER - 1
    return name, version, kind, value


def member(row: dict[str, Any], name: str) -> Entry:
    """Return the entry of a member, other than null, of the row's status object: the later instant wins."""
    value = row["status"][name]
    if name == "errors" and isinstance(value, list):
        return name, _version(row), LIST, [json_text(error) for error in value]
    if name != "errors" and instant(value) is not None:
        return name, FOREVER, INSTANT, instant(value)
    return name, _version(row), JSON, json_text(value)


def _version(row: dict[str, Any]) -> int:
    told = [instant(row.get(name)) for name in ("updated_at", "created_at")]
    return next((at for at in told if at is not None), NEVER)


def instant(value: Any) -> int | None:
    """Return the microseconds since 1970 that a text names, None for everything else."""
    if not isinstance(value, str) or not _ISO.fullmatch(value):
        return None
    try:
        return (datetime.fromisoformat(value).astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        return None


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
