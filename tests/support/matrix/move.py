"""All topics get more partitions, and everything is moved to others, as docs/operations.md says."""

from confluent_kafka.admin import NewPartitions

from support.bridge_process import APPLY_TOPICS, REGISTER_SCHEMAS
from support.delivery_world import World, another_world
from support.matrix.first import started
from support.wait import eventually

_MORE = "8"


def more_partitions(world: World, since: int) -> str:
    """Beside the world: first the topics get them, then the settings say so as well, which the worker refuses."""
    del since
    with another_world(world, world.bridge.directory / "more") as other:
        bridge = other.bridge
        bridge.prepare()
        with started(other):
            other.start_worker()
            other.some_more()
            own = [name for name in other.new_admin().list_topics(timeout=10).topics if name.startswith(bridge.prefix)]
            for made in other.admin.create_partitions([NewPartitions(name, int(_MORE)) for name in own]).values():
                made.result(10)
            spooling = other.degraded("waiting_for", f"{_MORE} partitions, the join needs TOPIC_PARTITIONS=4")
            other.some_more()
            other.fleet.remove(other.worker)
            bridge.variables = {**bridge.variables, "TOPIC_PARTITIONS": _MORE}
            assert bridge.terminate()[0] == 0
            bridge.start()
            first = len(other.fleet.lines)
            refusing = other.add_worker()
            seen = other.said(f"were made with 4 partitions, the topics have {_MORE}", first)
            other.fleet.remove(refusing)
            eventually(lambda: bridge.spooled == 0, within=60)
            _move(other)
    return f"{spooling}; {seen}"


def _move(world: World) -> None:
    former = {"TOPIC_PREFIX": world.bridge.prefix, "STREAMS_APP_ID": f"{world.bridge.prefix}streams"}
    prefix = f"m{world.bridge.prefix}"
    move = ("repartition", "--to-prefix", prefix, "--to-app-id", f"{prefix}streams", "--to-partitions", _MORE)
    for command in (APPLY_TOPICS, REGISTER_SCHEMAS):
        world.run("bridge", *command, TOPIC_PREFIX=prefix)
    world.run("streams", *move, **former)
    world.bridge.prefix = world.judge.prefix = prefix
    world.start_worker()
    assert world.bridge.terminate()[0] == 0
    world.bridge.start()
    # What was published to the former topics in the meantime.
    world.run("streams", *move, **former)
