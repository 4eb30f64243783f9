"""What the beginning and the end of a body that is too large say of its event. Pure."""

import contextlib
import json
import re
from typing import NamedTuple

#: So much of a body is looked at, at its beginning and at its end. The sender writes short columns first, the id among
#: them, and `action` and `entity` behind all of them.
HEAD_BYTES = 1024

_ENTITY, _ACTION = ("entity",), ("action",)
_ID, _ORGANIZATION = ("data", "id"), ("data", "organization_id")
_WANTED = frozenset({_ENTITY, _ACTION, _ID, _ORGANIZATION})
_BLANKS = " \t\n\r"

#: Half of a character, as an escape can have it; neither a topic nor the log could take it.
_SURROGATE = re.compile("[\ud800-\udfff]")

#: What stands behind `data`: texts do not have these quotes without a backslash before them.
_LAST = re.compile(r'\}((?:\s*,\s*"(?:entity|action)"\s*:\s*"[^"\\]*")+)\s*\}\s*$')
_LAST_MEMBER = re.compile(r'"(entity|action)"\s*:\s*"([^"]*)"')

_read = json.JSONDecoder().raw_decode


class Head(NamedTuple):
    """Metadata of an event; None where what was looked at does not tell."""

    entity: str | None = None
    action: str | None = None
    id: str | None = None
    organization_id: str | None = None


def read_head(body: bytes) -> Head:
    """Return what the first bytes of an envelope say. Never raises: they may be anything, and are cut off anywhere."""
    found: dict[tuple[str, ...], str] = {}
    # One of these is where the beginning ends, or is no JSON.
    with contextlib.suppress(ValueError, IndexError, RecursionError):
        _walk(body[:HEAD_BYTES].decode("utf-8", "ignore"), 0, (), found)
    return Head(found.get(_ENTITY), found.get(_ACTION), found.get(_ID), found.get(_ORGANIZATION))


def read_end(body: bytes) -> Head:
    """Return what the last bytes of a whole envelope say: action and entity, if they stand behind the row."""
    found = _LAST.search(body[-HEAD_BYTES:].decode("utf-8", "ignore"))
    members = dict(_LAST_MEMBER.findall(found[1])) if found else {}
    return Head(entity=members.get("entity"), action=members.get("action"))


def _walk(text: str, at: int, path: tuple[str, ...], found: dict[tuple[str, ...], str]) -> int:
    """Read an object from `at` on, return the place behind it. Raises ValueError or IndexError where the text ends."""
    at = _expect(text, at, "{")
    while text[at] != "}":
        name, at = _read(text, at)
        at = _expect(text, _skip(text, at), ":")
        member = (*path, name)
        if member == ("data",) and text[at] == "{":
            at = _walk(text, at, member, found)
        else:
            value, at = _read(text, at)
            if member in _WANTED and type(value) is str and not _SURROGATE.search(value):
                found[member] = value
        at = _skip(text, at)
        if text[at] != "}":
            at = _expect(text, at, ",")
    return at + 1


def _expect(text: str, at: int, character: str) -> int:
    at = _skip(text, at)
    if text[at] != character:
        raise ValueError(character)
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    while text[at] in _BLANKS:
        at += 1
    return at
