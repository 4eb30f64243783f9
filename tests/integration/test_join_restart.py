"""A worker with its tables on disk reads only what is new in the changelogs when it starts again, however it ended."""

import contextlib
import itertools
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.join_cases import at, message, opened
from support.join_fleet import TOKEN, Fleet, Member, fleet
from support.join_outcome import await_committed, expected_of, outcome_of, records
from support.join_sources import Sources
from support.look import shown
from support.views_world import partition_of
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


_ASSIGNED = re.compile(r"^(worker-\d): .*(?:own partitions \[([\d, ]*)\]|no partitions) in generation (\d+)")


def owned(running: Fleet, worker: str) -> list[tuple[set[int], int]]:
    """Return which partitions a worker has taken over, each time, and in which generation of the group; maybe none."""
    found = [match for line in running.lines if (match := _ASSIGNED.search(line)) and match[1] == worker]
    return [({int(number) for number in (match[2] or "").split(",") if number}, int(match[3])) for match in found]


def test_a_worker_that_was_killed_has_its_partitions_again_at_once_and_nobody_else_gives_up_any(contract, tmp_path):
    """The session of the killed process, which a rebalance would wait for, lasts longer than the test does."""
    sources = Sources(contract)
    with fleet(contract, tmp_path, 2, STREAMS_SESSION_TIMEOUT_S="120") as running:

        def shared() -> bool:
            last = [owned(running, f"worker-{number}")[-1:] for number in (1, 2)]
            numbers = [number for one in last for partitions, _ in one for number in partitions]
            generations = {generation for one in last for _, generation in one}
            return sorted(numbers) == list(range(contract.topics.partitions)) and len(generations) == 1

        eventually(shared, within=60)
        before, others = owned(running, "worker-1"), owned(running, "worker-2")
        events = events_of(1, 200)
        sources.send(events)
        running.kill(running.members[0])
        eventually(lambda: len(owned(running, "worker-1")) > len(before), within=60)
        more = events_of(2, 200)
        sources.send(more)
        await_committed(contract)
        assert owned(running, "worker-1")[len(before) :] == before[-1:]
        assert owned(running, "worker-2") == others
        assert outcome_of(contract).differences(expected_of([*events, *more])) == []


_INDEXED = re.compile(r"indexed (\d+) conversations in .* (\d+) were indexed before")


def indexed(running: Fleet, worker: str) -> list[tuple[int, int]]:
    """Return how many conversations each takeover of a worker has indexed, and how many it found indexed."""
    found = [match for line in running.lines if line.startswith(worker) and (match := _INDEXED.search(line))]
    return [(int(match[1]), int(match[2])) for match in found]


@contextlib.contextmanager
def reading(url: str, keys: Sequence[str]) -> Iterator[list[tuple[int, float]]]:
    """Ask a worker for one conversation after the other; yield the statuses of its answers, and their seconds."""
    answers: list[tuple[int, float]] = []
    ended = threading.Event()

    def read() -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=url, headers=headers, timeout=90, trust_env=False) as client:
            for key in itertools.cycle(keys):
                if ended.is_set():
                    return
                began = time.monotonic()
                status = client.get(f"/conversations/{key}").status_code
                answers.append((status, time.monotonic() - began))

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        try:
            yield answers
        finally:
            ended.set()
            reader.result()


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_partitions_that_stay_are_not_indexed_again_and_no_read_is_refused(contract, tmp_path, store):
    """A third worker joins two others, and leaves them again, while one of these is asked all the time."""
    conversations = [f"c{number}" for number in range(64)]
    events = [opened(key, 1) for key in conversations]
    Sources(contract).send(events)
    partitions = set(range(contract.topics.partitions))
    with fleet(contract, tmp_path, 2, STREAMS_STORE=store, STREAMS_READ_WAIT_S="60") as running:

        def shared() -> bool:
            last = [owned(running, member.part.name)[-1:] for member in running.wanted]
            numbers = [number for one in last for own, _ in one for number in own]
            return (
                all(last) and sorted(numbers) == sorted(partitions) and len({at for one in last for _, at in one}) == 1
            )

        def is_indexed(name: str) -> bool:
            own = [line for line in running.lines if line.startswith(name)]
            takeovers = [line for line in own if _ASSIGNED.search(line) or _INDEXED.search(line)]
            return _INDEXED.search(takeovers[-1]) is not None

        eventually(shared, within=60)
        await_committed(contract)
        eventually(lambda: all(is_indexed(member.part.name) for member in running.members))
        first, second = (member.part.name for member in running.members)
        before = {name: (owned(running, name)[-1][0], len(indexed(running, name))) for name in (first, second)}
        with reading(running.urls[0], conversations) as answers:
            eventually(lambda: len(answers) > 100)
            third = running.add(STREAMS_STORE=store)
            eventually(lambda: owned(running, third.part.name) and shared(), within=60)
            for name, (own, known) in before.items():
                eventually(lambda name=name, known=known: len(indexed(running, name)) > known)
                came = owned(running, name)[-1][0] - own
                assert indexed(running, name)[known][0] == sum(
                    partition_of(key, len(partitions)) in came for key in conversations
                )
            asked = len(answers)
            eventually(lambda: len(answers) > asked + 100)
            assert running.remove(third) == 0
            eventually(shared, within=60)
            asked = len(answers)
            eventually(lambda: len(answers) > asked + 100)
        slowest = max(seconds for _, seconds in answers)
        print(f"figure: {len(answers)} reads, slowest {slowest:.1f} s")
        assert {status for status, _ in answers} == {200}
        assert outcome_of(contract).differences(expected_of(events)) == []


