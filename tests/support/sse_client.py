"""Clients of the views' event streams: one that is told what to read by a test, one that keeps what it was told."""

import asyncio
import json
from typing import Any, NamedTuple, Self


class Told(NamedTuple):
    """An event as it was received."""

    name: str
    id: str | None
    data: Any


def parse(text: str) -> list[Told]:
    """Return the events of a stream's text; comments are no events."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "event" in fields:
            events.append(Told(fields["event"], fields.get("id"), json.loads(fields["data"])))
    return events


class Copy:
    """All conversations that a client believes there are, by what `/events` told it."""

    def __init__(self) -> None:
        self.conversations: dict[str, Any] = {}
        self.last_id: str | None = None
        self.ready = False
        self.repeats: list[str] = []

    def hear(self, event: Told) -> None:
        """Take an event in. A conversation that is told as it was known already is a repeat."""
        if event.id is not None:
            self.last_id = event.id
        if event.name == "begin":
            self.conversations.clear()
        elif event.name == "conversation":
            if self.conversations.get(event.data["id"]) == event.data:
                self.repeats.append(event.data["id"])
            self.conversations[event.data["id"]] = event.data
        elif event.name == "removed":
            self.conversations.pop(event.data["id"], None)
        elif event.name in {"ready", "waiting"}:
            self.ready = event.name == "ready"
        else:
            raise AssertionError(event)


class DirectClient:
    """Runs an ASGI application for one GET, and takes what it sends only as fast as the test wants it."""

    def __init__(self, app: Any, target: str, token: str, headers: dict[str, str] | None = None) -> None:
        path, _, query = target.partition("?")
        given = {"authorization": f"Bearer {token}", **(headers or {})}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.text = ""
        self.ended = False
        self._heard = 0
        self.taking = asyncio.Event()
        self.taking.set()
        self._something = asyncio.Event()
        self._gone = asyncio.Event()
        self._asked = False
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def __aenter__(self) -> Self:
        await self.until(lambda: self.status is not None)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._gone.set()
        self.taking.set()
        await asyncio.wait_for(self.task, 5)

    @property
    def events(self) -> list[Told]:
        """All events until now."""
        return parse(self.text)

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [event.name for event in self.events]

    def hear_all(self, copy: Copy) -> None:
        """Let a copy hear what it has not heard yet of this client."""
        events = self.events
        for event in events[self._heard :]:
            copy.hear(event)
        self._heard = len(events)

    async def until(self, reached: Any, within: float = 5.0) -> None:
        """Return when `reached()`; it is looked at whenever something comes."""
        async with asyncio.timeout(within):
            while not reached():
                self._something.clear()
                await self._something.wait()

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            await self.taking.wait()
            self.text += message.get("body", b"").decode()
            self.ended = not message.get("more_body", False)
        self._something.set()
