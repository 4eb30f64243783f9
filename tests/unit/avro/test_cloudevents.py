"""The headers are those of the CloudEvents 1.0 Kafka binding in binary mode."""

from avro.cloudevents import header_maker


def test_headers_are_the_required_attributes_and_the_content_type() -> None:
    headers = header_maker("/bridge", "openbsp.messages.insert")("an-id", "row é", 1_778_038_763_000_001)
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"an-id",
        "ce_source": b"/bridge",
        "ce_type": b"openbsp.messages.insert",
        "ce_subject": "row é".encode(),
        "ce_time": b"2026-05-06T03:39:23.000001+00:00",
        "content-type": b"application/avro",
    }
    assert len(headers) == len(dict(headers))


def test_two_events_do_not_share_a_list() -> None:
    make = header_maker("s", "t")
    assert make("a", "b", 0) is not make("a", "b", 0)
