"""Reads values that version 1 or 2 stored.

Version 1 ordered rows by their instants alone and did not store how many status keys a row had. They are taken to be
one fewer than the message has: a whole row that has all of them is newer, so posting it again repairs errors.
"""

from typing import Any

from msgspec import Struct, msgpack

from openbsp.merge.registers import NEVER, UNFIT, Register, Registers, Version, newer, undated

_UNFIT = NEVER - 1

_Register = tuple[int, Any]

#: The version of rows that placed a message in a conversation that it has left.
_LEFT: Version = (-1, 0)


class _Message(Struct, array_like=True):
    columns: dict[str, _Register]
    status: dict[str, int]
    errors: tuple[int, list[str]] | None
    status_extra: dict[str, tuple[int, str]]
    conversations: list[str]


class _Contribution(Struct, array_like=True):
    conversation_id: _Register | None
    organization_id: _Register | None
    direction: _Register | None
    timestamp: _Register | None
    created_at: _Register | None
    summary: tuple[int, list[str | None]] | None
    status: dict[str, int]


class _Conversation(Struct, array_like=True):
    columns: dict[str, _Register]


_message = msgpack.Decoder(_Message).decode
_contribution = msgpack.Decoder(_Contribution).decode
_conversation = msgpack.Decoder(_Conversation).decode


class _UnclaimedMessage(Struct, array_like=True):
    """What version 2 stored: of the conversations only their names."""

    format: int
    columns: Registers = {}
    status: Registers = {}
    partial_columns: Registers = {}
    partial_status: Registers = {}
    newest: Version | None = None
    newest_partial: int | None = None
    conversations: list[str] = []
    organizations: list[str] = []
    external_ids: list[str] = []
    announced: list[str] = []
    received_at: int | None = None
    deletes: list[str | None] = []
    rival: tuple[int, int, bool] | None = None


_unclaimed_message = msgpack.Decoder(_UnclaimedMessage).decode


class _UnclaimedContribution(Struct, array_like=True):
    """What version 2 stored: of the rivals the newest one alone."""

    format: int
    columns: list[Register | None] = []
    status: Registers = {}
    partial_columns: list[Register | None] = []
    partial_status: Registers = {}
    newest: Version | None = None
    newest_partial: int | None = None
    keys: int = 0
    announced: list[str] = []
    organizations: list[str] = []
    received_at: int | None = None
    deletes: list[str | None] = []
    rival: tuple[int, int, bool] | None = None


_unclaimed_contribution = msgpack.Decoder(_UnclaimedContribution).decode


def unclaimed_contribution(stored: bytes) -> dict[str, Any]:
    """Return the members of a Contribution from a stored one of version 2."""
    return _unclaimed(_unclaimed_contribution(stored))


def _unclaimed(old: _UnclaimedMessage | _UnclaimedContribution) -> dict[str, Any]:
    told = {name: getattr(old, name) for name in old.__struct_fields__ if name not in ("format", "rival")}
    rivals = {} if old.rival is None else dict.fromkeys(old.organizations, old.rival)
    return told | {"rivals": rivals}


def unclaimed_message(stored: bytes) -> dict[str, Any]:
    """Return the members of MessageFacts from stored facts of version 2."""
    old = _unclaimed_message(stored)
    return _unclaimed(old) | {"conversations": _stays(old.conversations, old.columns.get("conversation_id"))}


def _stays(conversations: list[str], current: Register | None) -> dict[str, tuple[int, int, list[str | None]]]:
    """Return a message's conversations; those that it has left before all else: the time was not stored."""
    return {
        name: (*(current[:2] if current is not None and current[2] == name else _LEFT), []) for name in conversations
    }


def message(stored: bytes) -> dict[str, Any]:
    """Return the members of MessageFacts from stored facts of version 1."""
    old = _message(stored)
    keys = len(old.status.keys() | old.status_extra.keys() | ({"errors"} if old.errors is not None else set()))
    keys = max(keys - 1, 0)
    columns = {name: _register(keys, *register) for name, register in old.columns.items()}
    newest = max((stamp for _, stamp, _ in columns.values()), default=undated(None))
    status: Registers = {key: (keys, newest, at) for key, at in old.status.items()}
    for key, (version, text) in old.status_extra.items():
        # A key that has an instant had a valid value.
        status.setdefault(key, _register(keys, version, text.encode()))
    if old.errors is not None:
        told = _register(keys, *old.errors)
        status["errors"] = newer(status.get("errors", told), told)
    return {
        "columns": columns,
        "status": status,
        "newest": (keys, newest),
        "conversations": _stays(old.conversations, columns.get("conversation_id")),
        "organizations": _text(columns.get("organization_id")),
        "external_ids": _text(columns.get("external_id")),
        "announced": sorted(old.status),
    }


def contribution(stored: bytes) -> dict[str, Any]:
    """Return the members of a Contribution from a stored one of version 1, its columns by name.

    When the row was written was not stored; the versions of its columns were derived from that.
    """
    old = _contribution(stored)
    keys = max(len(old.status) - 1, 0)
    names = ("conversation_id", "organization_id", "direction", "timestamp", "created_at")
    told = [(name, getattr(old, name)) for name in names] + [("content", old.summary)]
    columns = {name: _register(keys, *register) for name, register in told if register is not None}
    newest = max((stamp for _, stamp, _ in columns.values()), default=undated(None))
    written_at = max((register[0] for _, register in told if register is not None), default=NEVER)
    if written_at > NEVER:
        columns["updated_at"] = (keys, newest, written_at)
    return {
        "columns": columns,
        "status": {key: (keys, newest, at) for key, at in old.status.items()},
        "newest": (keys, newest),
        "announced": sorted(old.status),
        "organizations": _text(columns.get("organization_id")),
    }


def conversation(stored: bytes) -> dict[str, Any]:
    """Return the members of ConversationFacts from stored facts of version 1."""
    old = _conversation(stored)
    columns = {name: _register(0, *register) for name, register in old.columns.items()}
    return {
        "columns": columns,
        "newest": max((stamp for _, stamp, _ in columns.values()), default=undated(None)),
        "organizations": _text(columns.get("organization_id")),
    }


def _register(keys: int, version: int, value: Any) -> Register:
    return (*UNFIT, value) if version == _UNFIT else (keys, undated(version), value)


def _text(register: Register | None) -> list[str]:
    return [register[2]] if register is not None and type(register[2]) is str else []
