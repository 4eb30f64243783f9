"""`bridge up`: what it prints, what it survives, and that it leaves nothing behind."""

import os
import signal
import stat
import subprocess

import psutil
import pytest

from support.consume import read_all
from support.documented import DocumentedEvents
from support.kills import kill, survivors
from support.load import SENDER_PATIENCE_S, Load
from support.up import BRIDGE, RunningStack, start_up
from support.wait import eventually


def family(stack: RunningStack) -> list[psutil.Process]:
    """Return `bridge up` and all processes that it started, directly or not."""
    own = psutil.Process(stack.process.pid)
    return [own, *own.children(recursive=True)]


def post(stack: RunningStack, body: bytes) -> bool:
    """Send an event as often as it takes; say so when it was accepted."""

    def accepted():
        assert stack.try_post(body) == 202
        return True

    return eventually(accepted, within=60)


def assert_the_documented_conversation(stack: RunningStack, events: DocumentedEvents) -> None:
    def look():
        answer = stack.try_view(f"/conversations/{events.conversation}")
        assert answer is not None
        assert answer.status_code == 200, answer.text
        assert events.contradictions(answer.json()) == {}
        return True

    eventually(look, within=60)


def test_one_line_says_how_to_reach_everything(running_stack):
    line = running_stack.line
    assert line.keys() == {"kafka", "schema_registry", "bridge", "views", "token", "pids"}
    assert line["kafka"].startswith("127.0.0.1:")
    assert all(line[name].startswith("http://127.0.0.1:") for name in ("schema_registry", "bridge", "views"))
    assert line["pids"].keys() == {"kafka", "schema_registry", "bridge", "streams"}
    assert all(psutil.pid_exists(pid) for pid in line["pids"].values())


def test_a_stack_with_data_goes_on_where_it_stopped(bridge_up, tmp_path):
    events = DocumentedEvents()
    data = tmp_path / "data"
    first = bridge_up("--data", str(data))
    for body in events.bodies[:3]:
        assert first.post(body).status_code == 202
    processes = family(first)
    assert first.stop(signal.SIGINT) == 0
    eventually(lambda: survivors(processes) == [])
    assert first.process.stdout.closed

    second = bridge_up("--data", str(data))
    assert second.token == first.token
    # Rows of people and the token: for nobody else, and what is in these directories is not reached through them.
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (data, *data.iterdir())}
    assert modes.keys() >= {"data", "kafka", "logs", "registry", "spool", "streams", "token"}
    assert {name for name, mode in modes.items() if mode & 0o077} == set()
    for body in events.bodies[3:]:
        assert second.post(body).status_code == 202
    assert_the_documented_conversation(second, events)


def test_a_killed_part_stays_down_if_asked_for_and_no_process_survives_when_the_stack_is_killed(bridge_up):
    stack = bridge_up("--no-restart")
    os.kill(stack.pids["bridge"], signal.SIGKILL)
    eventually(lambda: "it stays down" in stack.log.read_text("utf-8"))
    assert stack.try_post(b"{}") is None
    assert all(psutil.pid_exists(stack.pids[part]) for part in ("kafka", "schema_registry", "streams"))
    assert stack.process.poll() is None

    processes = family(stack)
    assert len(processes) > 4
    stack.process.kill()
    stack.process.wait(10)
    eventually(lambda: survivors(processes) == [])


