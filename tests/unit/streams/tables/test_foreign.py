"""A record that another program wrote to a log of the worker's."""

import pytest

from streams.tables.foreign import id_of


def test_a_key_that_no_worker_makes_is_named_in_the_log_and_not_repaired(caplog: pytest.LogCaptureFixture) -> None:
    assert id_of("message-state", 2, "é".encode()) == "é"
    assert not caplog.records
    assert id_of("message-state", 2, b"\xff") is None
    (line,) = caplog.records
    assert "message-state[2]" in line.getMessage()
    assert line.__dict__["event"] == "table.foreign_key"
