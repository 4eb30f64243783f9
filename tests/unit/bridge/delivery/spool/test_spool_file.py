"""The spool's file: what was stored is there after anything that can happen to a process."""

import asyncio
import errno
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from bridge.delivery.spool.file import SpoolFile, StoredEvent, Totals
from bridge.delivery.spool.spool import Spool
from bridge.errors import SpoolError, SpoolInUseError, SpoolUnavailableError
from bridge.metrics import Metrics

MEBIBYTE = 1024 * 1024


def bodies(file: SpoolFile) -> list[bytes]:
    return [row.body for row in file.read(None, 1_000_000, 1 << 40)]


def test_events_come_back_in_order(file: SpoolFile):
    file.append([(1, b"a"), (2, b"b")])
    file.append([(3, b"c")])
    rows = file.read(None, 10, MEBIBYTE)
    assert [(row.received_at, row.body) for row in rows] == [(1, b"a"), (2, b"b"), (3, b"c")]
    assert [row.body for row in file.read(rows[0], 10, MEBIBYTE)] == [b"b", b"c"]
    assert file.totals() == Totals(3, 3)
    assert file.oldest() == 1


def test_reading_is_limited_by_count_and_size_but_never_stuck(file: SpoolFile):
    file.append([(0, b"x" * 100) for _ in range(10)])
    assert len(file.read(None, 4, MEBIBYTE)) == 4
    assert len(file.read(None, 10, 250)) == 2
    assert len(file.read(None, 10, 1)) == 1


def test_a_number_is_never_used_twice(file: SpoolFile):
    """An acknowledgement that comes late must not remove a newer event."""
    file.append([(0, b"old")])
    old = file.read(None, 10, MEBIBYTE)
    file.delete(old)
    file.append([(0, b"new")])
    file.delete(old)
    assert bodies(file) == [b"new"]


def test_numbers_of_a_former_file_mean_nothing_in_the_new_one(file: SpoolFile):
    file.append([(0, b"old")])
    old = file.read(None, 10, MEBIBYTE)
    assert file.start_over(old[-1])
    file.append([(0, b"new")])
    file.delete(old)
    file.quarantine(old[0], "late")
    assert bodies(file) == [b"new"]
    assert file.quarantined() == 0
    assert file.erase(old) == 0
    assert [row.body for row in file.read(old[-1], 10, MEBIBYTE)] == [b"new"]
    assert not file.start_over(old[-1])
    file.quarantine(file.read(None, 1, MEBIBYTE)[0], "refused")
    assert [row.body for row in file.read_quarantine(old[-1], MEBIBYTE)] == [b"new"]


def test_it_does_not_start_over_while_it_holds_anything_else(file: SpoolFile):
    file.append([(0, b"a"), (0, b"b")])
    first, second = file.read(None, 10, MEBIBYTE)
    assert not file.start_over(first)
    file.quarantine(first, "refused")
    assert not file.start_over(second)
    assert bodies(file) == [b"b"]


def test_quarantine_keeps_events_until_they_are_released(path: Path):
    file = SpoolFile(path)
    file.append([(1, b"a"), (2, b"b"), (3, b"c")])
    file.quarantine(file.read(None, 10, MEBIBYTE)[0], "refused")
    assert bodies(file) == [b"b", b"c"]
    file.close()
    file = SpoolFile(path)
    assert file.quarantined() == 1
    file.release_quarantine()
    assert [(row.received_at, row.body) for row in file.read(None, 10, MEBIBYTE)] == [(2, b"b"), (3, b"c"), (1, b"a")]
    assert file.quarantined() == 0
    file.close()


def test_what_is_remembered_outlives_a_restart(path: Path):
    file = SpoolFile(path)
    assert file.recall("name") is None
    file.remember("name", "one")
    file.remember("name", "two")
    file.close()
    file = SpoolFile(path)
    assert file.recall("name") == "two"
    file.close()


def test_what_is_remembered_outlives_an_upgrade(path: Path):
    """Its processes have files of their own, and the former ones are removed."""
    former = SpoolFile(path)
    former.remember("name", "one")
    successor = SpoolFile(path.with_name("spool-7.db"))
    assert successor.recall("name") == "one"
    assert successor.recall("another") is None
    former.remove()
    former.close()
    assert successor.recall("name") == "one"
    successor.close()


