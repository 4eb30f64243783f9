"""First starts: beside the world another bridge and worker, with topics of their own.

The same judge looks at them, and they are no more at the end of the case.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence

from support.bridge_process import APPLY_TOPICS, REGISTER_SCHEMAS, TOKEN
from support.delivery_judge import Judge
from support.delivery_world import World, another_world, events_of
from support.kills import Kill, kill
from support.load import Load
from support.up import start_up
from support.wait import eventually


@contextlib.contextmanager
def started(other: World, kills: Sequence[Kill] = ()) -> Iterator[None]:
    """Start a bridge for which a sender waits already; judge what was sent in the meantime, once its worker runs."""
    with other.load:
        other.bridge.start()
        first = time.monotonic()
        yield
        before = other.load.count("published")
        eventually(lambda: other.load.count("published") > before + 20, within=90)
    eventually(lambda: other.bridge.spooled == 0, within=90)
    assert_as_sent(other.judge, kills, first)


def assert_as_sent(judge: Judge, kills: Sequence[Kill] = (), first: float = 0.0) -> None:
    """Raise AssertionError if something is lost, or a request unanswered that was in the hands of no killed process.

    Senders may have given up before `first`, when there was nobody who could have answered them.
    """
    judgement = judge.judge("before")
    assert judgement.accepted
    assert judgement.lost == set()
    assert judgement.differences == []
    unanswered = [attempt for attempt in judge.load.attempts if attempt.status is None and attempt.started > first]
    assert [attempt for attempt in unanswered if not any(one.hit(attempt) for one in kills)] == []
    assert judge.load.outcomes.keys() <= {"published", "spooled", "no answer"}


def first_start_without_kafka(world: World, since: int) -> str:
    del since
    with another_world(world, world.bridge.directory / "without-kafka") as other:
        other.bridge.prepare()
        world.servers.broker.kill()
        with started(other):
            seen = other.degraded("waiting_for", "kafka")
            eventually(lambda: other.load.count("spooled") > 50, within=60)
            world.servers.broker.start(120)
            other.start_worker()
        return seen


def first_start_without_the_registry(world: World, since: int) -> str:
    """Start it before the registry, which comes later and does not have the schemas; they are registered after that."""
    del since
    with another_world(world, world.bridge.directory / "without-registry") as other:
        other.bridge.command(*APPLY_TOPICS)
        world.servers.schema_registry.kill()
        with started(other):
            down = other.degraded("waiting_for", "schema_registry")
            eventually(lambda: other.load.count("spooled") > 50, within=60)
            world.servers.schema_registry.start(120)
            missing = other.degraded("waiting_for", "bridge schemas register")
            other.some_more()
            other.bridge.command(*REGISTER_SCHEMAS)
            other.start_worker()
        return f"{down}; {missing}"


def bridge_up_whose_bridge_is_killed(world: World, since: int) -> str:
    """Kill it twice under a sender, whose requests wait in the socket that `bridge up` holds."""
    del since
    directory = world.bridge.directory / "up"
    directory.mkdir()
    up, kills = start_up(directory, environment={"BRIDGE_TOKENS": f"tests={TOKEN}"}), []
    try:
        with Load(up.bridge, TOKEN, per_second=60, event=events_of("before")) as load:
            for _ in range(2):
                more_accepted(load)
                bridge = up.supervisor_of_the_bridge()
                kills.append(kill([bridge.pid, *(worker.pid for worker in bridge.children())], bridge.kill))
            more_accepted(load)
        assert_as_sent(Judge(up.kafka, "openbsp.", lambda: up.views, load), kills)
        return next(line for line in up.log.read_text("utf-8", "replace").splitlines() if "bridge is back" in line)
    finally:
        up.stop()


def more_accepted(load: Load) -> None:
    before = len(load.accepted)
    eventually(lambda: len(load.accepted) > before + 100, within=60)
