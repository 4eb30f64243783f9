"""A supervisor and its workers as processes, without Kafka: everything that is accepted is in the spool."""

import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from avro import jsontext
from bridge.delivery.items import Event, unpack
from openbsp.http.tokens.token_set import new_token
from support.bridge_process import TOKEN, Bridge
from support.load import Load
from support.processes import Process
from support.wait import eventually


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    made = Bridge("127.0.0.1:1", "http://127.0.0.1:1", tmp_path)
    yield made
    made.close()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def spooled_ids(directory: Path) -> set[str]:
    """Return the ids of all events in spools that nobody has open any more."""
    found = set()
    for path in directory.glob("spool-*.db"):
        for (body,) in sqlite3.connect(path).execute("SELECT body FROM event"):
            item = unpack(body)
            assert isinstance(item, Event)
            found.add(item.event_id)
    return found


def replace_worker(bridge: Process) -> bool:
    """Kill the worker, and return True when another one answers."""
    (worker,) = children(bridge.pid)
    os.kill(worker, signal.SIGKILL)
    return eventually(lambda: bridge.is_served_by_another(worker))


def test_a_start_without_kafka_lets_no_request_wait_for_it(
    bridge: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The socket is there before the workers are, and the sender gives up after 5 s."""
    patient = tmp_path / "patient"
    patient.write_text(
        f"#!{sys.executable}\n"
        "import bridge.serve\n"
        "bridge.serve.PATIENCE_S = 3600\n"
        "from bridge.__main__ import main\n"
        "main()\n"
    )
    patient.chmod(0o700)
    monkeypatch.setattr("support.bridge_process.BRIDGE", patient)
    bridge.start()
    with Load(bridge.url, TOKEN, per_second=50) as load:
        eventually(lambda: load.count("spooled") > 5)


def test_a_stop_while_an_upgrade_runs_ends_the_successor_too_and_loses_nothing(bridge: Bridge, tmp_path: Path):
    bridge.start()
    assert bridge.process is not None
    with Load(bridge.url, TOKEN, per_second=50) as load:
        eventually(lambda: len(load.accepted) > 20)
        workers = set(bridge.workers)
        bridge.process.send_signal(signal.SIGUSR2)
        (successor,) = eventually(lambda: set(bridge.workers) - workers)
        code, _ = bridge.terminate()
    log = bridge.log.read_text()
    assert code == 0
    assert "upgrade.stopped" in log
    assert "upgrade.completed" not in log
    # The test would find a zombie here, or the process itself.
    assert not Path(f"/proc/{successor}").exists()
    assert load.accepted
    lost = set(load.accepted.values()) - spooled_ids(tmp_path / "spool")
    print(f"\nfigure: lost: {len(lost)} of {len(load.accepted)} accepted; the operator saw: upgrade.stopped")
    assert not lost


def test_a_worker_that_is_replaced_while_the_tokens_file_is_broken_has_the_tokens_that_were_good_last(tmp_path: Path):
    """Also not those of the start, which may have been revoked since."""
    file = tmp_path / "tokens"
    (first, first_line), (later, later_line) = new_token("first"), new_token("later")
    file.write_text(first_line)
    bridge = Process("bridge", tmp_path, {"TOKENS_FILE": str(file)})
    try:
        bridge.start()
        assert bridge.status(first) != 401
        file.write_text(later_line)
        eventually(lambda: bridge.status(later) != 401)
        # The supervisor looks for itself, and only a worker that it starts shows what it knows.
        eventually(lambda: replace_worker(bridge) and bridge.status(later) != 401)
        file.write_text("half a li")
        eventually(lambda: "tokens.not_reloaded" in bridge.output.read_text())
        assert replace_worker(bridge)
        assert bridge.status(later) != 401
        assert bridge.status(first) == 401
        # Trap: the supervisor looks for itself. A worker that it started before it knew finds out a moment later.
        eventually(lambda: bridge.output.read_text().count("tokens.not_reloaded") == 2)
        assert bridge.end() == 0
    finally:
        bridge.close()
    log = [line for line in bridge.output.read_text().splitlines() if "tokens.not_reloaded" in line]
    assert len(log) == 2, "each worker says what is wrong with the file"
    assert jsontext.decode(log[1].encode())["level"] == "ERROR"
