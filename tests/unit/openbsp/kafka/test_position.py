"""Positions are read as they are written, and nothing else is."""

import pytest

from openbsp.kafka.position import Position, position_of


def test_a_position_is_read_as_it_is_written():
    position = Position("openbsp.dead-letters", 3, 10**18 - 1)
    assert position_of(str(position)) == position
    assert position_of("3:17", "messages") == Position("messages", 3, 17)
    assert position_of("other:3:17", "messages") == Position("other", 3, 17)


@pytest.mark.parametrize(
    "text",
    ["", "3", ":3:17", "a:b:c", "t:3:-1", "t:+3:1", "t:3:17\n", "t:3:17:1", "t t:3:17", "t:٣:17", f"t:0:{10**18}"],
)
def test_what_is_no_position_is_none(text: str):
    assert position_of(text) is None
