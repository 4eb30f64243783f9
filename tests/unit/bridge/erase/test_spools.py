"""Spools on this machine: what their files have of erased rows, and that it can be removed to the last byte."""

import json
import os
import sqlite3
import threading
from contextlib import closing

import pytest

from bridge.delivery.items import pack
from bridge.delivery.records import DeadLetter
from bridge.delivery.spool.file import SpoolFile
from bridge.erase import requests, spools
from bridge.erase.errors import EraseError
from bridge.erase.find import Row, Wanted
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
    rows = file.read(0, 10, 10_000)
    file.quarantine(rows[2], "of the test")
    found = spools.search(tmp_path, SOUGHT)
    assert (found.waiting, found.quarantined) == (2, 1)
    assert found.residue > 0


@pytest.mark.usefixtures("file")
def test_a_bridge_that_does_not_answer_is_named_and_the_request_does_not_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(requests, "_IN_WORK_S", 0.0)
    with pytest.raises(EraseError, match="did not answer within 0 s"):
        spools.remove(tmp_path, ROWS, WANTED, patience_s=0)
    assert not requests.request_path(tmp_path / "spool-0.db").exists()
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
        left = requests.request_path(ingress.settings.spool_dir / "spool-0.db")
        new = left.with_suffix(".left")
        new.write_text(requests.Request("a", SOUGHT).encode(ROWS), "utf-8")
        os.utime(new, (1, 1))
        new.replace(left)
        eventually(lambda: not left.exists())
        assert "is not carried out" in caplog.text
        assert waits(ingress, "message-0001")


def test_the_request_of_another_command_stays(tmp_path):
    path = tmp_path / "spool-0.erase"
    path.write_text(requests.Request("a", SOUGHT).encode(ROWS), "utf-8")
    requests._unlink(path, "b")
    assert path.exists()
    requests._unlink(path, "a")
    assert not path.exists()


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
        request = requests.request_path(ingress.settings.spool_dir / "spool-0.db")
        request.write_text("no request")
        eventually(lambda: not request.exists())
        assert "is no request of `bridge erase`" in caplog.text
        assert spools.remove(ingress.settings.spool_dir, ROWS, WANTED, patience_s=30) == 0


def test_of_a_stopped_bridge_it_is_removed_and_nothing_else(tmp_path):
    file = SpoolFile(tmp_path / "spool-0.db")
    file.append([(1, body) for body in BODIES])
    file.quarantine(file.read(0, 1, 10_000)[0], "of the test")
    file.close()
    assert spools.remove(tmp_path, ROWS, WANTED, patience_s=0) == 3
    assert b"canary" not in content(tmp_path)
    found = spools.search(tmp_path, SOUGHT)
    assert (found.waiting, found.quarantined) == (0, 0)
    file = SpoolFile(tmp_path / "spool-0.db")
    assert [row.body for row in file.read(0, 10, 10_000)] == [BODIES[1], BODIES[3]]
    file.close()


@pytest.mark.parametrize("size", [100, 3_000, 100_000])
def test_an_empty_spool_that_was_shrunk_has_no_byte_of_former_events(file, tmp_path, size):
    file.append([(1, b"canary" + b"x" * size) for _ in range(20)])
    file.delete(file.read(0, 100, 10_000_000))
    file.shrink()
    assert b"canary" not in content(tmp_path)
    assert spools.search(tmp_path, SOUGHT).residue == 0


def test_what_is_no_directory_or_no_spool_is_refused(tmp_path):
    with pytest.raises(EraseError, match="no directory"):
        spools.search(tmp_path / "missing", SOUGHT)
    sqlite3.connect(tmp_path / "spool-0.db").close()
    with pytest.raises(EraseError, match="cannot be read"):
        spools.search(tmp_path, SOUGHT)
