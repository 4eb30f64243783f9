"""The engine's interface to the outside world: Kafka's clients, clocks and threads.

Nothing else in the engine makes a client, reads a clock or starts a thread, so a simulation that has its own versions
of these three controls everything that happens.
"""

import asyncio
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from openbsp.kafka.clients import LIBRDKAFKA, admin_config
from openbsp.kafka.connection import Config
from openbsp.threads import in_thread

P = ParamSpec("P")
T = TypeVar("T")


class Clients:
    """Makes clients from librdkafka's settings. Each connects in the background."""

    def producer(self, config: Config) -> Producer:
        """Return a producer."""
        return Producer(dict(config), logger=LIBRDKAFKA)

    def consumer(self, config: Config) -> Consumer:
        """Return a consumer."""
        return Consumer(dict(config), logger=LIBRDKAFKA)

    def admin(self, config: Config) -> AdminClient:
        """Return an admin client."""
        return AdminClient(admin_config(config))


class Clock:
    """Both clocks, in seconds. Waiting is asyncio's: its loop has to run by the same clock."""

    def monotonic(self) -> float:
        """Return a time that only grows, also while the process is stopped."""
        return time.monotonic()

    def time(self) -> float:
        """Return the time since 1970."""
        return time.time()


class Thread:
    """A thread for blocking calls of one owner, one after the other."""

    def __init__(self, name: str) -> None:
        """Start nothing yet."""
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns, or raise what it raises."""
        call = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        """Run nothing more; a running call is not waited for."""
        self._executor.shutdown(wait=False)


class Threads:
    """Runs blocking calls beside the event loop."""

    def thread(self, name: str) -> Thread:
        """Return a thread for one owner."""
        return Thread(name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns, or raise what it raises; calls may overtake each other."""
        return await in_thread(function, *args, **kwargs)


@dataclass(frozen=True, slots=True)
class Outside:
    """The world outside."""

    clients: Clients = field(default_factory=Clients)
    clock: Clock = field(default_factory=Clock)
    threads: Threads = field(default_factory=Threads)
