"""What happens to the worker, its tables and its logs."""

import secrets
import time

from confluent_kafka import ConsumerGroupTopicPartitions, Producer
from msgspec import msgpack

from support.consume import read_all
from support.delivery_world import World, another_world
from support.group_positions import commit, committed
from support.join_cases import at, inserted, message, status_of
from support.load import SENDER_PATIENCE_S
from support.matrix.first import started
from support.topic_settings import change_settings
from support.wait import SESSION_S, eventually

CHANGELOGS = ("streams-messages-changelog", "streams-conversations-changelog")


def worker_is_killed(world: World, since: int) -> str:
    del since
    exits = len(world.worker.exits)
    world.fleet.kill(world.worker)
    eventually(lambda: len(world.worker.exits) > exits)
    world.some_more()
    world.fleet.wait_ready(90)
    return f"exit status {world.worker.exits[-1]}"


def worker_stands_still(world: World, since: int) -> str:
    """For longer than its session: others could have its partitions by then."""
    del since
    first = len(world.fleet.lines)
    world.fleet.pause(world.worker)
    try:
        before = time.monotonic()
        eventually(lambda: time.monotonic() - before > 2 * SESSION_S and len(world.load.accepted))
    finally:
        world.fleet.resume(world.worker)
    world.fleet.wait_ready(90)
    ended = any('"level":"CRITICAL"' in line for line in world.fleet.lines[first:])
    return world.said('"level":"CRITICAL"', first) if ended else "nothing"


def worker_without_room(world: World, since: int) -> str:
    """On the disk of its stores, from before it starts: what it joined since the last write is in its changelogs."""
    del since
    first = len(world.fleet.lines)
    with world.full(world.stores):
        world.fleet.restart(world.worker)
        seen = world.said('"level":"CRITICAL"', first)
        world.some_more()
    world.fleet.wait_ready(90)
    return seen


def changelogs_are_emptied(world: World, since: int) -> str:
    del since
    first, names = len(world.fleet.lines), CHANGELOGS
    with world.without_worker():
        for name in names:
            change_settings(world.admin, f"{world.bridge.prefix}{name}", cleanup_policy="compact,delete")
        eventually(lambda: world.delete_records(*names))
        for name in names:
            change_settings(world.admin, f"{world.bridge.prefix}{name}", cleanup_policy="compact")
    return f"{world.said('it was emptied', first)}; {world.counted('streams_changelogs_repaired_total')}"


def changelogs_are_made_anew(world: World, since: int) -> str:
    del since
    first, names = len(world.fleet.lines), CHANGELOGS
    with world.without_worker():
        for deleted in world.admin.delete_topics([f"{world.bridge.prefix}{name}" for name in names]).values():
            deleted.result(10)
        world.bridge.prepare()
    return f"{world.said('it was created again', first)}; {world.counted('streams_changelogs_repaired_total')}"


def logs_are_made_anew_under_the_worker(world: World, since: int) -> str:
    """Its changelogs, and the topics that it writes states to."""
    del since
    first, exits = len(world.fleet.lines), len(world.worker.exits)
    names = ("streams-messages-changelog", "streams-conversations-changelog", "message-state", "conversation-state")
    for deleted in world.admin.delete_topics([f"{world.bridge.prefix}{name}" for name in names]).values():
        deleted.result(10)
    world.bridge.prepare()
    world.some_more()
    eventually(lambda: len(world.worker.exits) > exits, within=60)
    seen = world.said('"level":"CRITICAL"', first)
    world.fleet.wait_ready(90)
    return f"{seen}; {world.counted('streams_changelogs_repaired_total', 4)}"


def changelogs_are_missing_until_the_worker_ends(world: World, since: int) -> str:
    del since
    first, exits = len(world.fleet.lines), len(world.worker.exits)
    names = [f"{world.bridge.prefix}{name}" for name in CHANGELOGS]
    for deleted in world.admin.delete_topics(names).values():
        deleted.result(10)
    eventually(lambda: len(world.worker.exits) > exits, within=60)
    seen = world.said('"level":"CRITICAL"', first)
    assert not set(names) & world.new_admin().list_topics(timeout=10).topics.keys()
    world.bridge.prepare()
    world.fleet.wait_ready(90)
    return f"{seen}; {world.counted('streams_changelogs_repaired_total')}"


def changelogs_are_made_anew_while_the_store_is_elsewhere(world: World, since: int) -> str:
    """Another worker, with nothing on its disk, makes them whole again meanwhile."""
    del since
    with world.without_worker():
        for deleted in world.admin.delete_topics([f"{world.bridge.prefix}{name}" for name in CHANGELOGS]).values():
            deleted.result(10)
        world.bridge.prepare()
        other = world.fleet.add(STREAMS_STORE="rocksdb", **world.clock.variables)
        world.fleet.wait_ready(90)
        world.some_more()
        seen = world.counted("streams_changelogs_repaired_total")
        assert world.fleet.remove(other) == 0
    return f"the other worker: {seen}"


def retention_takes_what_was_not_read(world: World, since: int) -> str:
    """Those events are gone, and counted."""
    del since
    first = len(world.fleet.lines)
    with world.without_worker():
        began = time.monotonic()
        world.some_more(100)
        world.delete_records("messages")
        world.lose(began - SENDER_PATIENCE_S)
    seen = world.said("records were deleted before they were read", first)
    return f"{seen}; {world.counted('streams_records_lost_total', 10)}"


