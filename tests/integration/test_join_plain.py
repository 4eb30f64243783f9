"""The join through a real broker, with nothing going wrong: what it writes is what the reference model says."""

from itertools import chain
from uuid import UUID

import pytest

from avro.identity import status_change_event_id
from support.consume import AvroReader, headers_of
from support.join_cases import at, inserted, message, opened, status_of, stories
from support.join_outcome import await_committed, expected_of, lag_of, outcome_of, plain, records, states
from support.join_sources import Sources
from support.join_views import Views
from support.received import instant

pytestmark = pytest.mark.integration

TOKEN = "token-of-the-tests"


@pytest.fixture
def sources(contract):
    return Sources(contract)


@pytest.mark.parametrize(("store", "coalesce_ms"), [("memory", "0"), ("rocksdb", "50")])
def test_any_order_and_duplication_gives_what_the_reference_model_says(
    contract, sources, start_streams, store, coalesce_ms
):
    events = list(chain.from_iterable(stories(seed=1, count=12)))
    half = len(events) // 2
    sources.send(events[:half])
    worker = start_streams(STREAMS_STORE=store, STREAMS_COALESCE_MS=coalesce_ms)
    sources.send(events[half:])
    await_committed(contract)
    expected = expected_of(events)
    outcome = outcome_of(contract)
    print(store, outcome)
    assert outcome.differences(expected) == []
    with Views([worker.url], TOKEN) as views:
        assert views.differences(expected) == []
    assert records(contract, "dead-letters") == []


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_a_tombstone_takes_the_row_and_all_that_it_adds(contract, sources, start_streams, store):
    """Removed are the state (as a tombstone), the view, and for a message its part of the conversation."""
    keep = [opened("c", 1), inserted("m1", "c", "incoming", 10), inserted("m2", "c", "outgoing", 20)]
    gone = [inserted("m3", "c", "outgoing", 15), status_of("m3", "read", 30), inserted("m4", "c", "incoming", 40)]
    left = [opened("d", 2), inserted("n1", "d", "incoming", 11)]
    moved = [inserted("m5", "c", "incoming", 50), message("m5", conversation_id="e", updated_at=at(51))]
    worker = start_streams(STREAMS_STORE=store, STREAMS_SESSION_TIMEOUT_S="6")
    sources.send([*keep, *gone, *left, *moved])
    await_committed(contract)
    sources.remove("messages", "m3", "m4", "m5", "never seen")
    sources.remove("conversations", "d", "never seen")
    await_committed(contract)

    expected = expected_of(keep)
    assert states(contract, "conversation-state") == expected.conversations
    assert states(contract, "message-state") == expected.messages | expected_of(left).messages
    with Views([worker.url], TOKEN) as views:
        assert views.differences(expected) == []
        assert [views.get("messages", key) for key in ("m3", "m4", "m5", "never seen")] == [None] * 4
        assert [views.get("conversations", key) for key in ("d", "e", "never seen")] == [None] * 3

    back = [inserted("m3", "c", "incoming", 60), opened("d", 70)]
    sources.send(back)
    await_committed(contract)
    again = expected_of([*keep, *back])
    assert states(contract, "conversation-state") == again.conversations
    worker.kill()
    successor = start_streams(STREAMS_STORE=store, STREAMS_SESSION_TIMEOUT_S="6")
    with Views([successor.url], TOKEN) as views:
        assert views.differences(again) == []
        assert views.get("messages", "m4") is None
        assert views.get("conversations", "e") is None


def test_outputs_carry_cloudevents_headers(contract, sources, start_streams):
    sources.send([opened("c\u00e9", 1), inserted("m\u00e9", "c\u00e9", "outgoing", 2), status_of("m\u00e9", "sent", 3)])
    start_streams(STREAMS_STORE="memory")
    await_committed(contract)
    reader = AvroReader(contract.registry.url)
    for topic, kind, subject in (
        ("message-state", "openbsp.message-state", "m\u00e9"),
        ("conversation-state", "openbsp.conversation-state", "c\u00e9"),
        ("status-changes", "openbsp.status-change", "m\u00e9"),
    ):
        for record in records(contract, topic):
            headers, fields = headers_of(record), plain(reader.value(record))
            assert {name: headers[name] for name in ("ce_specversion", "ce_type", "ce_subject", "content-type")} == {
                "ce_specversion": "1.0",
                "ce_type": kind,
                "ce_subject": subject,
                "content-type": "application/avro",
            }
            assert headers["ce_source"]
            told = [fields.get(name) for name in ("at", "updated_at", "created_at", "timestamp")]
            # A conversation without a row has the time of its last message.
            told.append((fields.get("last_message") or {}).get("timestamp"))
            assert instant(headers["ce_time"]) == next(time for time in told if time is not None)
            assert UUID(headers["ce_id"])
            if topic == "status-changes":
                assert headers["ce_id"] == status_change_event_id(
                    fields["message_id"], fields["status"], conversation_known=fields["conversation"] is not None
                )


def test_positions_reach_the_end_after_each_rebalance(contract, sources, start_streams):
    """A worker joins, one leaves in order, one is killed, one starts again: each time everything new is committed."""
    told = []

    def work(number: int) -> None:
        events = [
            *next(stories(number, 1)),
            *[inserted(f"r{number}-{n}", f"k{n % 9}", "incoming", n) for n in range(50)],
        ]
        told.extend(events)
        sources.send(events)
        await_committed(contract)

    first = start_streams(STREAMS_STORE="memory", STREAMS_SESSION_TIMEOUT_S="6")
    work(1)
    second = start_streams(STREAMS_STORE="memory", STREAMS_SESSION_TIMEOUT_S="6")
    work(2)
    first.stop()
    assert first.process.returncode == 0
    work(3)
    third = start_streams(STREAMS_STORE="rocksdb", STREAMS_SESSION_TIMEOUT_S="6")
    second.kill()
    work(4)
    third.stop()
    assert third.process.returncode == 0
    assert lag_of(contract) == {}
    assert outcome_of(contract).differences(expected_of(told)) == []