@pytest.mark.parametrize("replacement", ["set aside", "start over"])
def test_what_is_remembered_is_in_the_file_that_takes_the_place_of_another(path: Path, replacement: str):
    """Nobody would write it again: those who remember it know that they have."""
    file = SpoolFile(path)
    file.remember("recalled", "one")
    file.close()
    file = SpoolFile(path)
    assert file.recall("recalled") == "one"
    file.remember("remembered", "first")
    file.remember("remembered", "second")
    if replacement == "set aside":
        file.replace_damaged()
    else:
        assert file.start_over(None)
    file.append([(1, b"new")])
    file.close()
    file = SpoolFile(path)
    assert (file.recall("recalled"), file.recall("remembered")) == ("one", "second")
    file.close()


def test_bytes_that_were_changed_are_noticed(path: Path):
    file = SpoolFile(path)
    file.append([(1, b"good"), (2, b"evil"), (3, b"good")])
    file.close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE event SET body = ? WHERE received_at = 2", (b"EVIL",))
    database.close()
    file = SpoolFile(path)
    assert bodies(file) == [b"good", b"good"]
    assert file.quarantined() == 1
    file.close()


def test_damaged_events_are_told_stay_in_quarantine_and_hide_none_behind_them(path: Path):
    file = SpoolFile(path)
    file.append([(1, b"evil"), (1, b"evil"), (2, b"good")])
    file.close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE event SET body = ? WHERE received_at = 1", (b"EVIL",))
    database.close()
    file = SpoolFile(path)
    damaged: list[StoredEvent] = []
    assert [row.body for row in file.read(None, 1, MEBIBYTE, damaged.append)] == [b"good"]
    assert [row.body for row in damaged] == [b"EVIL", b"EVIL"]
    file.release_quarantine()
    assert file.totals() == Totals(1, 4)
    assert file.quarantined() == 2
    file.close()


def test_the_runbook_removes_damaged_events_and_no_others_while_the_bridge_runs(path: Path):
    runbook = (Path(__file__).parents[5] / "docs" / "runbook.md").read_text("utf-8")
    (statement,) = re.findall(r'`sqlite3 spool-N\.db "([^"]+)"`', runbook)
    file = SpoolFile(path)
    file.append([(1, b"evil"), (2, b"refused"), (3, b"good")])
    with closing(sqlite3.connect(path)) as operator, operator:
        operator.execute("UPDATE event SET body = ? WHERE received_at = 1", (b"EVIL",))
    refused, _ = file.read(None, 10, MEBIBYTE)
    file.quarantine(refused, "refused by Kafka")
    with closing(sqlite3.connect(path)) as operator, operator:
        operator.execute(statement)
    assert [row.body for row in file.read_quarantine(None, MEBIBYTE)] == [b"refused"]
    file.append([(4, b"new")])
    assert bodies(file) == [b"good", b"new"]
    file.close()


