"""Spools on this machine: what their files have of erased rows, and that it can be removed to the last byte."""

import json
import os
import sqlite3
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, ClassVar

import pytest
from rich.console import Console

from bridge.delivery.items import DeadLetter, pack, unpack
from bridge.delivery.spool.file import SpoolFile
from bridge.delivery.spool.leftovers import spool_path
from bridge.erase import commands, requests, spools
from bridge.erase.errors import EraseError
from bridge.erase.find import Row, Wanted
from bridge.erase.report import show
from bridge.erase.sought import Sought
from bridge.http.events import read_event
from support.fake_kafka import TIMED_OUT, FakeKafka
from support.ingress import message, running_ingress
from support.wait import eventually

ROWS, WANTED = [Row("messages", "message-0001", "o1")], Wanted(contact="+34600000001")
SOUGHT = Sought.of(ROWS, WANTED)


def event(id_: str, action: str = "insert", **columns: object) -> bytes:
    body = {"entity": "messages", "action": action, "data": {"id": id_, **columns}}
    return pack(read_event(json.dumps(body).encode(), 1, None, 100))


BODIES = [
    event("message-0001", content={"text": "canary one"}),
    event("message-0002", content={"text": "of somebody else"}),
    event("message-0003", contact_address="+34600000001", content={"text": "canary two"}),
    event("message-0001", "delete"),
    pack(DeadLetter("e", "invalid_event", "", 1, payload=b"canary three of +34600000001", payload_size=1)),
]


@pytest.fixture
def file(tmp_path):
    file = SpoolFile(tmp_path / "spool-0.db")
    file.append([(1, body) for body in BODIES])
    yield file
    file.close()


def content(directory) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


def test_what_waits_is_counted_while_the_bridge_runs(file, tmp_path):
    rows = file.read(None, 10, 10_000)
    file.quarantine(rows[2], "of the test")
    found = spools.search(tmp_path, SOUGHT)
    assert (found.waiting, found.quarantined) == (2, 1)
    assert found.residue > 0


def test_a_spool_that_is_moved_while_it_is_searched_is_found_where_it_is_then(tmp_path, monkeypatch):
    """A bridge adopts it: its events are in a file that was searched already, and its own is gone."""
    own, orphan = tmp_path / "spool-0.db", tmp_path / "spool-1.db"
    SpoolFile(own).close()
    adopted = SpoolFile(orphan)
    adopted.append([(1, body) for body in BODIES])
    adopted.close()
    bodies = spools._bodies

    def move_late(directory, tables=("event", "quarantine")):
        yield from bodies(directory, tables)
        if orphan.exists():
            orphan.replace(own)

    monkeypatch.setattr(spools, "_bodies", move_late)
    monkeypatch.setattr(
        spools, "_spools", lambda directory: [path for path in (own, orphan) if path in set(directory.iterdir())]
    )
    assert spools.search(tmp_path, SOUGHT).waiting == 3


@pytest.mark.usefixtures("file")
def test_a_file_that_goes_while_it_is_searched_is_no_fault(tmp_path, monkeypatch):
    answer = tmp_path / "spool-0.erased"
    answer.touch()
    places = spools._places

    def search_late(path, needles):
        answer.unlink(missing_ok=True)
        return places(path, needles)

    monkeypatch.setattr(spools, "_places", search_late)
    assert spools.search(tmp_path, SOUGHT).waiting == 3


@pytest.mark.usefixtures("file")
def test_a_bridge_that_does_not_answer_is_named_and_the_request_does_not_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(requests, "_IN_WORK_S", 0.0)
    with pytest.raises(EraseError, match="did not answer within 0 s"):
        spools.remove(tmp_path, ROWS, WANTED, patience_s=0)
    assert list(tmp_path.glob("*.erase*")) == []
    assert spools.search(tmp_path, SOUGHT).waiting == 3


def waits(ingress, *ids: str) -> bool:
    with closing(sqlite3.connect(ingress.settings.spool_dir / "spool-0.db")) as database:
        bodies = b"".join(body for (body,) in database.execute("SELECT body FROM event ORDER BY seq"))
    return [id_ for id_ in ids if id_.encode() in bodies] == list(ids)


