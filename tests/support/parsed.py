"""What a connection gives to its parser, and not to the fast path."""

from typing import Any

import pytest


def parsed_by(protocol: type[Any], monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return what connections of this protocol give to the parser from now on."""
    found: list[bytes] = []
    parse = protocol.parse

    def note(connection: Any, data: bytes) -> None:
        found.append(data)
        parse(connection, data)

    monkeypatch.setattr(protocol, "parse", note)
    return found