def test_ports_and_token_can_be_chosen(bridge_up, tmp_path, free_base):
    stack = bridge_up(
        "--ports",
        str(free_base),
        "--data",
        str(tmp_path / "data"),
        environment={"BRIDGE_TOKENS": "me=token-that-i-chose"},
    )
    assert stack.kafka == f"127.0.0.1:{free_base}"
    assert stack.registry.startswith(f"http://127.0.0.1:{free_base + 1}/")
    assert stack.bridge == f"http://127.0.0.1:{free_base + 2}"
    assert stack.views == f"http://127.0.0.1:{free_base + 3}"
    assert stack.token == "token-that-i-chose"
    assert not (tmp_path / "data" / "token").exists()
    assert stack.post(DocumentedEvents().bodies[0]).status_code == 202

    second = subprocess.run(
        [BRIDGE, "up", "--data", str(tmp_path / "data")], capture_output=True, text=True, check=False, timeout=60
    )
    assert second.returncode == 1
    assert "in use" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_can_be_interrupted(tmp_path, number):
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([BRIDGE, "up", "--json"], stdout=subprocess.PIPE, stderr=output)
    with process:
        eventually(lambda: "kafka" in log.read_text("utf-8").partition("\n")[2])
        processes = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        assert process.wait(90) == 0, log.read_text("utf-8")
        assert process.stdout.read() == b""
    eventually(lambda: survivors(processes) == [])


@pytest.fixture(scope="module")
def restarting_stack(tmp_path_factory):
    """One stack for the tests that kill its parts; the last one ends it."""
    stack = start_up(tmp_path_factory.mktemp("restarting-stack"))
    yield stack
    stack.stop()
    print("--- bridge up", *(line for line in said(stack).splitlines() if not line.startswith("kafka ")), sep="\n")


def said(stack: RunningStack) -> str:
    """Return what `bridge up` and its parts have logged; a byte is a character of it."""
    return stack.log.read_bytes().decode("latin-1")


def test_webhooks_wait_while_the_bridge_of_a_stack_is_killed(restarting_stack):
    """`bridge up` holds the socket: nobody is refused, and only what a killed process had read has no answer."""
    stack = restarting_stack
    kills = []
    with Load(stack.bridge, stack.token) as load:
        for _ in range(2):
            eventually(lambda: len(load.accepted) > 100)
            bridge = stack.supervisor_of_the_bridge()
            # `up` notices the death, and kills the workers, which are about to end by themselves.
            pids = [bridge.pid, *(worker.pid for worker in bridge.children())]
            kills.append(kill(pids, bridge.kill))
            before = len(load.accepted)
            eventually(lambda before=before: len(load.accepted) > before + 100)
    unanswered = [attempt for attempt in load.attempts if attempt.status is None]
    refused = [attempt for attempt in unanswered if not any(one.hit(attempt) for one in kills)]

    def keys_of_all_accepted() -> set[str]:
        stored = {message.key().decode() for message in read_all(stack.kafka, "openbsp.messages")}
        assert load.accepted.keys() <= stored
        return stored

    stored = eventually(keys_of_all_accepted, within=60)
    print(
        f"\nfigure: bridge of `bridge up` killed twice: {len(load.attempts)} sent, never answered: {len(refused)},"
        f" in the hands of a killed process: {len(unanswered) - len(refused)} (of these stored:"
        f" {sum(attempt.key in stored for attempt in unanswered)}), slowest answer: {load.slowest:.2f} s"
    )
    assert refused == []
    # As in test_ingress_restarts: a kill hits what is under way within milliseconds.
    assert len(unanswered) <= 5 * len(kills)
    assert load.slowest < SENDER_PATIENCE_S


def test_a_killed_part_comes_back_and_nothing_is_lost(restarting_stack):
    """Each part is killed between two events; its address stays, and the state is that of all events."""
    events = DocumentedEvents()
    stack = restarting_stack
    for part, body in zip(["bridge", "streams", "kafka", "schema_registry"], events.bodies, strict=False):
        before = stack.log.stat().st_size
        killed = stack.supervisor_of_the_bridge().pid if part == "bridge" else stack.pids[part]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda part=part, before=before: f"{part} is back" in said(stack)[before:], within=60)
        post(stack, body)
    post(stack, events.bodies[4])
    assert_the_documented_conversation(stack, events)
    processes = family(stack)
    assert stack.stop(signal.SIGTERM) == 0
    eventually(lambda: survivors(processes) == [])
