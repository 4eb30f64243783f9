"""Dead letters have one rule for their headers, whoever makes them."""

import pytest

from avro import codec
from avro.dead_letters import DeadLetters

FIELDS = {"event_id": "e", "reason": "r", "detail": "d", "origin": "o", "received_at": 0}


@pytest.mark.parametrize("key", [None, ""])
def test_without_a_key_there_is_no_subject(key: str | None):
    value, headers = DeadLetters("source", 7).record({**FIELDS, "key": key})
    names = dict(headers)
    assert "ce_subject" not in names
    assert (names["ce_id"], names["ce_source"], names["ce_type"]) == (b"e", b"source", b"openbsp.dead-letter")
    assert codec.schema_id_of(value) == 7


def test_the_key_is_the_subject():
    assert dict(DeadLetters("source", 7).record({**FIELDS, "key": "row"})[1])["ce_subject"] == b"row"
