"""The join's part of a trace: whose it is, what it is linked to, and that it never grows without end."""

import pytest

from avro.codec import UnknownSchemaIdError
from openbsp.tracing import HEADER, header_of
from streams import tracing
from streams.contract import Contract, Refused
from streams.engine.source import Record
from streams.tables.contributions import ContributionRecord, HolderRecord, encode_record
from streams.tables.idle import encode_eviction
from streams.tracing import TracedSender, Trail
from support.spans import Spans

PREFIX = "openbsp."


class Written:
    """A sender that keeps what it is given."""

    def __init__(self):
        self.records = []

    def write(self, topic, key, _, __=-1, headers=None):
        self.records.append((topic.removeprefix(PREFIX), key, dict(headers or ())))

    def of(self, topic):
        return [headers for name, _, headers in self.records if name == topic]


class World:
    """A trail, with a sender and what its records have."""

    def __init__(self):
        self.spans = Spans()
        self.trail = Trail(self.spans.tracing, Contract(PREFIX))
        self.written = Written()
        self.sender = TracedSender(self.written, self.trail)

    def merge(self, topic, key, number, flags="01", *, read=lambda _: None, merge=lambda *_: None):
        """Read and merge an event of trace `number`."""
        header = f"00-{number:032x}-{number:016x}-{flags}".encode()
        event = Record(f"{PREFIX}{topic}", 0, number, key, b"", [("ce_id", b"x"), (HEADER, header)])
        self.trail.merging(merge)(event, self.trail.reading(read)(event))

    def write(self, topic, key, value=b"", partition=0):
        self.sender.write(f"{PREFIX}{topic}", key, value, partition, [("ce_id", b"x")])

    def contribution(self, conversation, message):
        self.write("streams-contributions", conversation, encode_record(ContributionRecord(message, None, [])))


@pytest.fixture
def world():
    return World()


def trace_of(headers):
    return int(headers[HEADER].split(b"-")[1], 16)


def test_a_message_leads_to_its_state_and_to_what_its_conversation_is_told(world):
    world.merge("messages", b"m", 7)
    world.contribution(b"c", "m")
    world.write("message-state", b"m")
    merged = world.spans.named("messages merge")
    assert merged.parent.span_id == 7
    assert [link.context.span_id for link in merged.links] == [7]
    for topic in ("streams-contributions", "message-state"):
        span = world.spans.named(f"{topic} publish")
        assert span.parent.span_id == merged.context.span_id
        assert world.written.of(topic) == [{"ce_id": b"x", HEADER: header_of(span.context)}]


def test_a_request_for_a_removal_belongs_to_no_message(world):
    world.merge("messages", b"m", 7)
    world.write("streams-contributions", b"c", encode_eviction(5))
    assert world.written.of("streams-contributions") == [{"ce_id": b"x"}]


def test_a_state_belongs_to_the_last_of_what_led_to_it_and_is_linked_to_the_others(world):
    for number in (1, 2, 3):
        world.merge("conversations", b"c", number)
    world.write("status-changes", b"c")
    world.write("conversation-state", b"c")
    first, second, _ = [span for span in world.spans.ended if span.name == "conversations merge"]
    state = world.spans.named("conversation-state publish")
    assert state.context.trace_id == 3
    assert [link.context.span_id for link in state.links] == [first.context.span_id, second.context.span_id]
    assert [trace_of(headers) for headers in world.written.of("status-changes")] == [3]
    # What comes later has another cause, or none.
    world.write("conversation-state", b"c")
    assert HEADER not in world.written.of("conversation-state")[1]


def test_what_is_not_sampled_leaves_nothing(world):
    world.merge("messages", b"m", 7, flags="00")
    world.write("message-state", b"m")
    assert world.spans.ended == []
    assert HEADER not in world.written.of("message-state")[0]


def test_other_messages_and_other_records_of_the_topic_have_no_part_in_it(world):
    world.merge("messages", b"m", 7)
    world.contribution(b"c", "n")
    world.write("streams-contributions", b"\xff", encode_record(HolderRecord("", "m", None)))
    world.write("message-state", b"n", None)
    world.write("dead-letters", b"m")
    assert [HEADER in headers for _, _, headers in world.written.records] == [False] * 4


@pytest.mark.parametrize("step", ["read", "merge"])
def test_a_refused_event_is_a_failed_span_and_leads_to_nothing(world, step):
    def refuse(*_):
        raise Refused("too_large", "no")

    with pytest.raises(Refused):
        world.merge("messages", b"m", 7, **{step: refuse})
    world.write("message-state", b"m")
    assert world.spans.named("messages merge").status.description == "too_large"
    assert HEADER not in world.written.of("message-state")[0]


def test_an_event_that_waits_for_its_schema_has_one_span_when_it_is_merged(world):
    def unknown(_):
        raise UnknownSchemaIdError(5)

    with pytest.raises(UnknownSchemaIdError):
        world.merge("messages", b"m", 7, read=unknown)
    assert world.spans.ended == []
    world.merge("messages", b"m", 7)
    assert len(world.spans.ended) == 1


def test_an_event_stream_sends_what_was_acknowledged(world):
    world.write("conversation-state", b"other", partition=2)
    world.merge("streams-contributions", b"c", 7)
    world.write("conversation-state", b"c", partition=2)
    for offset in (10, 11):
        world.trail.acknowledged(f"{PREFIX}conversation-state", 2, offset)
        world.trail.acknowledged(f"{PREFIX}message-state", 2, offset)
    world.trail.sent([None, (2, 11), (1, 12)])
    assert [span.name for span in world.spans.ended if span.name.startswith("event stream")] == []
    world.trail.sent([(2, 12)])
    sent, state = world.spans.named("event stream send"), world.spans.named("conversation-state publish")
    assert sent.parent.span_id == state.context.span_id


def test_what_it_does_not_know_of_ends_nothing(world):
    world.trail.acknowledged(f"{PREFIX}conversation-state", 5, 0)
    world.trail.sent([(5, 1)])


def test_what_never_leads_to_anything_is_given_up(world, monkeypatch):
    monkeypatch.setattr(tracing, "_REMEMBERED", 3)
    for number in range(1, 10):
        world.merge("messages", b"m%d" % number, number)
        world.write("conversation-state", b"c")
        world.merge("conversations", b"c", number)
        world.write("conversation-state", b"c")
        world.trail.acknowledged(f"{PREFIX}conversation-state", 0, 2 * number)
        world.trail.acknowledged(f"{PREFIX}conversation-state", 0, 2 * number + 1)
    trail = world.trail
    assert list(trail._merged_messages) == [b"m7", b"m8", b"m9"]
    assert len(trail._acknowledged) == 3
    assert not trail._on_their_way[0]
    for number in range(1, 100):
        world.merge("messages", b"m", number)
    world.write("message-state", b"m")
    assert len(world.spans.named("message-state publish").links) == tracing._LINKS
