"""`bridge up`, piece by piece: the environment, the token, signals, and what happens when a part dies."""

import os
import signal
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from openbsp.local.errors import PortInUseError, StartError
from openbsp.up.console import Console
from openbsp.up.environment import localize
from openbsp.up.interrupts import Interrupts
from openbsp.up.stack import Ports
from openbsp.up.supervisor import Supervisor
from openbsp.up.token import StackToken
from support.wait import eventually


def test_a_local_environment_leads_to_no_other_servers():
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092",
        "KAFKA_SASL_PASSWORD": "secret",
        "SCHEMA_REGISTRY_URL": "https://registry.example",
        "TOPIC_PREFIX": "mine.",
        "TOPIC_REPLICATION_FACTOR": "3",
        "no_proxy": "example.org",
        "ALL_PROXY": "socks5://proxy.example:1080",
        "https_proxy": "http://proxy.example:3128",
        "PATH": "/bin",
    }
    localize(environment)
    assert environment == {
        "TOPIC_PREFIX": "mine.",
        "TOPIC_PARTITIONS": "4",
        "TOPIC_REPLICATION_FACTOR": "1",
        "TOPIC_MIN_INSYNC_REPLICAS": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "example.org,127.0.0.1",
        "https_proxy": "http://proxy.example:3128",
        "PATH": "/bin",
    }


def test_the_number_of_partitions_can_be_chosen():
    environment = {"TOPIC_PARTITIONS": "12"}
    localize(environment)
    assert environment["TOPIC_PARTITIONS"] == "12"


def test_a_base_gives_each_part_a_port_of_its_own():
    assert Ports.starting_at(9000) == Ports(kafka=9000, schema_registry=9001, bridge=9002, views=9003)
    assert Ports.starting_at(None) == Ports()


def test_the_token_is_made_once_and_readable_for_nobody_else(tmp_path):
    first = StackToken.kept_in(tmp_path / "token")
    assert len(first.token) >= 32
    assert first.tokens == f"local={first.token}"
    assert StackToken.kept_in(tmp_path / "token") == first
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert StackToken.kept_in(tmp_path / "other") != first


@pytest.mark.parametrize(
    "tokens", ["a=secret", "a=secret,b=other", " a=secret@org1|org2, b=other", "a=secret=\nb=other@org"]
)
def test_of_given_tokens_the_first_is_the_one_to_use(tokens):
    assert StackToken.of_tokens(tokens).token.rstrip("=") == "secret"
    assert StackToken.of_tokens(tokens).tokens == tokens


