"""`bridge top` as a process on a terminal, before a live bridge and worker: its numbers are what happens to them."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator

import httpx
import pytest
from confluent_kafka import Producer

from openbsp.up.part import PythonPart
from support.environment import clean_environment
from support.registry_proxy import proxy
from support.wait import eventually

pytestmark = pytest.mark.integration

TOKEN = "token-of-the-tests"
#: What a terminal is told besides the text.
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SCREEN = re.compile(r"(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ)")


class Terminal:
    """A terminal of 200 columns on which a program shows screens, one after the other."""

    def __init__(self, ours: int) -> None:
        self._ours = ours
        self._written = b""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # EIO: nobody has it open any more
            while piece := os.read(self._ours, 65536):
                self._written += piece

    def screens(self) -> list[str]:
        """Return what was shown so far; the last one may not be whole."""
        return SCREEN.split(CONTROLS.sub("", self._written.decode("utf-8", "replace")).replace("\r", ""))[1:]

    def cells(self, first: str) -> Iterator[dict[str, str]]:
        """Yield the cells of the row that begins so, by the heads of their columns, of each screen that has it."""
        for screen in self.screens()[:-1]:
            lines = screen.split("\n")
            for number, line in enumerate(lines):
                if line.startswith(f"{first} "):
                    # The head is the last line above that is no row: it begins a table.
                    above = lines[:number]
                    blank = max((at for at, text in enumerate(above) if not text.strip()), default=0)
                    yield dict(zip(columns(lines[blank + 1]), columns(line), strict=False))

    def close(self) -> None:
        self._reading.join(20)
        os.close(self._ours)


def columns(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


@contextlib.contextmanager
def top(*arguments: str) -> Iterator[tuple[Terminal, "subprocess.Popen[bytes]"]]:
    """Run `bridge top` on a terminal of its own."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 200, 0, 0))
    streams = {"stdin": its, "stdout": its, "stderr": its}
    tokens = {"BRIDGE_METRICS_TOKEN": TOKEN, "STREAMS_METRICS_TOKEN": TOKEN, "TERM": "xterm"}
    tokens |= {"COLUMNS": "200", "LINES": "60"}  # pytest-xdist sets those of its own
    command = [sys.executable, "-P", "-m", "bridge", "top", "--every", "0.3", *arguments]
    with subprocess.Popen(command, env={**clean_environment(), **tokens}, start_new_session=True, **streams) as process:
        os.close(its)
        terminal = Terminal(ours)
        try:
            yield terminal, process
        finally:
            process.kill()
            terminal.close()


def rate(cell: str) -> float:
    return 0.0 if cell == "-" else float(cell.replace(",", ""))


@pytest.fixture
def make_part():
    """Return processes whatever the servers are: containers would not reach the registry's proxy, which is here."""
    return PythonPart


def test_rates_lag_spool_and_dead_letters_change_with_what_happens(contract, start_bridge, start_streams):
    """The registry is away at first: the bridge spools, and the worker waits for a schema that it does not know."""
    with proxy(contract.registry.url) as registry:
        worker = start_streams(SCHEMA_REGISTRY_URL=registry.url)
        registry.answer = lambda _method, _path: (502, b"")
        bridge = start_bridge(SCHEMA_REGISTRY_URL=registry.url)
        with top("--bridge", bridge.url, "--streams", worker.url) as (terminal, process):
            look(contract, bridge, worker, registry, terminal)
            # A process that is gone is down, and why.
            worker.kill()
            eventually(lambda: last(terminal, worker.url)["state"] == "down", every=0.2)
            assert f"{worker.url}  does not answer: ConnectError" in "".join(terminal.screens())
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0


def last(terminal: Terminal, first: str) -> dict[str, str]:
    """Return what the last screen has of a row."""
    return [{}, *terminal.cells(first)][-1]


def look(contract, bridge, worker, registry, terminal) -> None:
    def saw(first: str, holds) -> None:
        eventually(lambda: any(holds(cells) for cells in terminal.cells(first)), every=0.2)

    def shows(first: str, **wanted: str) -> None:
        eventually(lambda: wanted.items() <= last(terminal, first).items(), every=0.2)

    def post(status: int, *keys: object) -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10, trust_env=False) as client:
            for key in keys:
                body = {"entity": "messages", "action": "insert", "data": {"id": key, "conversation_id": "c1"}}
                assert client.post(f"{bridge.url}/webhooks", json=body).status_code == status

    producer = Producer(contract.kafka.librdkafka())
    shows(bridge.url, **{"state": "degraded", "webhooks/s": "0", "spool": "0 (0 B)"})
    shows(worker.url, state="ready", partitions="4 of 4", lag="0")
    assert not any("dead letters" in screen for screen in terminal.screens())

    post(202, "spooled")
    saw(bridge.url, lambda cells: rate(cells["spooled/s"]) > 0)
    saw(bridge.url, lambda cells: cells["spool"].startswith("1 (") and cells["oldest"] != "0.0 s")
    for number in range(3):
        producer.produce(contract.topic("messages"), key=b"m%d" % number, value=b"\x00\x7f\xff\xff\xff ", partition=1)
    assert producer.flush(10) == 0
    shows(worker.url, lag="3", worst="3 in 1")

    registry.answer = lambda _method, _path: None
    shows(bridge.url, state="ready", spool="0 (0 B)")
    saw("unknown_schema", lambda cells: cells["by"] == "streams" and cells["new"].startswith("+"))
    shows("unknown_schema", count="3", new="-")
    shows(worker.url, lag="0", worst="-")

    post(202, *(f"m{number}" for number in range(20)))
    saw(bridge.url, lambda cells: rate(cells["webhooks/s"]) > 0 and rate(cells["published/s"]) > 0)
    saw(bridge.url, lambda cells: cells["p50"].endswith("s") and cells["p99"].endswith("s"))
    saw(worker.url, lambda cells: rate(cells["events/s"]) > 0 and rate(cells["written/s"]) > 0)
    post(422, 5)
    saw(bridge.url, lambda cells: rate(cells["refused/s"]) > 0)
    saw(
        "invalid_event",
        lambda cells: (
            cells == {"dead letters since the start": "invalid_event", "by": "bridge", "count": "1", "new": "+1"}
        ),
    )
