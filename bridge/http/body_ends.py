"""What the beginning and the end of a too large body say about its event. Pure."""

import contextlib
import json
import re
from typing import NamedTuple

#: How many bytes are inspected at the beginning and at the end. The sender writes short columns first, the id among
#: them, and `action` and `entity` after all of them.
INSPECTED_BYTES = 1024

_ENTITY, _ACTION = ("entity",), ("action",)
_ID, _ORGANIZATION = ("data", "id"), ("data", "organization_id")
_WANTED = frozenset({_ENTITY, _ACTION, _ID, _ORGANIZATION})
_BLANKS = " \t\n\r"

#: Half of a surrogate pair, as an escape can have it; neither a topic nor the log could take it.
_SURROGATE = re.compile("[\ud800-\udfff]")

#: What follows `data`: in texts a backslash precedes these quotes.
_LAST = re.compile(r'\}((?:\s*,\s*"(?:entity|action)"\s*:\s*"[^"\\]*")+)\s*\}\s*$')
_LAST_MEMBER = re.compile(r'"(entity|action)"\s*:\s*"([^"]*)"')

_read = json.JSONDecoder().raw_decode


class Metadata(NamedTuple):
    """Metadata of an event; None where the inspected bytes do not contain it."""

    entity: str | None = None
    action: str | None = None
    id: str | None = None
    organization_id: str | None = None


def read_beginning(body: bytes) -> Metadata:
    """Return the metadata in the first bytes of an envelope. Never raises: they may be anything, cut off anywhere."""
    found: dict[tuple[str, ...], str] = {}
    # One of these means that the beginning ends here, or is not JSON.
    with contextlib.suppress(ValueError, IndexError, RecursionError):
        _walk(body[:INSPECTED_BYTES].decode("utf-8", "ignore"), 0, (), found)
    return Metadata(found.get(_ENTITY), found.get(_ACTION), found.get(_ID), found.get(_ORGANIZATION))


def read_end(body: bytes) -> Metadata:
    """Return the metadata in the last bytes of a whole envelope: action and entity, if they follow the row."""
    found = _LAST.search(body[-INSPECTED_BYTES:].decode("utf-8", "ignore"))
    members = dict(_LAST_MEMBER.findall(found[1])) if found else {}
    return Metadata(entity=members.get("entity"), action=members.get("action"))


def _walk(text: str, at: int, path: tuple[str, ...], found: dict[tuple[str, ...], str]) -> int:
    """Read an object from `at` on, return the index after it. Raises ValueError or IndexError where the text ends."""
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