def test_a_running_bridge_removes_it_while_kafka_is_away_and_loses_nothing_else(tmp_path):
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    person = {"contact_address": "+34600000001", "content": {"type": "text", "kind": "text", "text": "canary"}}
    mine = [f"message-of-the-person-{n:04}" for n in range(40)]
    others = [f"message-of-others-{n:04}" for n in range(40)]
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        for pair in zip(mine, others, strict=True):
            for id_, columns in zip(pair, (person, {}), strict=True):
                assert ingress.post(message(id_, **columns)).json()["disposition"] == "spooled"
        assert ingress.post(message("message-0001")).json()["disposition"] == "spooled"
        assert waits(ingress, *mine)
        arriving = threading.Thread(
            target=lambda: [ingress.post(message(f"message-meanwhile-{n:04}")) for n in range(40)]
        )
        arriving.start()
        directory = ingress.settings.spool_dir
        assert spools.remove(directory, ROWS, WANTED, patience_s=30) == 41
        arriving.join()
        kept = [*others, *(f"message-meanwhile-{n:04}" for n in range(40))]
        assert ingress.service.spool.events == len(kept)
        assert b"canary" not in content(directory)
        assert b"+34600000001" not in content(directory)
        found = spools.search(directory, SOUGHT)
        assert (found.waiting, found.residue) == (0, 0)

        kafka.verdict = lambda _: None
        eventually(lambda: ingress.service.spool.events == 0)
        published = [record.key.decode() for record in kafka.topic("messages")]
        assert sorted(set(published)) == sorted(kept)
        # What comes now goes to Kafka at once: it does not queue behind events that are not there any more.
        assert ingress.post(message("message-after")).json()["disposition"] == "published"


def test_columns_of_any_type_wait_in_a_spool_and_do_not_end_the_bridge_that_is_asked_to_erase(tmp_path):
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    odd = [{"external_id": []}, {"key": {}}, {"message_id": {}}, {"last_message": {"message_id": []}}]
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        for number, columns in enumerate(odd):
            answer = ingress.post(
                {"entity": "messages", "action": "insert", "data": {"id": f"message-odd-{number}", **columns}}
            )
            assert answer.json()["disposition"] == "spooled", columns
        assert ingress.post(message("message-0001")).json()["disposition"] == "spooled"
        assert spools.search(ingress.settings.spool_dir, SOUGHT).waiting == 1
        assert spools.remove(ingress.settings.spool_dir, ROWS, WANTED, patience_s=30) == 1
        assert not ingress.service.failed.done()
        kafka.verdict = lambda _: None
        eventually(lambda: ingress.service.spool.events == 0)
        assert len(kafka.topic("messages")) == len(odd)


def test_an_erasure_that_fails_in_a_running_bridge_is_reported_and_the_bridge_goes_on(tmp_path, monkeypatch, caplog):
    def of_the_test(_: Sought) -> None:
        raise TypeError("of the test")

    with running_ingress(tmp_path) as ingress:
        with monkeypatch.context() as patched:
            patched.setattr(requests, "matcher", of_the_test)
            with pytest.raises(EraseError, match="TypeError") as raised:
                spools.remove(ingress.settings.spool_dir, ROWS, WANTED, patience_s=30)
        assert "of the test" not in str(raised.value), "it may be of what was spooled"
        assert "an erasure is incomplete" in caplog.text
        assert not ingress.service.failed.done()
        assert spools.remove(ingress.settings.spool_dir, ROWS, WANTED, patience_s=30) == 0


def test_a_request_that_was_left_long_ago_is_not_carried_out(tmp_path, caplog):
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        assert ingress.post(message("message-0001")).json()["disposition"] == "spooled"
        left = requests.request_path(ingress.settings.spool_dir / "spool-0.db", "a")
        new = left.with_suffix(".left")
        new.write_text(requests.Request("a", SOUGHT).encode(ROWS), "utf-8")
        os.utime(new, (1, 1))
        new.replace(left)
        eventually(lambda: not left.exists())
        assert "is not carried out" in caplog.text
        assert waits(ingress, "message-0001")


def test_commands_that_ask_at_once_or_right_after_each_other_are_all_answered(tmp_path):
    """One removed the request of the next, or wrote over it, and that was waited for in vain."""
    with running_ingress(tmp_path) as ingress, ThreadPoolExecutor(4) as commands:
        asked = [
            commands.submit(spools.remove, ingress.settings.spool_dir, ROWS, WANTED, patience_s=30) for _ in range(8)
        ]
        assert [removed.result() for removed in asked] == [0] * 8
        assert list(ingress.settings.spool_dir.glob("*.erase*")) == []


def test_a_command_of_the_former_version_is_answered(tmp_path):
    with running_ingress(tmp_path) as ingress:
        directory = ingress.settings.spool_dir
        (directory / "spool-0.new").write_text(requests.Request("a", SOUGHT).encode(ROWS), "utf-8")
        (directory / "spool-0.new").replace(directory / "spool-0.erase")
        eventually(lambda: not (directory / "spool-0.erase").exists())
        assert json.loads((directory / "spool-0.erased").read_text()) == {"id": "a", "removed": 0, "error": None}


