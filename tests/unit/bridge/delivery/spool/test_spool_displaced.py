"""A spool whose files somebody removes, moves or covers while it is used: a restart finds what was accepted."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bridge.delivery.spool.file import SpoolFile, Totals
from support.fake_kafka import TIMED_OUT, FakeKafka
from support.ingress import message, running_ingress
from support.wait import eventually

Accident = Callable[[Path], None]


def remove_all(path: Path) -> None:
    for part in path.parent.iterdir():
        part.unlink()


def remove_directory(path: Path) -> None:
    shutil.rmtree(path.parent)


def move_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def mount_over(path: Path) -> None:
    """Put another directory in the place, as a mount does; it has files of its own."""
    move_directory(path)
    path.parent.mkdir()
    (path.parent / "lost+found").touch()


def mount_over_with_another_spool(path: Path) -> None:
    other = SpoolFile(path.parent.with_name("other") / path.name)
    other.append([(0, b"was there")])
    other.close()
    move_directory(path)
    path.parent.with_name("other").rename(path.parent)


def mount_over_with_a_damaged_spool(path: Path) -> None:
    mount_over(path)
    path.write_bytes(b"\xa5" * 8192)


def remove_main(path: Path) -> None:
    path.unlink()


def move_main(path: Path) -> None:
    path.rename(path.with_name("renamed"))


def remove_log(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


def empty_log(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    log.unlink()
    log.touch()


ACCIDENTS = [
    remove_all,
    remove_directory,
    move_directory,
    mount_over,
    mount_over_with_another_spool,
    mount_over_with_a_damaged_spool,
    remove_main,
    move_main,
    remove_log,
    empty_log,
]


def bodies(file: SpoolFile) -> list[bytes]:
    return [row.body for row in file.read(None, 1_000_000, 1 << 40)]


@pytest.mark.parametrize("accident", ACCIDENTS, ids=lambda accident: accident.__name__)
def test_what_was_stored_before_and_after_is_found_by_the_next_start(path: Path, accident: Accident):
    file = SpoolFile(path)
    file.append([(1, b"a"), (2, b"quarantined"), (3, b"c")])
    file.delete(file.read(None, 1, 1000))
    file.quarantine(file.read(None, 1, 1000)[0], "refused")
    file.remember("name", "value")
    assert not file.displaced()
    accident(path)
    assert file.displaced()
    file.recover()
    assert not file.displaced()
    file.append([(4, b"d")])
    file.close()
    again = SpoolFile(path)
    there = [b"was there"] if accident is mount_over_with_another_spool else []
    assert bodies(again) == [*there, b"c", b"d"]
    assert (again.quarantined(), again.recall("name")) == (1, "value")
    # A number is never used twice, not even that of an event in quarantine.
    again.quarantine(again.read(None, 10, 1000)[-1], "refused")
    assert again.quarantined() == 2
    again.close()


def test_a_sound_file_is_never_taken_for_a_displaced_one(path: Path):
    for _ in range(2):
        file = SpoolFile(path)
        for number in range(20):
            file.append([(number, b"x" * 100_000)])
            assert not file.displaced()
        file.make_room()
        file.delete(file.read(None, 1000, 1 << 40))
        file.shrink()
        assert not file.displaced()
        file.append([(1, b"last")])
        assert file.start_over(file.read(None, 10, 1000)[-1])
        assert not file.displaced()
        file.append([(1, b"new")])
        assert not file.displaced()
        file.close()


def test_while_somebody_reads_a_file_whose_log_is_gone_nothing_is_given_up(path: Path):
    """What is in the log alone could not be folded in: a file opened again would not have it."""
    file = SpoolFile(path)
    file.append([(1, b"folded")])
    file.make_room()
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM event").fetchone() == (1,)
    file.append([(2, b"in the log alone")])
    remove_log(path)
    with pytest.raises(sqlite3.OperationalError, match="another process reads the spool"):
        file.recover()
    assert file.displaced()
    assert [row.body for row in file.read(None, 10, 1000)] == [b"folded", b"in the log alone"]
    reader.close()
    file.recover()
    file.close()
    again = SpoolFile(path)
    assert [row.body for row in again.read(None, 10, 1000)] == [b"folded", b"in the log alone"]
    again.close()


class KilledError(BaseException):
    pass


def test_a_kill_before_a_moved_file_is_copied_leaves_it_whole(
    file: SpoolFile, path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its log stays at the path, where the new file gets one of its own."""

    def killed(*_: object) -> None:
        raise KilledError

    file.append([(1, b"folded")])
    file.make_room()
    file.append([(2, b"in the log alone")])
    move_main(path)
    monkeypatch.setattr("bridge.delivery.spool.file._copy", killed)
    with pytest.raises(KilledError):
        file.recover()
    moved = shutil.copy(path.with_name("renamed"), path.with_name("found"))
    with closing(sqlite3.connect(moved)) as found:
        assert found.execute("SELECT body FROM event").fetchall() == [(b"folded",), (b"in the log alone",)]


def test_rows_of_the_former_file_mean_nothing_in_the_new_one(file: SpoolFile, path: Path):
    file.append([(1, b"old")])
    old = file.read(None, 10, 1000)
    remove_all(path)
    file.recover()
    file.delete(old)
    assert bodies(file) == [b"old"]


def test_a_second_bridge_cannot_have_the_new_file(file: SpoolFile, path: Path):
    file.append([(1, b"a")])
    remove_directory(path)
    file.recover()
    with pytest.raises(Exception, match="in use by process"):
        SpoolFile(path)


