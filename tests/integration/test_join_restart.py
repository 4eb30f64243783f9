"""A worker with its tables on disk reads only what is new in the changelogs when it starts again, however it ended."""

import re

import pytest

from support.join_cases import at, message
from support.join_fleet import Fleet
from support.join_outcome import await_committed, expected_of, outcome_of, records
from support.join_sources import Sources
from support.wait import eventually

pytestmark = pytest.mark.integration

CHANGELOGS = ("streams-messages-changelog", "streams-conversations-changelog")
_RESTORED = re.compile(r"restored (\d+) records in")


def restored(running: Fleet) -> list[int]:
    """Return how many changelog records each start of a worker has read."""
    return [int(found[1]) for line in running.lines if (found := _RESTORED.search(line))]


def events_of(number: int, count: int) -> list:
    """Return rows that are large, and in one table only: they belong to no conversation yet."""
    return [
        message(f"m{number}-{index}", "insert", thread_id=f"{number}-{index}-" + "x" * 1_500, created_at=at(index))
        for index in range(count)
    ]


def test_a_restart_reads_only_the_new_part_of_the_changelogs(contract, tmp_path):
    """After an orderly end nothing but what others wrote; after a kill what had not reached the disk."""
    sources = Sources(contract)
    # The least memory, so that little is enough to reach the disk.
    with Fleet(contract, tmp_path, STREAMS_ROCKSDB_MEMORY_BYTES=str(8 << 20)) as running:
        worker = running.add()
        worker.part.wait_ready()
        assert eventually(lambda: restored(running)) == [0]
        events = []
        for number in range(4):
            events += events_of(number, 2_000)
            sources.send(events[-2_000:])
            await_committed(contract)
        written = sum(len(records(contract, log)) for log in CHANGELOGS)

        running.kill(worker)
        running.wait_ready()
        # The log's lines come a moment after the answers.
        eventually(lambda: len(restored(running)) == 2)
        after_kill = restored(running)[-1]
        print(f"figure: {written} records in the changelogs, {after_kill} read after the kill")
        assert after_kill < written / 2

        worker.wanted = False
        assert running.remove(worker) == 0
        worker.part.launch()
        worker.wanted = True
        worker.part.wait_ready()
        eventually(lambda: len(restored(running)) == 3)
        assert restored(running)[-1] == 0
        assert outcome_of(contract).differences(expected_of(events)) == []
