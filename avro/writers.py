"""The header with the organizations that an event's writer may write for: `ce_organizations`, a CloudEvents extension.

A token of the bridge may be bound to organizations. Events sent with such a token have the header; all others are
trusted, whatever organization they name, and have none.
"""

from collections.abc import Collection, Iterable
from urllib.parse import quote, unquote

from avro.cloudevents import Header

NAME = "ce_organizations"
#: The same in a request to the bridge, by which a token limits itself to fewer organizations: for redriving an event of
#: another sender. Ids in it are percent-encoded.
HTTP_HEADER = "openbsp-organizations"


def header_of(organizations: Iterable[str]) -> Header:
    """Return the header of an event whose writer may write for these organizations only. No id of one has a space."""
    return NAME, " ".join(sorted(organizations)).encode()


def http_value(organizations: Iterable[str]) -> str:
    """Return the value of HTTP_HEADER."""
    return " ".join(quote(name, safe="") for name in sorted(organizations))


def narrowed(organizations: frozenset[str] | None, http_value: bytes) -> frozenset[str]:
    """Return the organizations that a request with that header may write for; the token's are given (None: all)."""
    told = frozenset(unquote(name) for name in http_value.decode("latin-1").split(" ") if name)
    return told if organizations is None else told & organizations


def headers_of(headers: Collection[tuple[str, str | bytes | None]] | None) -> list[Header]:
    """Return those of a record's headers that limit its writer's organizations, unchanged."""
    return [(name, value) for name, value in headers or () if name == NAME and type(value) is bytes]


def organizations_of(headers: Collection[tuple[str, str | bytes | None]] | None) -> frozenset[str] | None:
    """Return the organizations that an event's writer may write for, None for all.

    Raises ValueError if the header names none. Of several headers only organizations in all of them count.
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