def test_where_it_cannot_be_made_again_nothing_is_lost_and_it_is_tried_again(file: SpoolFile, path: Path):
    file.append([(1, b"a")])
    remove_directory(path)
    path.parent.write_text("a file is in the way")
    for _ in range(2):
        assert file.displaced()
        with pytest.raises(sqlite3.OperationalError, match="cannot be created again"):
            file.recover()
    assert bodies(file) == [b"a"]
    path.parent.unlink()
    file.recover()
    file.append([(2, b"b")])
    assert bodies(file) == [b"a", b"b"]


@pytest.mark.parametrize("accident", ACCIDENTS, ids=lambda accident: accident.__name__)
def test_every_event_that_is_answered_with_spooled_survives_a_restart(tmp_path: Path, accident: Accident):
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        path = ingress.spool_directory / "spool-0.db"
        assert ingress.post(message("before")).json()["disposition"] == "spooled"
        accident(path)
        assert ingress.post(message("after")).json()["disposition"] == "spooled"
        eventually(lambda: ingress.metric("bridge_spool_recovered_files_total") == 1)
        eventually(lambda: ingress.metric("bridge_spool_events") >= 2)
        damaged = accident is mount_over_with_a_damaged_spool
        assert ingress.metric("bridge_spool_damaged_files_total") == damaged
    with running_ingress(tmp_path, kafka=FakeKafka()) as ingress:
        eventually(lambda: ingress.service.spool.events == 0)
        assert [record.key for record in ingress.kafka.topic("messages")] == [b"before", b"after"]
    print("\nfigure: lost: 0 of 2 accepted; the operator saw: bridge_spool_recovered_files_total 1")


def test_files_that_go_while_nothing_comes_are_noticed_too_and_all_is_published_once_kafka_takes_it(tmp_path: Path):
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        path = ingress.spool_directory / "spool-0.db"
        for number in range(20):
            ingress.post(message(f"m{number}"))
        remove_all(path)
        eventually(lambda: path.exists() and ingress.metric("bridge_spool_recovered_files_total") == 1)
        assert ingress.metric("bridge_spool_events") == 20
        kafka.verdict = lambda _: None
        eventually(lambda: ingress.service.spool.events == 0)
        assert {record.key for record in kafka.topic("messages")} == {b"m%d" % number for number in range(20)}
        eventually(lambda: ingress.details()["status"] == "ready")
        assert ingress.service.spool.size == 0


@pytest.mark.parametrize("accident", [remove_log, empty_log], ids=lambda accident: accident.__name__)
def test_events_are_published_at_once_again_after_the_log_was_removed(tmp_path: Path, accident: Accident):
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        ingress.post(message("before"))
        accident(ingress.spool_directory / "spool-0.db")
        eventually(lambda: ingress.metric("bridge_spool_recovered_files_total") == 1)
        kafka.verdict = lambda _: None
        eventually(lambda: ingress.service.spool.events == 0)
        assert ingress.service.spool.size == 0
        assert ingress.post(message("after")).json()["disposition"] == "published"


@pytest.mark.parametrize("accident", [remove_all, remove_log], ids=lambda accident: accident.__name__)
def test_a_disk_that_fails_while_the_events_are_counted_again_keeps_none_from_being_published(
    tmp_path: Path, accident: Accident, monkeypatch: pytest.MonkeyPatch
):
    failures = 0

    def fail_once(*values: int) -> Totals:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise sqlite3.OperationalError("disk I/O error")
        return Totals(*values)

    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        ingress.post(message("before"))
        monkeypatch.setattr("bridge.delivery.spool.file.Totals", fail_once)
        accident(ingress.spool_directory / "spool-0.db")
        eventually(lambda: ingress.metric("bridge_spool_recovered_files_total") == 1)
        assert failures == 2
        kafka.verdict = lambda _: None
        eventually(lambda: ingress.service.spool.events == 0)
        assert ingress.service.spool.size == 0
        assert ingress.post(message("after")).json()["disposition"] == "published"
        assert [record.key for record in kafka.topic("messages")] == [b"before", b"after"]


def test_a_directory_that_cannot_be_synced_leaves_the_file_displaced(
    file: SpoolFile, path: Path, monkeypatch: pytest.MonkeyPatch
):
    file.append([(1, b"a")])
    remove_directory(path)

    def refuse(directory: Path) -> None:
        if directory == path.parent.parent:
            raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("bridge.delivery.spool.file.sync_directory", refuse)
        with pytest.raises(sqlite3.OperationalError, match="cannot be created again"):
            file.recover()
        assert file.displaced()
    file.recover()
    assert bodies(file) == [b"a"]


def test_an_event_that_no_restart_would_find_is_not_accepted(tmp_path: Path):
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        assert ingress.post(message("before")).json()["disposition"] == "spooled"
        remove_directory(ingress.spool_directory / "spool-0.db")
        ingress.spool_directory.write_text("a file is in the way")
        assert ingress.post(message("refused")).status_code == 503
        eventually(lambda: ingress.get("/readyz").status_code == 503)
        assert "cannot be created again" in ingress.details()["spool"]["failing"]
        ingress.spool_directory.unlink()
        eventually(lambda: ingress.get("/readyz").status_code == 200)
        assert ingress.post(message("after")).json()["disposition"] == "spooled"
        kafka.verdict = lambda _: None
        eventually(lambda: ingress.service.spool.events == 0)
        assert {record.key for record in kafka.topic("messages")} >= {b"before", b"after"}
    print("\nfigure: lost: 0 of 2 accepted, 1 answered 503; the operator saw: /readyz 503, cannot be created again")
