"""Anything may stand on the topic between the tables: what no message adds is refused, and ends no worker."""

from typing import Any

import pytest
from msgspec import structs

from avro import instants
from streams.contract import Refused
from streams.tables.contributions import ContributionRecord, decode_record, encode_record
from support.parts import part_of

COLUMNS = {"conversation_id": "c", "direction": "incoming", "timestamp": 1}


def record_of(content: Any) -> bytes:
    return encode_record(ContributionRecord("m", part_of(COLUMNS | {"content": content}, 1), []))


@pytest.mark.parametrize("content", [["text", None, "hi"], [None, None, None]])
def test_a_content_of_three_texts_is_read(content):
    assert isinstance(decode_record(record_of(content)), ContributionRecord)


@pytest.mark.parametrize(
    "content", [[], ["text"], ["text", None], ["text", None, "hi", "more"], "text", 5, None, [1, b"1"]]
)
def test_another_content_is_refused(content):
    with pytest.raises(Refused):
        decode_record(record_of(content))


@pytest.mark.parametrize("received_at", [instants.FIRST - 1, instants.LAST + 1])
def test_a_part_received_at_no_instant_is_refused(received_at):
    part = structs.replace(part_of(COLUMNS, 1), received_at=received_at)
    for forged in (part, structs.replace(part_of(COLUMNS, 1), claims={"o": (1, part)})):
        with pytest.raises(Refused):
            decode_record(encode_record(ContributionRecord("m", forged, [])))