def copies(worker: Member) -> dict[int, float]:
    """Return of which partitions a worker keeps copies, and how many records these lack."""
    lags: dict[int, float] = {}
    for family in text_string_to_metric_families(shown(f"{worker.part.url}/metrics", TOKEN)):
        if family.name == "streams_standby_lag_records":
            for sample in family.samples:
                number = int(sample.labels["partition"])
                lags[number] = lags.get(number, 0.0) + sample.value
    return lags


def test_a_worker_that_is_gone_for_good_is_followed_by_one_that_has_copies_and_reads_only_the_rest(contract, tmp_path):
    """Of three workers each keeps copies of what others own; the last one has copies of all that the others leave."""
    sources = Sources(contract)
    partitions = set(range(contract.topics.partitions))
    with fleet(contract, tmp_path, 3, STREAMS_STANDBYS="1", STREAMS_SESSION_TIMEOUT_S="6") as running:

        def followed() -> bool:
            """Whether each partition has an owner, and elsewhere a copy that is complete."""
            takeovers = [owned(running, member.part.name) for member in running.wanted]
            assert all(takeovers)
            own = [one[-1][0] for one in takeovers]
            kept = [copies(member) for member in running.wanted]
            assert sorted(number for numbers in own for number in numbers) == sorted(partitions)
            assert sorted(number for numbers in kept for number in numbers) == sorted(partitions)
            assert not any(mine & others.keys() for mine, others in zip(own, kept, strict=True))
            return not any(lag for lags in kept for lag in lags.values())

        events = events_of(1, 1_000)
        sources.send(events)
        await_committed(contract)
        for _ in range(2):
            eventually(followed, within=60)
            gone = running.wanted[0]
            gone.wanted = False
            takeovers = len(restored(running)) + len(running.wanted)
            running.kill(gone)
            last = running.wanted[-1].part.name
            eventually(lambda until=takeovers: len(restored(running)) >= until, within=60)
        eventually(lambda: owned(running, last)[-1][0] == partitions)
        written = sum(len(records(contract, log)) for log in CHANGELOGS)
        print(f"figure: {written} records in the changelogs, {restored(running)[-1]} read by the last takeover")
        assert written > len(events)
        assert restored(running)[-1] == 0
        assert outcome_of(contract).differences(expected_of(events)) == []


def test_partitions_that_stay_are_at_work_while_those_of_a_worker_that_is_gone_are_read(contract, tmp_path):
    """The changelogs of one partition have more records than the others wait for, and nobody has a copy of it."""
    sources, every = Sources(contract), set(range(contract.topics.partitions))
    here = [key for key in map(str, range(60_000)) if partition_of(key, contract.topics.partitions) == 0]
    rows = here[:12_000]
    events = [message(f"{row}", "insert", conversation_id=here[-1], created_at=at(int(row))) for row in rows]
    with fleet(contract, tmp_path, 2, STREAMS_SESSION_TIMEOUT_S="6") as running:
        sources.send(events)
        await_committed(contract)
        written = sum(len(records(contract, log)) for log in CHANGELOGS)
        (gone,) = (member for member in running.wanted if 0 in owned(running, member.part.name)[-1][0])
        (last,) = (member.part.name for member in running.wanted if member is not gone)
        before = len(owned(running, last))
        gone.wanted = False
        running.kill(gone)
        more = events_of(1, 200)
        sources.send(more)
        eventually(lambda: owned(running, last)[-1][0] == every, within=60)
        await_committed(contract)
        takeovers = [partitions for partitions, _ in owned(running, last)[before:]]
        print(f"figure: {written} records in the changelogs, {restored(running)[-2:]} read by the last takeovers")
        assert takeovers == [every - {0}, every]
        assert any("partitions [0] are read from their changelogs first" in line for line in running.lines)
        assert restored(running)[-1] < written / 2
        assert outcome_of(contract).differences(expected_of([*events, *more])) == []