def test_what_a_running_bridge_has_in_quarantine_is_removed_too(tmp_path):
    file = SpoolFile(tmp_path / "spool" / "spool-0.db")
    file.append([(1, body) for body in BODIES])
    file.close()
    with closing(sqlite3.connect(tmp_path / "spool" / "spool-0.db")) as database, database:
        database.execute("INSERT INTO quarantine SELECT *, 'the bytes are not those that were written' FROM event")
        database.execute("DELETE FROM event")
    with running_ingress(tmp_path) as ingress:
        assert spools.remove(ingress.settings.spool_dir, ROWS, WANTED, patience_s=30) == 3
        assert b"canary" not in content(ingress.settings.spool_dir)
        assert spools.search(ingress.settings.spool_dir, SOUGHT).quarantined == 0


def test_a_request_that_nobody_can_read_is_removed_and_hinders_nothing(tmp_path, caplog):
    with running_ingress(tmp_path) as ingress:
        request = requests.request_path(ingress.settings.spool_dir / "spool-0.db", "a")
        request.write_text("no request")
        eventually(lambda: not request.exists())
        assert "is not a `bridge erase` request" in caplog.text
        assert spools.remove(ingress.settings.spool_dir, ROWS, WANTED, patience_s=30) == 0


def test_of_a_stopped_bridge_it_is_removed_and_nothing_else(tmp_path):
    file = SpoolFile(tmp_path / "spool-0.db")
    file.append([(1, body) for body in BODIES])
    file.quarantine(file.read(None, 1, 10_000)[0], "of the test")
    file.close()
    assert spools.remove(tmp_path, ROWS, WANTED, patience_s=0) == 3
    assert b"canary" not in content(tmp_path)
    found = spools.search(tmp_path, SOUGHT)
    assert (found.waiting, found.quarantined) == (0, 0)
    file = SpoolFile(tmp_path / "spool-0.db")
    assert [row.body for row in file.read(None, 10, 10_000)] == [BODIES[1], BODIES[3]]
    file.close()


@pytest.mark.parametrize("size", [100, 3_000, 100_000])
def test_an_empty_spool_that_was_shrunk_has_no_byte_of_former_events(file, tmp_path, size):
    file.append([(1, b"canary" + b"x" * size) for _ in range(20)])
    file.delete(file.read(None, 100, 10_000_000))
    file.shrink()
    assert b"canary" not in content(tmp_path)
    assert spools.search(tmp_path, SOUGHT).residue == 0


def test_what_is_no_directory_or_no_spool_is_refused(tmp_path):
    with pytest.raises(EraseError, match="not a directory"):
        spools.search(tmp_path / "missing", SOUGHT)
    sqlite3.connect(tmp_path / "spool-0.db").close()
    with pytest.raises(EraseError, match="cannot be read"):
        spools.search(tmp_path, SOUGHT)


def leave_behind(directory, *bodies: bytes, number: int = 3) -> None:
    file = SpoolFile(spool_path(directory, number))
    file.append([(1, body) for body in bodies])
    file.close()


def test_a_request_for_a_spool_that_is_being_adopted_is_answered_by_who_adopts_it(tmp_path):
    """Its own spool is full, so the adoption lasts as long as Kafka is away."""
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    mine = [
        event(f"message-of-the-person-{n:02}", contact_address="+34600000001", extra="x" * 100_000) for n in range(20)
    ]
    others = [event(f"message-of-others-{n:02}", extra="x" * 100_000) for n in range(20)]
    leave_behind(tmp_path / "spool", *(body for pair in zip(mine, others, strict=True) for body in pair))
    with running_ingress(tmp_path, kafka=kafka, spool_max_bytes=1 << 20) as ingress:
        eventually(lambda: ingress.service.spool.full or ingress.service.spool.events > 5)
        assert spools.remove(ingress.settings.spool_dir, ROWS, WANTED, patience_s=30) == len(mine)
        assert b"+34600000001" not in content(ingress.settings.spool_dir)
        kafka.verdict = lambda _: None
        eventually(lambda: not list(ingress.settings.spool_dir.glob("spool-3*")))
        eventually(lambda: ingress.service.spool.events == 0)
        published = {record.key.decode() for record in kafka.topic("messages")}
        assert published == {f"message-of-others-{n:02}" for n in range(20)}


def asked(directory, number: int) -> bool:
    return any(directory.glob(f"{spool_path(directory, number).stem}.*.erase"))


def removed_while(directory, happens) -> int:
    """Return what an erasure removes while something happens to a spool that it has asked for."""
    found: list[int] = []
    command = threading.Thread(target=lambda: found.append(spools.remove(directory, ROWS, WANTED, patience_s=30)))
    command.start()
    happens()
    command.join()
    return sum(found)


