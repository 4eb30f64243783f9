"""With load running, something breaks. What was answered with a 2xx is in its topic afterwards, and answers stay quick.

The outages are short here and long under `make test-long`. The broker and the registry are those of `openbsp.local`,
because they can be killed and started again; the rest is as an operator runs it.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.bridge_process import TOKEN, Bridge
from support.consume import headers_of, read_all
from support.load import Load
from support.local_servers import LocalStack
from support.small_disk import small_disk
from support.wait import eventually

pytestmark = [pytest.mark.integration]

#: The sender gives up after 5 s; nothing may take longer than this.
LONGEST_ANSWER_S = 4.0

NewBridge = Callable[..., Bridge]


@pytest.fixture
def new_bridge(servers: LocalStack, tmp_path: Path) -> Iterator[NewBridge]:
    with contextlib.ExitStack() as stack:

        def new(name: str = "bridge", **options: object) -> Bridge:
            directory = tmp_path / name
            directory.mkdir()
            bridge = Bridge(servers.kafka, servers.registry, directory, **options)
            stack.callback(bridge.close)
            bridge.prepare()
            return bridge

        yield new
        for server in servers.servers:
            if not server.running:
                server.start()


def outage(short: float, long: float) -> pytest.MarkDecorator:
    """Run a test with a short outage, and with a long one under `make test-long`."""
    return pytest.mark.parametrize(
        "outage_s", [pytest.param(short, id=f"{short:g}s"), pytest.param(long, id=f"{long:g}s", marks=pytest.mark.long)]
    )


def assert_nothing_lost(bridge: Bridge, *loads: Load) -> None:
    """Wait for the spool to be empty; then look for each accepted event in its topic, and at how the answers were."""
    eventually(lambda: bridge.spooled == 0, within=90)
    messages = read_all(bridge.kafka, bridge.topic)
    keys: dict[str, set[str]] = {}
    for message in messages:
        keys.setdefault(message.key().decode(), set()).add(headers_of(message)["ce_id"])
    accepted = {key: event_id for load in loads for key, event_id in load.accepted.items()}
    lost = [key for key, event_id in accepted.items() if event_id not in keys.get(key, ())]
    slowest = max(load.slowest for load in loads)
    sent = sum(len(load.attempts) for load in loads)
    outcomes = sum((load.outcomes for load in loads), start=type(loads[0].outcomes)())
    print(
        f"\nfigure: lost: {len(lost)} of {len(accepted)} accepted ({sent} sent, {len(messages)} in the topic),"
        f" slowest answer: {slowest:.2f} s, {dict(outcomes)}"
    )
    assert accepted
    assert lost == []
    assert slowest < LONGEST_ANSWER_S
    assert [attempt for load in loads for attempt in load.claims()] == []


def pause(seconds: float) -> None:
    """Let an outage last: time itself is what is tested."""
    time.sleep(seconds)


@outage(3, 60)
def test_kill_the_broker_and_restart_it(servers: LocalStack, new_bridge: NewBridge, outage_s: float):
    bridge = new_bridge()
    bridge.start()
    with Load(bridge.url, TOKEN) as load:
        eventually(lambda: load.count("published") > 50)
        servers.broker.kill()
        pause(outage_s)
        eventually(lambda: load.count("spooled") > 100)
        servers.broker.start()
        eventually(lambda: bridge.spooled == 0, within=90)
        before = load.count("published")
        eventually(lambda: load.count("published") > before + 50)
    assert_nothing_lost(bridge, load)
    assert load.outcomes.keys() == {"published", "spooled"}


@outage(4, 20)
def test_stop_the_broker_for_a_while(servers: LocalStack, new_bridge: NewBridge, outage_s: float):
    """SIGSTOP: connections stay open and nothing answers."""
    bridge = new_bridge()
    bridge.start()
    with Load(bridge.url, TOKEN) as load:
        eventually(lambda: load.count("published") > 50)
        os.kill(servers.pids["kafka"], signal.SIGSTOP)
        try:
            pause(outage_s)
            eventually(lambda: load.count("spooled") > 50)
        finally:
            os.kill(servers.pids["kafka"], signal.SIGCONT)
        before = load.count("published")
        eventually(lambda: load.count("published") > before + 50, within=90)
    assert_nothing_lost(bridge, load)
    assert load.outcomes.keys() == {"published", "spooled"}


@outage(3, 60)
def test_kill_the_bridge_in_the_middle_of_an_outage_and_restart_it(
    servers: LocalStack, new_bridge: NewBridge, outage_s: float
):
    bridge = new_bridge()
    bridge.start()
    with Load(bridge.url, TOKEN) as load:
        eventually(lambda: load.count("published") > 50)
        servers.broker.kill()
        pause(outage_s)
        bridge.kill()
        bridge.start()
        eventually(lambda: bridge.spooled > 50)
        before = load.count("spooled")
        eventually(lambda: load.count("spooled") > before + 50)
        servers.broker.start()
        eventually(lambda: bridge.spooled == 0, within=90)
        # And once more while it drains or publishes.
        bridge.kill()
        bridge.start()
        before = load.count("published")
        eventually(lambda: load.count("published") > before + 50)
    assert_nothing_lost(bridge, load)


def fill_and_recover(servers: LocalStack, bridge: Bridge) -> None:
    """Let the disk fill up during an outage; then let Kafka come back."""
    with Load(bridge.url, TOKEN, per_second=200) as load:
        eventually(lambda: load.count("published") > 50)
        servers.broker.kill()
        eventually(lambda: load.outcomes["not_stored"] > 50, within=60)
        assert load.count("spooled") > 50
        # A moment's room, for one small event, makes it degraded for that moment.
        eventually(lambda: bridge.readiness()["status"] == "unready")
        servers.broker.start()
        eventually(lambda: bridge.spooled == 0, within=90)
        before = load.count("published")
        eventually(lambda: load.count("published") > before + 50)
    assert_nothing_lost(bridge, load)
    assert load.outcomes.keys() == {"published", "spooled", "not_stored"}
    eventually(lambda: bridge.readiness()["status"] == "ready")


def test_a_spool_that_may_not_grow(servers: LocalStack, new_bridge: NewBridge):
    """`ulimit -f`: writing to the file fails from some size on, deleting from it as well."""
    bridge = new_bridge(file_size_limit=2 * 1024 * 1024, variables={"BRIDGE_LOG_LEVEL": "ERROR"})
    bridge.start()
    fill_and_recover(servers, bridge)


def test_a_full_disk(servers: LocalStack, new_bridge: NewBridge, tmp_path: Path):
    disk = tmp_path / "disk"
    with small_disk(disk, "2m") as mounted:
        if not mounted:
            pytest.skip("only root can mount a small file system")
        bridge = new_bridge(variables={"BRIDGE_SPOOL_DIR": str(disk / "spool")})
        bridge.start()
        try:
            fill_and_recover(servers, bridge)
        finally:
            bridge.close()


@outage(3, 60)
def test_kill_the_registry(servers: LocalStack, new_bridge: NewBridge, outage_s: float):
    """It is not needed to go on, nor to start again."""
    bridge = new_bridge()
    bridge.start()
    with Load(bridge.url, TOKEN) as load:
        eventually(lambda: load.count("published") > 50)
        servers.schema_registry.kill()
        pause(outage_s)
        bridge.terminate()
        bridge.start()
        before = load.count("published")
        eventually(lambda: load.count("published") > before + 50)
    assert_nothing_lost(bridge, load)


def test_a_first_start_without_the_registry(servers: LocalStack, new_bridge: NewBridge):
    """Events are taken before the schema ids are known, and published once they are."""
    bridge = new_bridge()
    servers.schema_registry.kill()
    bridge.start()
    with Load(bridge.url, TOKEN) as load:
        eventually(lambda: load.count("spooled") > 100)
        servers.schema_registry.start()
        eventually(lambda: load.count("published") > 50, within=90)
    assert_nothing_lost(bridge, load)


def test_a_first_start_without_kafka(servers: LocalStack, new_bridge: NewBridge):
    bridge = new_bridge()
    servers.broker.kill()
    bridge.start()
    with Load(bridge.url, TOKEN) as load:
        eventually(lambda: load.count("spooled") > 100)
        servers.broker.start()
        eventually(lambda: load.count("published") > 50, within=90)
    assert_nothing_lost(bridge, load)


def test_sigterm_finishes_what_is_in_flight(new_bridge: NewBridge):
    bridge = new_bridge()
    bridge.start()
    with Load(bridge.url, TOKEN, per_second=300) as load:
        eventually(lambda: load.count("published") > 200)
        code, seconds = bridge.terminate()
    assert code == 0
    assert seconds < 10
    assert "no answer" in load.outcomes, "the load went on after the end"
    bridge.start()
    assert_nothing_lost(bridge, load)


def test_sigterm_during_an_outage(servers: LocalStack, new_bridge: NewBridge):
    bridge = new_bridge()
    bridge.start()
    with Load(bridge.url, TOKEN) as load:
        eventually(lambda: load.count("published") > 50)
        servers.broker.kill()
        eventually(lambda: load.count("spooled") > 50)
        code, seconds = bridge.terminate()
        assert code == 0
        assert seconds < 10
    servers.broker.start()
    bridge.start()
    assert_nothing_lost(bridge, load)


def test_rolling_restart(new_bridge: NewBridge):
    """Two bridges take turns at being restarted; the load goes to both."""
    first = new_bridge("first")
    second = new_bridge("second", prefix=first.prefix)
    for bridge in (first, second):
        bridge.start()
    with Load(first.url, TOKEN, prefix="first") as one, Load(second.url, TOKEN, prefix="second") as other:
        for bridge, load in ((first, one), (second, other), (first, one)):
            before = load.count("published")
            eventually(lambda load=load, before=before: load.count("published") > before + 50)
            assert bridge.terminate()[0] == 0
            bridge.start()
    for bridge in (first, second):
        eventually(lambda bridge=bridge: bridge.spooled == 0)
    assert_nothing_lost(first, one, other)
