"""What the spool holds is what was put into it, also as former versions wrote it."""

import msgspec

from bridge.delivery.items import DeadLetter, pack, unpack


def test_a_dead_letter_comes_back_whole():
    letter = DeadLetter(
        "e", "invalid_event", "no id", 1, redriven=2, organizations=frozenset({"o"}), traceparent=b"00-the-trace"
    )
    found = unpack(pack(letter))
    assert isinstance(found, DeadLetter)
    assert {name: getattr(found, name) for name in DeadLetter.__slots__} == {
        name: getattr(letter, name) for name in DeadLetter.__slots__
    }


def test_a_dead_letter_that_a_former_version_spooled_has_no_trace():
    kind, fields, *_ = msgspec.msgpack.decode(pack(DeadLetter("e", "invalid_event", "no id", 1)))
    found = unpack(msgspec.msgpack.encode([kind, fields, 0, None]))
    assert isinstance(found, DeadLetter)
    assert found.traceparent is None
