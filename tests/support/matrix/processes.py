"""Processes of the bridge are killed, restarted and upgraded."""

import os
import signal
from pathlib import Path

from support.delivery_world import World
from support.wait import eventually


def sigkill_of_a_worker(world: World, since: int) -> str:
    world.replaced(lambda worker: os.kill(worker, signal.SIGKILL))
    world.some_more()
    return world.logged("worker.replaced", since)


def restart(world: World, since: int) -> str:
    assert world.bridge.terminate()[0] == 0
    world.bridge.start()
    world.some_more()
    return world.logged("http.listening", since)


def upgrade(world: World, since: int) -> str:
    world.bridge.upgrade()
    world.some_more()
    return world.logged("upgrade.completed", since)


def tokens_file_that_is_broken(world: World, since: int) -> str:
    tokens = world.bridge.directory / "tokens"
    text = tokens.read_text()
    tokens.write_text("half a li")
    seen = world.logged("tokens.not_reloaded", since)
    world.replaced(lambda worker: os.kill(worker, signal.SIGKILL))
    world.some_more()
    tokens.write_text(text)
    world.logged("tokens.reloaded", since)
    return seen


def supervisor_is_killed(world: World, since: int) -> str:
    """Let its workers answer what they have, and end, and whoever holds the socket start the next one."""
    supervisor = world.bridge.process
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    supervisor.wait()
    world.bridge.start()
    world.some_more()
    return world.logged("worker.orphaned", since)


def upgrade_that_cannot_start(world: World, since: int) -> str:
    tokens, workers = world.bridge.directory / "tokens", world.bridge.workers
    text = tokens.read_text()
    tokens.write_text("no token file")
    assert world.bridge.process is not None
    world.bridge.process.send_signal(signal.SIGUSR2)
    seen = world.logged("upgrade.failed", since)
    world.some_more()
    assert world.bridge.workers == workers
    world.logged("tokens.not_reloaded", since)
    tokens.write_text(text)
    world.logged("tokens.reloaded", since)
    return seen


def stop_while_an_upgrade_runs(world: World, since: int) -> str:
    """Let the successor stand still meanwhile, so that it is not ready before.

    Trap: the supervisor waits for its exec, so one that stood still before that would have it stand still as well.
    """
    workers = set(world.bridge.workers)
    assert world.bridge.process is not None
    world.bridge.process.send_signal(signal.SIGUSR2)
    (successor,) = eventually(lambda: set(world.bridge.workers) - workers)
    eventually(lambda: b"OPENBSP_UPGRADE_READY_FD=" in Path(f"/proc/{successor}/environ").read_bytes())
    os.kill(successor, signal.SIGSTOP)
    try:
        world.bridge.process.send_signal(signal.SIGTERM)
        seen = world.logged("upgrade.stopped", since)
    finally:
        os.kill(successor, signal.SIGCONT)
    assert world.bridge.process.wait(60) == 0
    assert '"event":"upgrade.completed"' not in world.log[since:]
    world.bridge.start()
    world.some_more()
    return seen


def killed_while_the_spool_fills_and_drains(world: World, since: int) -> str:
    """All its processes, three times while Kafka does not answer, and once while what they stored is published."""
    del since
    with world.spooling():
        # What waited for Kafka when it stopped is in the spool after that, and little is under way.
        world.some_more(220)
        for _ in range(3):
            world.bridge.kill()
            world.bridge.start()
            world.some_more(20)
        least = world.bridge.spooled
    eventually(lambda: world.bridge.spooled < least, within=60, every=0.01)
    world.bridge.kill()
    world.bridge.start()
    return f"nothing but starts: {least} events were in the spool after three kills"
