"""A machine that loses its power: of its disk there is what had reached the device."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from support.bridge_process import Bridge
from support.delivery_world import World, another_world
from support.kills import Kill, kill
from support.matrix.first import started


def machine_that_loses_its_power(world: World, since: int) -> str:
    """Beside the world, while Kafka does not answer: a bridge goes on with a copy of the device that its spool was on.

    What the kernel had not written to it yet is not there. It starts while the broker stands still. Who sends to a
    machine without power has no answer: a start takes longer than a sender waits, if the processors are busy.
    """
    del since
    world.need_root()
    directory = world.bridge.directory / "power"
    kills: list[Kill] = []
    with contextlib.ExitStack() as mounted, another_world(world, directory) as other:
        device, disk = directory / "device", directory / "powered"
        disk.mkdir()
        with device.open("wb") as file:
            file.truncate(32 << 20)
        subprocess.check_call(["mkfs.ext4", "-q", "-F", device])
        # Only what is synced is written; the rest waits for longer than this takes.
        subprocess.check_call(["mount", "-o", "loop,commit=300", device, disk])
        mounted.callback(lambda: subprocess.check_call(["umount", disk]))
        other.bridge.variables = {**other.bridge.variables, "BRIDGE_SPOOL_DIR": str(disk / "spool")}
        other.bridge.prepare()
        with started(other, kills):
            other.start_worker()
            with other.spooling():
                other.some_more(220)
                killed = lose_power(other.bridge, device)
                subprocess.check_call(["umount", disk])
                device.with_suffix(".copy").replace(device)
                subprocess.check_call(["mount", "-o", "loop", device, disk])
                other.bridge.start()
                kills.append(killed._replace(gone=time.monotonic()))
                found = other.bridge.spooled
    return f"nothing but a start: {found} events were in the spool"


def lose_power(bridge: Bridge, device: Path) -> Kill:
    """Kill a bridge; what its device was like until then is in a copy. Trap: the kernel may write while it is read."""
    assert bridge.process is not None
    supervisor = bridge.process.pid
    copies = [b"before", b""]

    def act() -> None:
        os.killpg(supervisor, signal.SIGSTOP)
        while copies[-1] != copies[-2]:
            copies.append(device.read_bytes())
        bridge.kill()

    killed = kill([supervisor, *bridge.workers], act)
    device.with_suffix(".copy").write_bytes(copies[-1])
    return killed