def test_the_end_of_input_ends_the_block_like_a_signal():
    interrupts = Interrupts()
    reading, writing = os.pipe()
    os.write(writing, b"what is written has no meaning")
    steps = []
    with interrupts.interruptible():
        interrupts.at_end_of(reading)
        try:
            assert not interrupts.wait(0.05)
            os.close(writing)
            threading.Event().wait(30)
            steps.append("went on")
        finally:
            steps.append("cleaned up")
    os.close(reading)
    assert interrupts.asked
    assert steps == ["cleaned up"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_ends_the_block_and_the_second_does_not_disturb_the_end(number):
    interrupts = Interrupts()
    steps = []
    with interrupts.interruptible():
        try:
            os.kill(os.getpid(), number)
            interrupts.wait(10)
            steps.append("went on")
        finally:
            os.kill(os.getpid(), number)
            steps.append("cleaned up")
    assert steps == ["cleaned up"]
    assert interrupts.asked


def test_the_handlers_of_before_are_back_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts().interruptible():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_error_leaves_the_block_as_it_is():
    with pytest.raises(OSError, match="disk"), Interrupts().interruptible():
        raise OSError("disk")


@dataclass
class Process:
    returncode: int | None = None


@dataclass
class FakePart:
    """A part that starts at once, fails to as often as `failures` says, or hangs until it is killed."""

    name: str = "bridge"
    pid: int = 7
    failures: int = 0
    hangs: bool = False
    process: Process = field(default_factory=Process)
    calls: list[str] = field(default_factory=list)

    @property
    def running(self):
        return self.process.returncode is None

    def die(self, status=-9):
        self.process.returncode = status

    def launch(self):
        self.calls.append("launch")
        self.process = Process()
        self.pid += 1

    def wait_ready(self):
        if self.failures:
            self.failures -= 1
            self.die(3)
        eventually(lambda: not (self.hangs and self.running))
        if not self.running:
            raise StartError(self.name, "ended with status 3 while starting", "no port")

    def kill(self):
        self.calls.append("kill")
        self.die()


@pytest.fixture
def supervise(monkeypatch):
    """Supervise parts in a thread until the test ends; what is said comes in a list."""
    monkeypatch.setattr("openbsp.up.supervisor._POLL_SECONDS", 0.001)
    monkeypatch.setattr("openbsp.up.supervisor.RESTART_SECONDS", 0.002)
    end = threading.Event()
    with ThreadPoolExecutor() as pool, ExitStack() as stack:

        def start(*parts, restart=True):
            said = []
            supervisor = Supervisor(parts, restart=restart, say=said.append)
            future = pool.submit(supervisor.watch, end.wait)
            stack.callback(future.result, 30)
            return said, end

        yield start
        end.set()


def test_a_part_that_was_killed_is_started_again(supervise):
    part = FakePart()
    said, _ = supervise(part)
    part.die()
    eventually(lambda: len(said) == 2)
    assert said == [
        "bridge (pid 7) was killed by SIGKILL; it is started again",
        "bridge is back (pid 8)",
    ]
    assert part.calls == ["kill", "launch"], "what the dead process left behind goes first"
    assert part.running


def test_a_part_that_dies_again_soon_waits_before_it_is_started_again(supervise):
    part = FakePart()
    said, _ = supervise(part)
    for deaths in (1, 2):
        part.die()
        eventually(lambda deaths=deaths: len(said) == 2 * deaths)
    assert said[2] == "bridge (pid 8) was killed by SIGKILL; it is started again in 0.002 s"


def test_a_part_stays_down_if_asked_for(supervise):
    part, other = FakePart(), FakePart("kafka")
    said, _ = supervise(part, other, restart=False)
    part.die(3)
    eventually(lambda: said)
    other.die()
    eventually(lambda: len(said) == 2)
    assert said == ["bridge (pid 7) ended by itself with status 3; it stays down", said[1]]
    assert part.calls == []


def test_a_part_that_cannot_start_is_tried_again(supervise):
    part = FakePart(failures=2)
    said, _ = supervise(part)
    part.die()
    eventually(lambda: len(said) == 4)
    assert said[1:] == [
        "bridge could not be started: bridge ended with status 3 while starting\nno port",
        "bridge could not be started: bridge ended with status 3 while starting\nno port",
        "bridge is back (pid 10)",
    ]


def test_a_part_that_waits_for_another_one_does_not_keep_that_down(supervise):
    """The streams worker is not ready before the registry is back."""
    streams, registry = FakePart("streams"), FakePart("schema_registry")
    said, _ = supervise(registry, streams)
    streams.hangs = True
    streams.die()
    eventually(lambda: "launch" in streams.calls)
    registry.die()
    eventually(lambda: "schema_registry is back (pid 8)" in said)
    streams.hangs = False
    eventually(lambda: "streams is back (pid 8)" in said)


def test_the_end_does_not_wait_for_a_part_that_is_being_started(supervise):
    part, other = FakePart(), FakePart("kafka")
    said, end = supervise(part, other)
    part.hangs = True
    part.die()
    eventually(lambda: "launch" in part.calls)
    end.set()
    eventually(lambda: part.calls[:3] == ["kill", "launch", "kill"])
    assert len(said) == 1
    assert other.calls == [], "what runs is left to be stopped in order"


def test_a_fault_of_the_supervisor_is_not_hidden(monkeypatch):
    monkeypatch.setattr("openbsp.up.supervisor._POLL_SECONDS", 0.001)
    part = FakePart(process=Process(1))
    end = threading.Event()

    def say(_):
        raise RuntimeError("no terminal")

    with pytest.raises(RuntimeError, match="no terminal"):
        Supervisor([part], restart=True, say=say).watch(end.wait)


class Terminal:
    def __init__(self, *, terminal):
        self.text = ""
        self.terminal = terminal

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_lines_name_their_part_and_a_file_gets_no_control_codes(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    output = Terminal(terminal=False)
    Console(output).log("bridge", "hello")
    Console(output).say("one\ntwo")
    assert output.text == "bridge          | hello\nup              | one\nup              | two\n"


def test_a_terminal_gets_colours_unless_they_are_unwanted(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    output = Terminal(terminal=True)
    Console(output).log("bridge", "hello")
    assert output.text == "\x1b[36mbridge          |\x1b[0m hello\n"
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal(terminal=True)
    Console(plain).log("bridge", "hello")
    assert plain.text == "bridge          | hello\n"


def test_of_the_servers_only_warnings_are_shown_unless_all_is_asked_for():
    lines = [
        ("kafka", "2026-11-22T22:51:40,766 INFO  App info kafka.server for 1 unregistered (AppInfoParser)"),
        ("schema_registry", "2026-11-22T22:51:40,951 DEBUG something"),
        ("kafka", "2026-11-22T22:51:40,766 WARN  Low on disk"),
        ("kafka", "java.io.IOException: no INFO on that"),
        ("bridge", "2026-11-22T22:51:40,766 INFO  ready"),
    ]
    output, verbose = Terminal(terminal=False), Terminal(terminal=False)
    for line in lines:
        Console(output).log(*line)
        Console(verbose, verbose=True).log(*line)
    assert [line.partition("| ")[2] for line in output.text.splitlines()] == [text for _, text in lines[2:]]
    assert len(verbose.text.splitlines()) == len(lines)


def test_a_taken_port_is_named_before_anything_starts():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"views: port {port}"):
            Ports(views=port).check()
    Ports().check()