def positions_of_somebody_else(world: World, since: int) -> str:
    del since
    first = len(world.fleet.lines)
    with world.without_worker():
        world.some_more(100)
        foreign = ConsumerGroupTopicPartitions(f"{world.bridge.prefix}streams", world.ends("messages"))
        for altered in world.admin.alter_consumer_group_offsets([foreign]).values():
            altered.result(10)
    return f"{world.said('another program committed', first)}; {world.counted('streams_positions_refused_total')}"


def two_workers_with_one_address(world: World, since: int) -> str:
    del since
    first, (url,) = len(world.fleet.lines), world.fleet.urls
    second = world.fleet.add(STREAMS_STORE="memory", STREAMS_ADVERTISED_URL=url)
    try:
        return world.said(f"another worker advertises {url} as well", first)
    finally:
        world.fleet.remove(second)
        world.fleet.wait_ready(90)


def files_of_stores_are_missing(world: World, since: int) -> str:
    del since
    with world.without_worker():
        stores = sorted(world.stores.glob("*/*/*-changelog/*/CURRENT"))
        for file in stores:
            file.unlink()
    return world.counted("streams_stores_set_aside_total", len(stores))


def poison(world: World, since: int) -> str:
    """Write records that nobody should, to each partition, and a webhook with 32,000 keys of status."""
    del since
    producer = Producer({"bootstrap.servers": world.bridge.kafka})
    for place in world.partitions("messages", "conversations"):
        for value in (b"no Avro", b"\x00\x7f\xff\xff\xff" + b"x"):
            producer.produce(place.topic, value, b"poison", partition=place.partition)
    assert producer.flush(10) == 0
    status = {f"k{number:05}": at(3) for number in range(32_000)}
    envelope = message(f"{world.organization}-poison", organization_id="poison", status=status, updated_at=at(3))
    assert world.posted(envelope).status == 202
    return "; ".join(
        f"{reason}: {world.counted('streams_dead_letters_total', 8, reason=reason)}"
        for reason in ("not_wire_format", "unknown_schema")
    )


def positions_from_a_backup(world: World, since: int) -> str:
    """Of a topic that was deleted and created again since, and has grown beyond them: they are another topic's."""
    del since
    first, topic, group = len(world.fleet.lines), world.bridge.topic, f"{world.bridge.prefix}streams"
    with world.without_worker():
        saved = committed(world.bridge.kafka, group)
        world.admin.delete_topics([topic])[topic].result(10)
        world.lose(0)
        world.degraded("waiting_for", f"{topic}: missing")
        world.bridge.prepare()
        grown = eventually(lambda: (e := world.ends("messages")) and all(p.offset > 20 for p in e) and e, within=60)
        restored = {(p.topic, p.partition): (p.offset // 2, saved[p.topic, p.partition].metadata) for p in grown}
        commit(world.bridge.kafka, group, restored)
    seen = world.said("the topic was deleted and created again", first)
    return f"{seen}; {world.counted('streams_positions_refused_total')}"


def row_that_a_former_version_took(world: World, since: int) -> str:
    """With more columns than a row may have now: it is in the changelog, and can be deleted."""
    del since
    key, own = f"{world.organization}-former", {"organization_id": "former"}
    row = inserted(key, f"{key}-c", "outgoing", 1)
    assert world.posted({**row, "data": row["data"] | own | {"x": "extra"}}).status == 202
    eventually(lambda: world.view(f"messages/{key}") == 200, within=60)
    with world.without_worker():
        topic = f"{world.bridge.prefix}{CHANGELOGS[0]}"
        *_, stored = (record for record in read_all(world.bridge.kafka, topic) if record.key() == key.encode())
        facts = msgpack.decode(stored.value())
        columns = facts[1]
        columns |= {f"x{number}": columns["x"] for number in range(33_000)}
        producer = Producer({"bootstrap.servers": world.bridge.kafka})
        producer.produce(topic, msgpack.encode(facts), stored.key(), partition=stored.partition())
        assert producer.flush(10) == 0
    assert world.posted(status_of(key, "read", 2)).status == 202
    seen = world.counted("streams_dead_letters_total", reason="too_large")
    assert world.view(f"messages/{key}") == 200
    assert world.posted(message(key, "delete", **own)).status == 202
    eventually(lambda: world.view(f"messages/{key}") == 404, within=60)
    return seen


#: What Python runs first in a worker: its msgpack has a fault, as a library in C may, and ends the process where it
#: meets a certain text.
_FAULT = """
import os, signal
from msgspec import msgpack

class Encoder:
    def __init__(self, *arguments, **named):
        self._encoder = sound(*arguments, **named)

    def encode(self, value):
        encoded = self._encoder.encode(value)
        if b"%s" in encoded:
            os.kill(os.getpid(), signal.SIGSEGV)
        return encoded

sound, msgpack.Encoder = msgpack.Encoder, Encoder
"""


def event_that_ends_workers(world: World, since: int) -> str:
    """Beside the world, where a library of the worker has a fault: only what meets it is set aside."""
    del since
    directory, text = world.bridge.directory / "fault", f"deadly-{secrets.token_hex(8)}"
    with another_world(world, directory) as other:
        (directory / "sitecustomize.py").write_text(_FAULT % text)
        other.bridge.prepare()
        with started(other):
            other.start_worker(PYTHONPATH=str(directory))
            first = len(other.fleet.lines)
            row = inserted("deadly", "deadly-c", "outgoing", 1, external_id=text)
            assert other.posted({**row, "data": row["data"] | {"organization_id": "deadly"}}).status == 202
            seen = other.said("ended workers each time it was the only event in work", first, within=150)
            other.fleet.wait_ready(90)
            assert other.posted(status_of("deadly", "read", 2)).status == 202
        return f"{seen}, after {len(other.worker.exits)} ends"
