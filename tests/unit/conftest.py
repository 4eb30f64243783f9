"""For unit tests."""

import socket

import pytest


@pytest.fixture
def unused_port() -> int:
    """Find a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