@pytest.mark.parametrize("damage", ["header", "middle", "truncated"])
def test_a_damaged_file_is_set_aside_and_never_ignored(path: Path, damage: str):
    file = SpoolFile(path)
    file.append([(1, b"x" * 1000) for _ in range(200)])
    file.close()
    with path.open("r+b") as raw:
        if damage == "truncated":
            raw.truncate(path.stat().st_size // 2)
        else:
            raw.seek(0 if damage == "header" else 8 * 4096)
            raw.write(b"\xa5" * 8192)
    size = path.stat().st_size
    file = SpoolFile(path)
    (aside,) = file.set_aside
    assert aside.stat().st_size == size
    assert aside.name.startswith("spool-0.db.damaged-")
    assert file.totals().events == 0
    file.append([(1, b"new")])
    assert bodies(file) == [b"new"]
    file.close()
    assert SpoolFile(path).set_aside == []


def test_a_file_that_breaks_while_it_is_used_is_set_aside(file: SpoolFile, path: Path):
    file.append([(1, b"x" * 1000) for _ in range(200)])
    with path.open("r+b") as raw:
        raw.write(b"\xa5" * 4096)
    path.with_name(path.name + "-wal").write_bytes(b"")
    aside = file.replace_damaged()
    assert aside.exists()
    file.append([(1, b"new")])
    assert bodies(file) == [b"new"]


def test_a_file_is_set_aside_with_the_log_that_sqlite_reads_with_it(file: SpoolFile, path: Path, tmp_path: Path):
    """While another process reads the file, as where the disk fails, nothing of the log is folded into it."""
    file.append([(1, b"in the file")])
    file.make_room()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM event").fetchone() == (1,)
        file.append([(2, b"in the log")])
        aside = file.replace_damaged()
        found = tmp_path / "found"
        found.mkdir()
        for part in aside.parent.glob(f"{aside.name}*"):
            shutil.copy(part, found)
    with closing(sqlite3.connect(found / aside.name)) as copy:
        assert copy.execute("SELECT body FROM event").fetchall() == [(b"in the file",), (b"in the log",)]


class KilledError(BaseException):
    pass


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_kill_while_a_file_is_set_aside_leaves_what_is_in_the_log_alone(
    file: SpoolFile, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
):
    """SQLite deletes a write-ahead log beside an empty file, as the next start would make one."""
    rename, done = Path.rename, []

    def until_killed(self: Path, target: Path) -> Path:
        if len(done) == renames:
            raise KilledError
        done.append(self)
        return rename(self, target)

    file.make_room()
    found = tmp_path / "found"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM event").fetchone() == (0,)
        file.append([(2, b"in the log alone")])
        with monkeypatch.context() as killed:
            killed.setattr(Path, "rename", until_killed)
            with pytest.raises(KilledError):
                file.replace_damaged()
        shutil.copytree(path.parent, found)
    assert b"in the log alone" not in b"".join(each.read_bytes() for each in found.glob("*.db"))
    SpoolFile(found / path.name).close()
    assert b"in the log alone" in b"".join(each.read_bytes() for each in found.iterdir())


def test_a_log_that_a_killed_process_set_aside_without_its_file_is_told(path: Path):
    SpoolFile(path).close()
    aside = path.with_name(f"{path.name}.damaged-20261128T101500.000000Z")
    alone = aside.with_name(f"{aside.name}-wal")
    alone.touch()
    for _ in range(2):
        file = SpoolFile(path)
        assert file.set_aside == [alone]
        file.close()
    aside.touch()
    file = SpoolFile(path)
    assert file.set_aside == []
    file.close()


def test_a_file_system_that_allows_no_log_is_told(path: Path, monkeypatch: pytest.MonkeyPatch):
    """SQLite uses a journal there, and a loss of power could bring back what was changed since."""
    connect = sqlite3.connect
    with monkeypatch.context() as patched:
        # It has no shared memory, as a file system of a network may have none.
        patched.setattr(
            sqlite3, "connect", lambda path, **named: connect(f"file:{path}?vfs=unix-dotfile", uri=True, **named)
        )
        with pytest.raises(SpoolUnavailableError, match="does not allow a write-ahead log"):
            SpoolFile(path)
    SpoolFile(path).close()


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("replacement", ["set aside", "start over"])
def test_a_disk_that_fails_while_the_file_is_replaced_may_be_mended(
    file: SpoolFile, monkeypatch: pytest.MonkeyPatch, replacement: str
):
    file.append([(1, b"old")])
    old = file.read(None, 10, MEBIBYTE)
    with monkeypatch.context() as disk:
        disk.setattr(os, "open", full)
        if replacement == "set aside":
            assert file.replace_damaged().exists()
        else:
            assert file.start_over(old[-1])
        for _ in range(2):
            with pytest.raises(sqlite3.Error, match="No space left"):
                file.append([(2, b"lost")])
    file.append([(3, b"new")])
    file.delete(old)
    assert bodies(file) == [b"new"]


@pytest.mark.parametrize("replacement", ["set aside", "start over"])
def test_a_file_that_cannot_be_replaced_is_still_there(
    file: SpoolFile, monkeypatch: pytest.MonkeyPatch, replacement: str
):
    file.append([(1, b"old")])
    old = file.read(None, 10, MEBIBYTE)
    with monkeypatch.context() as disk:
        disk.setattr(Path, "rename", full)
        disk.setattr(Path, "unlink", full)
        if replacement == "set aside":
            with pytest.raises(OSError, match="No space left"):
                file.replace_damaged()
        else:
            with pytest.raises(sqlite3.Error, match="No space left"):
                file.start_over(old[-1])
    assert file.read(None, 10, MEBIBYTE) == old
    file.delete(old)
    assert bodies(file) == []


def test_a_closed_file_is_not_opened_again(path: Path):
    file = SpoolFile(path)
    file.close()
    with pytest.raises(sqlite3.Error, match="is closed"):
        file.append([(1, b"late")])


def test_a_file_of_a_newer_version_is_left_alone(path: Path):
    SpoolFile(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(SpoolError, match="another version"):
        SpoolFile(path)
    assert list(path.parent.glob("*.damaged-*")) == []


def test_a_second_process_is_refused_with_the_name_of_the_file(file: SpoolFile, path: Path):
    open_it = "import sys, pathlib, bridge.delivery.spool.file as s; s.SpoolFile(pathlib.Path(sys.argv[1]))"
    child = subprocess.run([sys.executable, "-c", open_it, path], capture_output=True, text=True, check=False)
    assert child.returncode != 0
    assert f"SpoolInUseError: {path}: in use by process {os.getpid()}" in child.stderr
    assert "BRIDGE_SPOOL_DIR" in child.stderr
    assert file.totals().events == 0


def test_a_second_user_in_the_same_process_is_refused_too(file: SpoolFile, path: Path):
    with pytest.raises(SpoolInUseError):
        SpoolFile(path)
    assert file.path == path


def test_a_file_is_free_again_after_its_owner(path: Path):
    SpoolFile(path).close()
    SpoolFile(path).close()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path):
    (tmp_path / "occupied").write_text("a file")
    with pytest.raises(SpoolError, match="occupied"):
        SpoolFile(tmp_path / "occupied" / "spool-0.db")


def test_the_disk_is_given_back(file: SpoolFile, path: Path):
    file.append([(1, b"x" * 100_000) for _ in range(300)])
    file.delete(file.read(None, 1000, 1 << 40))
    parts = 1
    while file.shrink():
        parts += 1
    assert parts > 5
    assert path.stat().st_size < MEBIBYTE
    file.append([(1, b"after")])
    assert bodies(file) == [b"after"]


def content(path: Path) -> bytes:
    return b"".join(each.read_bytes() for each in path.parent.iterdir())


def test_no_event_waits_for_another_process_that_reads_the_file(path: Path, monkeypatch: pytest.MonkeyPatch):
    """The log is folded in once nobody reads it any more, with nothing else having to happen."""
    monkeypatch.setattr("bridge.delivery.spool.file._PATIENCE_S", 24 * 60 * 60.0)
    file = SpoolFile(path)
    file.append([(1, b"canary" + b"x" * 5_000)])

    async def check() -> None:
        spool = Spool(file, 1 << 30, Metrics(CollectorRegistry()))
        rows = await spool.read(None, 10, 1 << 40)
        await spool.remove(rows)
        spool.forget(rows)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM event").fetchone()
            await spool.remember("written", "after the reader began")
            await spool.shrink()
            await spool.status()
            stored = asyncio.get_running_loop().create_future()
            spool.put(2, b"kept", stored.set_result)
            assert await stored is None
            assert b"canary" in content(path)
        await spool.status()
        assert b"canary" not in content(path)
        await spool.close()

    asyncio.run(asyncio.wait_for(check(), 60))
    assert bodies(file) == [b"kept"]
    file.close()


@pytest.mark.parametrize("ends", [True, False])
def test_an_erasure_waits_for_a_reader_and_events_are_stored_meanwhile(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ends: bool,  # noqa: FBT001 a parameter of the test
):
    monkeypatch.setattr("bridge.delivery.spool.file._PATIENCE_S", 24 * 60 * 60.0)
    if not ends:
        monkeypatch.setattr("bridge.delivery.spool.spool._READER_S", 0.0)
    file = SpoolFile(path)
    file.append([(1, b"canary")])

    async def check() -> None:
        spool = Spool(file, 1 << 30, Metrics(CollectorRegistry()))
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM event").fetchone()
            await spool.erase(await spool.read(None, 10, 1 << 40))
            squeezing = asyncio.create_task(spool.squeeze())
            stored = asyncio.get_running_loop().create_future()
            spool.put(2, b"kept", stored.set_result)
            assert await stored is None
            if ends:
                assert not squeezing.done()
                reader.execute("COMMIT")
                await squeezing
            else:
                with pytest.raises(sqlite3.OperationalError, match="another process reads"):
                    await squeezing
        await spool.close()

    asyncio.run(asyncio.wait_for(check(), 60))
    assert (b"canary" in content(path)) is not ends
    file.close()


FILLER = textwrap.dedent(
    """
    import asyncio, resource, sys
    from pathlib import Path
    from prometheus_client import CollectorRegistry
    from bridge.metrics import Metrics
    from bridge.delivery.spool.spool import Spool
    from bridge.delivery.spool.file import SpoolFile

    async def main():
        file = SpoolFile(Path(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, 256 * 1024))
        spool = Spool(file, 1 << 30, Metrics(CollectorRegistry()))
        stored, failed = 0, None
        while failed is None:
            settled = asyncio.get_running_loop().create_future()
            spool.put(stored, b"x" * 400, settled.set_result)
            failed = await settled
            stored += failed is None
        print(stored)
        await spool.close()
        file.close()

    asyncio.run(main())
    """
)


def test_the_room_that_there_is_is_used(path: Path):
    """Single commits fill the write-ahead log many times faster than the file."""
    child = subprocess.run([sys.executable, "-c", FILLER, path], capture_output=True, text=True, check=True, timeout=60)
    stored = int(child.stdout)
    assert stored > 300
    file = SpoolFile(path)
    assert [row.received_at for row in file.read(None, 10_000, 1 << 40)] == list(range(stored))
    file.close()


def test_every_commit_is_synced(file: SpoolFile):
    (synchronous,) = file._db.execute("PRAGMA synchronous").fetchone()
    (journal,) = file._db.execute("PRAGMA journal_mode").fetchone()
    assert (synchronous, journal) == (2, "wal")


def test_a_new_directory_is_synced_into_those_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Else a machine that loses its power forgets the directory, and all that was answered with spooled."""
    synced = []
    monkeypatch.setattr("bridge.delivery.spool.file.sync_directory", synced.append)
    SpoolFile(tmp_path / "data" / "spool" / "spool-0.db").close()
    assert set(synced) == {tmp_path, tmp_path / "data", tmp_path / "data" / "spool"}


SECTOR = 512


@pytest.mark.parametrize("seed", range(8))
def test_after_a_loss_of_power_all_that_was_stored_is_there_and_the_last_write_whole_or_not_at_all(
    path: Path, tmp_path: Path, seed: int
):
    """Sectors of the last write that were not synced yet are on the disk, or are zero, or hold something else."""
    chance = random.Random(seed)
    log = path.with_name(path.name + "-wal")
    file = SpoolFile(path)
    stored: list[bytes] = []
    lost = 0
    for number in range(40):
        before = log.read_bytes()
        group = [b"%d-%d-" % (number, each) + chance.randbytes(chance.randrange(3000)) for each in range(3)]
        file.append([(1, body) for body in group])
        after = log.read_bytes()
        if not after.startswith(before):
            stored += group
            continue  # folded into the file, and begun again
        torn = bytearray(after)
        for start in range(-(-len(before) // SECTOR) * SECTOR, len(after), SECTOR):
            size = min(SECTOR, len(after) - start)
            torn[start : start + size] = chance.choice(
                [after[start : start + size], bytes(size), chance.randbytes(size)]
            )
        copy = tmp_path / f"after-{number}" / path.name
        copy.parent.mkdir()
        copy.write_bytes(path.read_bytes())
        copy.with_name(log.name).write_bytes(torn[: chance.randrange(len(before), len(after) + 1)])
        with closing(SpoolFile(copy)) as found:
            assert found.set_aside == []
            recovered = bodies(found)
            assert recovered in (stored, stored + group)
        lost += len(set(stored) - set(recovered))
        stored += group
    file.close()
    assert len(stored) == 120
    print(f"\nfigure: lost: {lost} of {len(stored)} stored")


WRITER = textwrap.dedent(
    """
    import random, sys
    from pathlib import Path
    from bridge.delivery.spool.file import SpoolFile

    def say(line):
        # In one write: a kill must not tear a line, as it can where the environment makes Python's output unbuffered.
        sys.stdout.write(line + "\\n")
        sys.stdout.flush()

    file = SpoolFile(Path(sys.argv[1]))
    number = int(sys.argv[2])
    say("open")
    while True:
        group = [(number + index, b"x" * random.randrange(5000)) for index in range(random.randrange(1, 20))]
        file.append(group)
        number += len(group)
        say(f"stored {number}")
        if random.random() < 0.3:
            rows = file.read(None, random.randrange(1, 30), 1 << 40)
            say(f"removing {rows[-1].received_at + 1}")
            file.delete(rows)
    """
)


@pytest.mark.parametrize("seed", range(8))
def test_a_process_that_is_killed_at_any_moment_loses_nothing_that_it_stored(path: Path, seed: int):
    chance = random.Random(seed)
    stored = removing = 0
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, path, str(stored)], stdout=subprocess.PIPE, text=True
        ) as child:
            for _ in range(chance.randrange(2, 60)):
                word, _, value = child.stdout.readline().strip().partition(" ")
                stored = int(value) if word == "stored" else stored
                removing = int(value) if word == "removing" else removing
            child.send_signal(signal.SIGKILL)
            for line in child.stdout:
                word, _, value = line.strip().partition(" ")
                stored = int(value) if word == "stored" else stored
                removing = int(value) if word == "removing" else removing
        file = SpoolFile(path)
        assert file.set_aside == []
        numbers = [row.received_at for row in file.read(None, 1_000_000, 1 << 40)]
        file.close()
        first = numbers[0] if numbers else stored
        assert numbers == list(range(first, first + len(numbers)))
        assert first <= removing
        assert first + len(numbers) >= stored
        stored = first + len(numbers)
