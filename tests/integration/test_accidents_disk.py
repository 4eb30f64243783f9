"""The disk of a worker's stores is full or read-only: it ends with a sentence, and goes on by itself once it is not."""

import contextlib
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.engine.errors import StoreDiskError
from streams.engine.stores.rocks import RocksMemory, RocksStore
from support.join_cases import inserted, opened
from support.join_fleet import TOKEN, Fleet
from support.join_outcome import await_committed, expected_of, outcome_of
from support.join_sources import Sources
from support.look import shown
from support.small_disk import small_disk
from support.wait import eventually

pytestmark = pytest.mark.integration

EVENTS = [opened("c", 1), *(inserted(f"m{number}", "c", "outgoing", 2) for number in range(40))]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 64 MiB."""
    with small_disk(tmp_path / "disk", "64m") as mounted:
        if not mounted:
            pytest.skip("only root can mount a small file system")
        yield tmp_path / "disk"


def large(number: int) -> dict:
    """Return an event of 40 KB that nothing compresses."""
    event = inserted(f"large{number}", "c", "incoming", 3)
    text = random.Random(number).randbytes(20_000).hex()
    return {**event, "data": {**event["data"], "content": {"type": "text", "kind": "text", "text": text}}}


def variables(disk: Path) -> dict[str, str]:
    return {"STREAMS_DATA_DIR": str(disk / "stores"), "STREAMS_ROCKSDB_MEMORY_BYTES": str(8 << 20)}


def free_share(running: Fleet) -> float:
    lines = shown(f"{running.urls[0]}/metrics", TOKEN).splitlines()
    (line,) = [line for line in lines if line.startswith("streams_disk_free_share ")]
    return float(line.split()[1])


def told(running: Fleet, *words: str) -> bool:
    """Return whether a line has these words."""
    return any(all(word in line for word in words) for line in running.lines)


def fill(ballast: Path) -> None:
    """Leave no room on a disk, whatever has been removed from it meanwhile."""
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def assert_nothing_lost(contract, events, saw: str) -> None:
    await_committed(contract, within=120)
    differences = outcome_of(contract).differences(expected_of(events))
    print(f"figure: lost: {len(differences)} of the states of {len(events)} events; the operator saw: {saw}")
    assert differences == []


@contextlib.contextmanager
def joined(contract, tmp_path: Path, disk: Path) -> Iterator[Fleet]:
    """Run a worker with its stores on a disk; it has joined the events."""
    Sources(contract).send(EVENTS)
    with Fleet(contract, tmp_path) as running:
        running.add(**variables(disk))
        running.wait_ready()
        await_committed(contract)
        yield running


@pytest.mark.parametrize("size", [5_000, 500_000])
def test_a_store_says_that_its_disk_is_full_even_if_its_writes_would_have_to_wait(disk, size):
    """Each write is faster than what makes room for it: RocksDB stops writes before the first of them has failed."""
    store = RocksStore(disk / "store", RocksMemory(8 << 20))
    value = random.Random(size).randbytes(size)
    ballast = disk / "ballast"
    fill(ballast)

    def write() -> None:
        for number in range((32 << 20) // size):
            store.put(b"%d" % number, value)

    with pytest.raises(StoreDiskError, match=r"No space left on device.* Nothing is lost"):
        write()
    with pytest.raises(StoreDiskError, match="No space left on device"):
        store.close()


def test_a_disk_that_becomes_full_under_a_worker(contract, tmp_path, disk):
    """It ends at the first write that the disk does not take, and at each start until there is room."""
    events = [*EVENTS, *map(large, range(300))]
    with joined(contract, tmp_path, disk) as running:
        ballast = disk / "ballast"
        fill(ballast)
        eventually(lambda: free_share(running) < 0.05)
        Sources(contract).send(events[len(EVENTS) :])
        (worker,) = running.members

        def ended_twice() -> bool:
            fill(ballast)  # the end of a process may make some room
            return len(worker.exits) >= 2

        eventually(ended_twice, within=120)
        assert set(worker.exits) <= {1, 3}
        eventually(lambda: told(running, "CRITICAL", "No space left on device", "Nothing is lost"))
        ballast.unlink()
        running.wait_ready(90)
        assert_nothing_lost(contract, events, "streams_disk_free_share under 0.05, No space left on device")


def test_a_disk_that_is_read_only_at_a_start(contract, tmp_path, disk):
    with joined(contract, tmp_path, disk) as running:
        assert running.remove(running.members[0]) == 0
    subprocess.check_call(["mount", "-o", "remount,ro", disk])
    more = list(map(large, range(10)))
    Sources(contract).send(more)
    with Fleet(contract, tmp_path) as running:
        worker = running.add(**variables(disk))
        eventually(lambda: len(worker.exits) >= 2, within=90)
        assert set(worker.exits) == {1}
        eventually(lambda: told(running, "cannot be used: Read-only file system"))
        subprocess.check_call(["mount", "-o", "remount,rw", disk])
        running.wait_ready(90)
        assert_nothing_lost(contract, [*EVENTS, *more], "cannot be used: Read-only file system")
