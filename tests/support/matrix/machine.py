"""The disk of the spool, and the clock."""

import contextlib
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import time

from support.consume import headers_of, read_all
from support.delivery_world import World
from support.join_cases import message
from support.matrix.processes import restart
from support.topic_settings import change_settings, settings_of
from support.wait import eventually


def spool_that_is_removed(world: World, since: int) -> str:
    """While it holds events; what it held is there again."""
    with world.spooling():
        for path in (world.disk / "spool").glob("spool-*"):
            path.unlink(missing_ok=True)
        # Those that were waiting for Kafka when it stopped are in the spool after the deadline, and none is under way.
        world.some_more(220)
        seen = world.logged("spool.recovered", since)
        world.bridge.kill()  # what is not on the disk is gone now
    world.bridge.start()
    return seen


def spool_that_is_moved(world: World, since: int) -> str:
    with world.spooling():
        (world.disk / "spool").rename(world.disk / "spool-elsewhere")
        (world.disk / "spool").mkdir()
        world.some_more(220)
        seen = world.logged("spool.recovered", since)
        world.bridge.kill()
    world.bridge.start()
    shutil.rmtree(world.disk / "spool-elsewhere")
    return seen


def spool_that_is_mounted_over(world: World, since: int) -> str:
    """Hide it behind an empty disk: what it held is in the file that is made there."""
    with world.spooling(), world.mounted_over(world.disk / "spool", "size=16m"):
        world.some_more(220)
        seen = world.logged("spool.recovered", since)
        os.kill(world.servers.pids["kafka"], signal.SIGCONT)
        eventually(lambda: world.bridge.spooled == 0, within=60)
    world.some_more()
    return seen


def spool_that_is_read_only(world: World, since: int) -> str:
    """Accept nothing while Kafka does not answer; what was accepted is published from the open file."""
    with world.spooling(), world.mounted_over(world.disk / "spool", "size=1m,ro"):
        eventually(lambda: world.bridge.readiness()["status"] == "unready", within=60)
        seen = str(world.bridge.readiness()["spool"]["failing"])
        os.kill(world.servers.pids["kafka"], signal.SIGCONT)
    del since
    return f"status: unready; spool: {seen}"


def disk_that_is_full(world: World, since: int) -> str:
    """While Kafka does not answer: what comes then cannot be kept, and is not answered as if it were."""
    kafka = world.servers.pids["kafka"]
    with world.full(world.disk):
        os.kill(kafka, signal.SIGSTOP)
        try:
            seen = world.logged("spool.not_written", since)
            eventually(lambda: world.bridge.readiness()["status"] == "unready", within=60)
        finally:
            os.kill(kafka, signal.SIGCONT)
    world.logged("spool.repaired", since)
    return f"status: unready; {seen}"


def quarantine_without_room(world: World, since: int) -> str:
    """Neither an event nor its dead letter is taken by Kafka, and the disk has no room for moving it aside.

    Trap: SQLite writes into free pages of its files, and a full disk does not show. The write-ahead log has none after
    a checkpoint, which an operator's backup may make, and the event is larger than what is spooled until the disk is
    full.
    """
    own = {"organization_id": "large", "conversation_id": "large", "created_at": "2026-05-06T00:00:00Z"}
    large = message(f"{world.organization}-large", "insert", **own, content={"text": secrets.token_hex(1_500_000)})
    topics = [f"{world.bridge.prefix}{name}" for name in ("messages", "dead-letters")]
    former = {topic: settings_of(world.admin, topic)["max.message.bytes"] for topic in topics}
    for topic in topics:
        change_settings(world.admin, topic, max_message_bytes="100000")
    kafka = world.servers.pids["kafka"]
    os.kill(kafka, signal.SIGSTOP)
    try:
        sent = world.posted(large)
        assert sent.answer["disposition"] == "spooled"
        with contextlib.closing(sqlite3.connect(world.disk / "spool" / "spool-0.db", timeout=30)) as spool:
            assert spool.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        with world.full(world.disk):
            os.kill(kafka, signal.SIGCONT)
            seen = world.logged("spool.event_not_quarantined", since)
            for topic in topics:
                change_settings(world.admin, topic, max_message_bytes=former[topic])
            eventually(lambda: world.bridge.spooled == 0, within=60)
    finally:
        os.kill(kafka, signal.SIGCONT)
    assert sent.answer["event_id"] in {headers_of(one)["ce_id"] for one in read_all(world.bridge.kafka, topics[0])}
    return seen


def restart_while_the_disk_is_full(world: World, since: int) -> str:
    """Kafka takes events, so the disk must keep no bridge from starting, nor a worker from being replaced."""
    with world.full(world.disk):
        restart(world, since)
        seen = world.degraded("spool", "'failing': '")
        first = len(world.log)
        world.replaced(lambda worker: os.kill(worker, signal.SIGKILL))
        world.some_more()
        world.logged("spool.not_opened", first)
    world.logged("spool.opened", first)
    return seen


def clock_that_is_wrong(world: World, since: int) -> str:
    """40 days behind while it runs, and two hours ahead from a start on."""
    try:
        world.clock.set(-40 * 86_400)
        seen = world.degraded("remarks", "behind the brokers'")
        world.some_more()
        world.clock.set(7_200)
        assert world.bridge.terminate()[0] == 0
        world.bridge.start()
        world.degraded("remarks", "ahead of the brokers'")
        world.some_more()
        world.logged("clock.skewed", since)
    finally:
        world.clock.set(0)
    world.logged("clock.right", since)
    # With the bridge's time, retention would delete them at once, or the broker refuse them.
    written = {message.timestamp()[1] / 1000 for message in read_all(world.bridge.kafka, world.bridge.topic)}
    assert max(abs(at - time.time()) for at in written) < 3_600
    return f"{seen}; clock.skewed"


def leftover_that_cannot_be_opened(world: World, since: int) -> str:
    """Nor another one, with events in it, be removed: those are published all the same."""
    world.need_root()
    spool = world.disk / "spool"
    with contextlib.ExitStack() as stack:
        with world.spooling():
            assert world.bridge.terminate()[0] == 0
            (spool / "spool-7.db").mkdir()
            for file in spool.glob("spool-0.db*"):
                file.rename(spool / file.name.replace("-0", "-5"))
            held = spool / "spool-5.db"
            subprocess.check_call(["mount", "--bind", held, held])
            stack.callback(subprocess.check_call, ["umount", held])
            world.bridge.start()
            world.some_more()
        seen = f"{world.logged('spool.not_adopted', since)}, {world.logged('spool.adoption_paused', since)}"
        eventually(lambda: world.metric(world.bridge.url, "bridge_spools_not_adopted") == 2, within=60)
        (spool / "spool-7.db").rmdir()
    return seen
