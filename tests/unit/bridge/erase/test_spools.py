"""Spools on this machine: what their files have of erased rows, and that it can be removed to the last byte."""

import json
import sqlite3

import pytest

from bridge.delivery.items import pack
from bridge.delivery.records import DeadLetter
from bridge.delivery.spool.file import SpoolFile
from bridge.erase import spools
from bridge.erase.errors import EraseError
from bridge.erase.find import Row, Wanted
from bridge.erase.sought import Sought
from bridge.http.events import read_event

SOUGHT = Sought.of([Row("messages", "message-0001", "o1")], Wanted(contact="+34600000001"))


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
    with pytest.raises(EraseError, match="stop the bridge first"):
        spools.remove(tmp_path, SOUGHT)


def test_of_a_stopped_bridge_it_is_removed_and_nothing_else(tmp_path):
    file = SpoolFile(tmp_path / "spool-0.db")
    file.append([(1, body) for body in BODIES])
    file.quarantine(file.read(0, 1, 10_000)[0], "of the test")
    file.close()
    assert spools.remove(tmp_path, SOUGHT) == 3
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
