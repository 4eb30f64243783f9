"""Idle conversations leave with their messages; the others stay exactly as they are, whenever a worker dies."""

import json
import random
import re
import signal
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import pytest
from confluent_kafka import Consumer, TopicPartition

from support.join_cases import Envelope, inserted, message, opened
from support.join_fleet import TOKEN, Fleet, fleet
from support.join_outcome import Outcome, await_committed, expected_of, outcome_of
from support.join_sources import Sources
from support.join_views import Views
from support.join_workload import workload
from support.wait import eventually

pytestmark = pytest.mark.integration

LONG_AGO, LATER = 2020, 2100
#: After all of them: no activity counts for later than a day after it was received.
RECEIVED_AT = int(datetime(LATER + 1, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
IDLE_AFTER_S = "5"
#: No worker loses its session because the machine is busy. One that is killed comes back under its name.
CALM_SESSION = {"STREAMS_SESSION_TIMEOUT_S": "60"}
_KEYS = re.compile(r'"(c|m|lost)(\d{5})')


def told_in(year: int, events: Iterable[Envelope], prefix: str = "") -> list[Envelope]:
    """Return events as of another year, and the workload's ids with a prefix."""
    text = json.dumps(list(events)).replace('"2026-05-06', f'"{year}-05-06')
    return json.loads(_KEYS.sub(rf'"{prefix}\1\2', text))


def without(all_of: Outcome, kept: Outcome) -> Iterator[tuple[str, str]]:
    """Yield kind and key of what is not kept."""
    yield from (("messages", key) for key in all_of.messages.keys() - kept.messages.keys())
    yield from (("conversations", key) for key in all_of.conversations.keys() - kept.conversations.keys())


def await_outcome(contract, expected: Outcome, *, within: float = 60.0) -> None:
    """Wait until the state topics say what is expected, and go on to say so when all is done."""

    def same() -> bool:
        found = outcome_of(contract).differences(expected)
        assert not found, f"{len(found)} differences\n" + "\n".join(found[:10])
        return True

    eventually(same, within=within, every=0.5)
    await_committed(contract)
    same()


def judge_views(urls: list[str], everything: Outcome, expected: Outcome) -> None:
    with Views(urls, TOKEN) as views:
        assert views.differences(expected) == []
        assert [gone for gone in without(everything, expected) if views.get(*gone) is not None] == []


def test_idle_conversations_leave_and_active_ones_stay_exact(contract, tmp_path):
    """Also a message that an idle conversation has lost to an active one. Who writes again begins anew."""
    idle = told_in(LONG_AGO, workload(seed=21, size=400), "old-")
    idle += told_in(LONG_AGO, [opened("here", 1), inserted("n", "here", "incoming", 2)])
    active = told_in(LATER, workload(seed=22, size=400))
    active += told_in(LONG_AGO, [inserted("moved", "here", "incoming", 3)])
    moved = {"pending": "2026-05-06T00:00:00Z", "sent": "2026-05-06T00:00:00Z"}
    active += told_in(
        LATER, [message("moved", conversation_id="there", status=moved, updated_at="2026-05-06T00:00:00Z")]
    )
    events = idle + active
    random.Random(23).shuffle(events)
    everything = expected_of(events)
    kept = expected_of(active)
    sources = Sources(contract, RECEIVED_AT)
    # All at once: what still comes of a message that is forgotten by then has no conversation, and stays.
    sources.send(events)
    with fleet(contract, tmp_path, 2, STREAMS_IDLE_AFTER_S=IDLE_AFTER_S, **CALM_SESSION) as running:
        # What was told before it left has been told.
        expected = Outcome(kept.messages, kept.conversations, everything.status_changes)
        await_outcome(contract, expected)
        print("all", everything, "kept", kept)
        assert list(without(everything, kept))
        judge_views(running.urls, everything, expected)

        back = told_in(LATER, [inserted("again", "old-c00001", "incoming", 5)])
        sources.send(back)
        again = expected_of(active + back)
        expected = Outcome(again.messages, again.conversations, everything.status_changes | again.status_changes)
        await_outcome(contract, expected)
        judge_views(running.urls, everything, expected)
        assert [member.exits for member in running.members] == [[], []]


def ends_of(contract, topic: str) -> int:
    """Return how many records a topic has had."""
    consumer = Consumer({**contract.kafka.librdkafka(), "group.id": "ends", "log_level": 0})
    try:
        partitions = [TopicPartition(contract.topic(topic), number) for number in range(contract.topics.partitions)]
        return sum(consumer.get_watermark_offsets(partition, timeout=10)[1] for partition in partitions)
    finally:
        consumer.close()


@pytest.mark.parametrize(
    ("store", "session"),
    [
        pytest.param("rocksdb", CALM_SESSION, id="rocksdb"),
        # A session has to end after each kill: it has no name.
        pytest.param(
            "memory",
            {"STREAMS_SESSION_TIMEOUT_S": "15"},
            marks=pytest.mark.long,
            id="memory, all of it from the changelogs",
        ),
    ],
)
def test_a_removal_that_a_kill_interrupts_is_completed(contract, tmp_path, store, session):
    """Killed when the first of the messages' tombstones is there, when half of them are, and when all of them are."""
    active = told_in(LATER, workload(seed=31, size=200))
    events = list(active)
    sources = Sources(contract, RECEIVED_AT)
    sources.send(active)
    with Fleet(contract, tmp_path, STREAMS_STORE=store, STREAMS_IDLE_AFTER_S=IDLE_AFTER_S, **session) as running:
        worker = running.add()
        worker.part.wait_ready()
        for number, share in enumerate((0.0, 0.5, 1.0)):
            idle = told_in(LONG_AGO, workload(seed=32 + number, size=800), f"{number}-")
            events += idle
            told = ends_of(contract, "messages") + sum(event["entity"] == "messages" for event in idle)
            enough = told + max(1, int(share * len(expected_of(idle).messages)))
            # All at once, as in the test above.
            running.pause(worker)
            sources.send(idle)
            running.resume(worker)
            eventually(lambda enough=enough: ends_of(contract, "messages") >= enough, within=60)
            running.kill(worker)
            eventually(lambda number=number: worker.exits == [-signal.SIGKILL] * (number + 1))
            left = outcome_of(contract).conversations.keys() - expected_of(active).conversations.keys()
            print(f"killed with {len(left)} idle conversations left")
            running.wait_ready()
        everything, kept = expected_of(events), expected_of(active)
        expected = Outcome(kept.messages, kept.conversations, everything.status_changes)
        await_outcome(contract, expected)
        judge_views(running.urls, everything, expected)
        # What is in the changelogs alone has to be the same.
        assert running.remove(worker) == 0
        heir = running.add(STREAMS_STORE="memory")
        heir.part.wait_ready()
        judge_views([heir.part.url], everything, expected)
        assert running.reasons == []
