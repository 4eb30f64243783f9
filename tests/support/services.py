"""The bridge and the views of a worker behind real HTTP, each in a thread of this process, to be treated alike."""

import asyncio
import contextlib
import functools
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from openbsp.http.connections import Connections
from openbsp.http.listener import listen
from openbsp.http.server import Server
from streams.views.http.protocol import ReadProtocol
from support.ingress import METRICS_TOKEN, running_ingress
from support.views_world import World

#: A token that may send to the bridge, or read the views.
TOKEN = "token-of-the-tests"


@dataclass
class Running:
    """A service that answers at `address`. `path` is one of its paths that need a token."""

    name: str
    path: str
    address: tuple[str, int]

    def connect(self) -> socket.socket:
        """Return a connection."""
        connection = socket.create_connection(self.address)
        connection.settimeout(10)
        return connection

    def ask(self, method: str, path: str, **parts: Any) -> httpx.Response:
        """Send one request, on a connection of its own."""
        host, port = self.address
        with httpx.Client(trust_env=False, timeout=10) as client:
            return client.request(method, f"http://{host}:{port}{path}", **parts)

    def metric(self, name: str) -> float:
        """Return the value of a metric without labels; `name` comes without the service's prefix."""
        answer = self.ask("GET", "/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"})
        assert answer.status_code == 200, answer.text
        names = {f"bridge_{name}", f"streams_{name}"}
        (value,) = [line.split()[1] for line in answer.text.splitlines() if line.split(" ")[0] in names]
        return float(value)


@contextlib.contextmanager
def bridge(directory: Path, **settings: Any) -> Iterator[Running]:
    """Run the ingress on a Kafka that takes everything."""
    with running_ingress(directory, **settings) as ingress:
        yield Running("bridge", "/webhooks", ingress.service_address)


@contextlib.contextmanager
def views(_: Path, **settings: Any) -> Iterator[Running]:
    """Run the views of a worker that owns all partitions, in which there is nothing."""
    given = {"tokens": f"tests={TOKEN}", "metrics_token": METRICS_TOKEN, **settings}
    started = threading.Event()
    stops: list[Callable[[], object]] = []

    async def serve(listener: socket.socket) -> None:
        world = World(**given)
        await world.own_and_index()
        connections = Connections(world.settings.limits(), world.views.metrics)
        keep_alive_s = world.settings.keep_alive_s
        server = Server(world.views.app, connections, keep_alive_s=keep_alive_s, graceful_s=2, protocol=ReadProtocol)
        stopping, loop = asyncio.Event(), asyncio.get_running_loop()
        stops.append(functools.partial(loop.call_soon_threadsafe, stopping.set))
        serving = asyncio.create_task(server.serve_on(listener))
        world.views.start()
        started.set()
        await stopping.wait()
        world.views.stop()
        server.should_exit = True
        await serving
        await world.views.close()

    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=asyncio.run, args=[serve(listener)])
        thread.start()
        assert started.wait(10)
        try:
            yield Running("streams", "/conversations", listener.getsockname()[:2])
        finally:
            stops[0]()
            thread.join()


SERVICES = {"bridge": bridge, "streams": views}
