"""`bridge up`, piece by piece: the environment, the token, signals, and what happens when a part dies."""

import os
import signal
import stat
from dataclasses import dataclass, field

import pytest

from bridge.local.errors import StartError
from bridge.up.console import Console
from bridge.up.environment import localize
from bridge.up.interrupts import Interrupts
from bridge.up.stack import Ports
from bridge.up.supervisor import Supervisor
from bridge.up.token import StackToken


def test_a_local_environment_leads_to_no_other_servers():
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092",
        "KAFKA_SASL_PASSWORD": "secret",
        "SCHEMA_REGISTRY_URL": "https://registry.example",
        "TOPIC_PREFIX": "mine.",
        "TOPIC_REPLICATION_FACTOR": "3",
        "no_proxy": "example.org",
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
    """A part that starts at once, or fails to as often as `failures` says."""

    name: str
    pid: int = 1
    failures: int = 0
    process: Process = field(default_factory=Process)
    calls: list[str] = field(default_factory=list)

    @property
    def running(self):
        return self.process.returncode is None

    def launch(self):
        self.calls.append("launch")
        self.process = Process()
        self.pid += 1

    def wait_ready(self):
        if self.failures:
            self.failures -= 1
            self.process.returncode = 3
            raise StartError(self.name, "ended with status 3 while starting", "no port")

    def kill(self):
        self.calls.append("kill")


@dataclass
class Ticks:
    """Interrupts that ask for the end after some looks; `events` happen before the look with that number."""

    looks: int
    events: dict[int, object]

    def wait(self, _seconds):
        self.looks -= 1
        if event := self.events.pop(self.looks, None):
            event()
        return self.looks <= 0


def watch(monkeypatch, part, *, restart, looks=20, events=None):
    """Supervise one part while each look takes a tenth of a second; return what was said."""
    said = []
    clock = iter(range(1_000_000))
    monkeypatch.setattr("bridge.up.supervisor.time.monotonic", lambda: next(clock) / 10)
    Supervisor([part], restart=restart, say=said.append).watch(Ticks(looks, events or {}))
    return said


def test_a_part_that_was_killed_is_started_again(monkeypatch):
    part = FakePart("bridge", pid=7)
    said = watch(monkeypatch, part, restart=True, events={15: lambda: setattr(part.process, "returncode", -9)})
    assert said == [
        "bridge (pid 7) was killed by SIGKILL; it is started again in 1 s",
        "bridge is back (pid 8)",
    ]
    assert part.calls == ["kill", "launch"], "what the dead process left behind goes first"
    assert part.running


def test_a_part_stays_down_if_asked_for(monkeypatch):
    part = FakePart("bridge", pid=7, process=Process(3))
    assert watch(monkeypatch, part, restart=False) == ["bridge (pid 7) ended by itself with status 3; it stays down"]
    assert part.calls == []


def test_a_part_that_cannot_start_is_tried_again(monkeypatch):
    part = FakePart("bridge", pid=7, failures=2, process=Process(1))
    said = watch(monkeypatch, part, restart=True, looks=60)
    assert said[1:] == [
        "bridge could not be started: bridge ended with status 3 while starting\nno port",
        "bridge could not be started: bridge ended with status 3 while starting\nno port",
        "bridge is back (pid 10)",
    ]


def test_parts_that_run_are_left_alone(monkeypatch):
    part = FakePart("bridge")
    assert watch(monkeypatch, part, restart=True) == []
    assert part.calls == []


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
