"""The ingress behind real HTTP, in a thread, on whatever Kafka a test gives it."""

import asyncio
import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bridge.delivery.spool.file import SpoolFile
from bridge.delivery.spool.leftovers import spool_path
from bridge.http.parts import Service
from bridge.http.server import serve_until
from bridge.service import Outside, running
from bridge.settings import BridgeSettings
from openbsp.http.listener import listen
from openbsp.kafka.connection import TopicSettings
from openbsp.log import LineWriter
from support.fake_kafka import FakeKafka, FakeRegistry, FakeSuppressions, FakeTopics
from support.wait import eventually

TOKEN = "token-of-the-tests"
BOUND_TOKEN = "token-of-one-organization"
ORGANIZATION = "00438702-d4a3-4411-9141-21febf13acbb"
METRICS_TOKEN = "token-that-may-look"


def message(message_id: str = "m1", **columns: Any) -> dict[str, Any]:
    """Return the envelope of an inserted message."""
    return {"entity": "messages", "action": "insert", "data": {"id": message_id, **columns}}


@dataclass
class RunningIngress:
    """An ingress that answers at `url`."""

    directory: Path
    kafka: FakeKafka
    topics: FakeTopics
    registry: FakeRegistry
    settings: BridgeSettings
    suppressions: FakeSuppressions
    url: str = ""
    stop: Callable[[], None] = lambda: None
    service: Service | None = None
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=10, trust_env=False))

    @property
    def service_address(self) -> tuple[str, int]:
        """Return host and port, for tests that speak HTTP by hand."""
        parsed = httpx.URL(self.url)
        return parsed.host, parsed.port

    @property
    def spool_directory(self) -> Path:
        return self.settings.spool_dir

    def post(
        self, envelope: Any, *, token: str | None = TOKEN, path: str = "/webhooks", **headers: str
    ) -> httpx.Response:
        """Post an envelope: bytes as they are, anything else as JSON."""
        body = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
        if token is not None:
            headers = {"Authorization": f"Bearer {token}", **headers}
        return self.client.post(
            f"{self.url}{path}", content=body, headers={"Content-Type": "application/json", **headers}
        )

    def get(self, path: str, *, token: str | None = None, method: str = "GET") -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.client.request(method, f"{self.url}{path}", headers=headers)

    def details(self) -> dict[str, Any]:
        """Return /readyz as an operator sees it."""
        return self.get("/readyz", token=TOKEN).json()

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's series that have these labels."""
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        total = 0.0
        for line in self.get("/metrics", token=METRICS_TOKEN).text.splitlines():
            series, _, value = line.rpartition(" ")
            found, _, rest = series.partition("{")
            if found == name and wanted <= set(rest.rstrip("}").split(",")):
                total += float(value)
        return total

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Return the request lines so far."""
        text = (self.directory / "log").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def line_of(self, event_id: str) -> dict[str, Any]:
        """Return the request line of an event, once it is written."""

        def find() -> dict[str, Any]:
            found = [line for line in self.lines if line.get("event_id") == event_id]
            assert found, "no line yet"
            return found[-1]

        return eventually(find)

    def on_loop(self, function: Any, *args: Any) -> None:
        """Call a function on the ingress's event loop."""
        self.service.failed.get_loop().call_soon_threadsafe(function, *args)


@contextlib.contextmanager
def running_ingress(
    directory: Path,
    *,
    kafka: FakeKafka | None = None,
    topics: FakeTopics | None = None,
    registry: FakeRegistry | None = None,
    suppressions: FakeSuppressions | None = None,
    prefix: str = "test.",
    **settings: Any,
) -> Iterator[RunningIngress]:
    """Run an ingress in a thread. Its spool is in `directory / "spool"`, its log in `directory / "log"`."""
    defaults = {
        "tokens": f"tests={TOKEN},bound={BOUND_TOKEN}@{ORGANIZATION}",
        "metrics_token": METRICS_TOKEN,
        "spool_dir": directory / "spool",
        "deadline_s": 0.2,
    }
    ingress = RunningIngress(
        directory,
        kafka or FakeKafka(),
        topics or FakeTopics(),
        registry or FakeRegistry(),
        BridgeSettings(**{**defaults, **settings}),
        suppressions or FakeSuppressions(),
    )
    # Trap: a service that is not prepared in time spools. Only for servers that never answer no time is lost.
    answering = all(getattr(server, "available", False) for server in (ingress.topics, ingress.registry))
    patience_s = 30.0 if answering else 0.3
    listener = listen("127.0.0.1", 0)
    ingress.url = "http://{}:{}".format(*listener.getsockname())
    started = threading.Event()
    failure: list[BaseException] = []

    async def main() -> None:
        world = Outside(
            TopicSettings(prefix=prefix),
            "brokers",
            "http://registry",
            ingress.topics,
            ingress.registry,
            ingress.kafka.new_publisher,
            ingress.suppressions,
        )
        spool_file = SpoolFile(spool_path(ingress.settings.spool_dir, 0), late=True)
        descriptor = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        lines = LineWriter(descriptor)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        ingress.stop = lambda: None if loop.is_closed() else loop.call_soon_threadsafe(stop.set)
        async with running(ingress.settings, world, 0, spool_file, lines, patience_s=patience_s) as service:
            ingress.service = service
            started.set()
            await serve_until(stop, service, listener)
        lines.close()
        os.close(descriptor)

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 it is raised again in the thread of the test
            failure.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    try:
        if failure:
            raise failure[0]
        yield ingress
    finally:
        ingress.client.close()
        ingress.stop()
        thread.join()
        listener.close()
    if failure:
        raise failure[0]