def test_what_a_bridge_has_adopted_meanwhile_is_found_where_it_is_then(tmp_path):
    leave_behind(tmp_path, BODIES[1], number=0)
    leave_behind(tmp_path, BODIES[0], BODIES[1])
    adopted = SpoolFile(spool_path(tmp_path, 3))

    def adopt() -> None:
        eventually(lambda: asked(tmp_path, 3))
        leave_behind(tmp_path, *(row.body for row in adopted.read(None, 10, 10_000)), number=0)
        adopted.remove()
        adopted.close()

    assert removed_while(tmp_path, adopt) == 1
    assert sorted(path.suffix for path in tmp_path.glob("spool-*")) == [".db", ".lock"]
    assert b"canary" not in content(tmp_path)


def test_the_spool_of_a_bridge_that_ends_without_an_answer_is_searched_by_the_command(tmp_path):
    file = SpoolFile(tmp_path / "spool-0.db")
    file.append([(1, body) for body in BODIES])

    def end() -> None:
        eventually(lambda: asked(tmp_path, 0))
        file.close()

    assert removed_while(tmp_path, end) == 3
    assert not asked(tmp_path, 0)
    assert b"canary" not in content(tmp_path)


def test_requests_for_spools_that_are_not_there_any_more_do_not_stay(tmp_path, caplog):
    """A command was killed, and its bridge has fewer workers by now: nobody would answer it."""
    directory = tmp_path / "spool"
    directory.mkdir()
    for name in ("spool-7.a.erase", "spool-7.a.erased", "spool-0.a.erase.new", "spool-0.a.erased.new", "notes.erase"):
        (directory / name).write_text(requests.Request("a", SOUGHT).encode(ROWS), "utf-8")
    os.utime(directory / "spool-0.a.erase.new", (1, 1))
    with running_ingress(tmp_path):
        left = ["notes.erase", "spool-0.a.erased.new", "spool-7.a.erased"]
        eventually(lambda: sorted(path.name for path in directory.glob("*.era*")) == left)
    assert "ended early" in caplog.text


class TestWithoutKafka:
    """What only the spool tells."""

    UPDATE: ClassVar[dict[str, Any]] = {"status": {"read": "2026-11-26T10:00:00+00:00"}}

    @pytest.fixture(autouse=True)
    def _spool(self, tmp_path) -> None:
        leave_behind(
            tmp_path,
            event("message-0003", "update", **self.UPDATE),
            event("message-0003", contact_address="+34600000001", organization_id="o1", content={"text": "canary"}),
            event("message-0004", contact_address="+34600000009", service="whatsapp", organization_id="o1"),
            event("message-0004", "update", **self.UPDATE),
        )

    def left(self, tmp_path) -> list[tuple[str, str]]:
        with closing(SpoolFile(spool_path(tmp_path, 3))) as file:
            items = [unpack(row.body) for row in file.read(None, 100, 100_000)]
        return [(item.id, item.action) for item in items]

    def test_an_update_that_has_only_an_id_is_the_contacts_if_another_event_says_so(self, tmp_path):
        report = commands.from_spools([tmp_path], WANTED, patience_s=0)
        assert [row.id for row in report.rows] == ["message-0003"]
        assert (report.places[0].gone, report.well) == (2, True)
        assert self.left(tmp_path) == [("message-0004", "insert"), ("message-0004", "update")]

    def test_an_update_of_which_nobody_can_tell_whose_it_is_is_counted(self, tmp_path, capsys):
        leave_behind(
            tmp_path,
            event("message-0005", "update", **self.UPDATE),
            event("message-0006", "update", organization_id="o2", **self.UPDATE),
            event("message-0007", "update", contact_address=None, organization_id="o1"),
            event("message-0008", "delete", organization_id="o1"),
        )
        wanted = Wanted(contact="+34600000001", organization_id="o1")
        report = commands.from_spools([tmp_path], wanted, patience_s=0)
        # Of 5 and 7. Another event of 4 names somebody else, and 6 is another organization's.
        assert report.undecided == 2
        assert report.content()["undecided"] == 2
        show(report, Console(file=sys.stdout, width=200), as_json=False)
        assert "2 events stay in the spools" in capsys.readouterr().out

    def test_an_id_that_two_organizations_have_is_nobodys(self, tmp_path):
        leave_behind(tmp_path, event("message-0003", "update", organization_id="o2", **self.UPDATE))
        assert spools.find([tmp_path], WANTED) == []
        assert commands.from_spools([tmp_path], WANTED, patience_s=0).places[0].gone == 1

    def test_messages_of_a_conversation_are_known_by_any_event_that_names_it(self, tmp_path):
        leave_behind(tmp_path, event("message-0005", conversation_id="conversation-1"))
        leave_behind(tmp_path, event("message-0005", "update", **self.UPDATE))
        wanted = Wanted(conversations=frozenset({"conversation-1"}))
        report = commands.from_spools([tmp_path], wanted, patience_s=0)
        assert report.places[0].gone == 2
        assert report.undecided == 4, "of the other messages nothing says in which conversation they are"
