"""The header that says whose rows the writer of an event may tell of: `ce_organizations`, an extension of CloudEvents.

A token of the bridge may be bound to organizations. What comes with such a token has the header; what comes with any
other is trusted, whatever organization it names, and has none.
"""

from collections.abc import Collection, Iterable
from urllib.parse import quote, unquote

from avro.cloudevents import Header

NAME = "ce_organizations"
#: The same in a request to the bridge, by which a token tells of fewer organizations than it may: when an event is told
#: again for somebody else. Ids in it are percent-encoded.
HTTP_HEADER = "openbsp-organizations"


def header_of(organizations: Iterable[str]) -> Header:
    """Return the header of an event whose writer may tell of these organizations only. No id of one has a space."""
    return NAME, " ".join(sorted(organizations)).encode()


def http_value(organizations: Iterable[str]) -> str:
    """Return the value of HTTP_HEADER."""
    return " ".join(quote(name, safe="") for name in sorted(organizations))


def narrowed(organizations: frozenset[str] | None, http_value: bytes) -> frozenset[str]:
    """Return of which organizations a request with that header tells, sent with a token for those (None: for all)."""
    told = frozenset(unquote(name) for name in http_value.decode("latin-1").split(" ") if name)
    return told if organizations is None else told & organizations


def headers_of(headers: Collection[tuple[str, str | bytes | None]] | None) -> list[Header]:
    """Return those of a record's headers that say for whom its writer may speak, as they are."""
    return [(name, value) for name, value in headers or () if name == NAME and type(value) is bytes]


def organizations_of(headers: Collection[tuple[str, str | bytes | None]] | None) -> frozenset[str] | None:
    """Return the organizations that an event's writer may tell of, None if that are all of them.

    Raises ValueError if the header says none. Of several headers only those count that all of them name.
    """
    found: frozenset[str] | None = None
    for name, value in headers or ():
        if name == NAME:
            text = value.decode() if type(value) is bytes else str(value or "")
            told = frozenset(filter(None, text.split(" ")))
            found = told if found is None else found & told
    if found is not None and not found:
        raise ValueError(f"{NAME} names no organization")
    return found
