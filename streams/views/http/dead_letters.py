"""The newest dead letters, for the live page: what was refused, when and why. `bridge dead-letters` does the rest."""

import asyncio
import heapq
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from avro import instants
from avro.codec import CodecError
from openbsp.errors import KafkaSettingsError, KafkaUnavailableError, RegistryError, TopicsError
from openbsp.kafka.connection import KafkaSettings
from openbsp.kafka.reading import Range, TopicReader, ValueReader, tail
from openbsp.threads import in_thread
from streams.views.access import reader_of
from streams.views.problems import not_ready

if TYPE_CHECKING:
    from openbsp.kafka.registry import Registry

PATH = "/dead-letters"
#: Shown, and read of each partition, at most: each may have a whole webhook as its payload.
NEWEST = 50
OF_PARTITION = 20
#: The topic is read at most this often, whatever the number of open pages; a failure is cached as long.
KEPT_S = 5.0
TIMEOUT_S = 5.0


class Letter(Struct):
    """A dead letter without its payload, which anybody may have written. `position` is what the commands take.

    `made_at` is when it was appended to its topic. Of an undecodable one only these two are known.
    """

    position: str
    made_at: str
    reason: str | None = None
    detail: str | None = None
    origin: str | None = None
    entity: str | None = None
    key: str | None = None
    organization_id: str | None = None


class State(Struct):
    """The answer: how many records the topic holds, and the newest of them."""

    records: int
    newest: list[Letter]


class DeadLetters:
    """Reads the end of the dead letters' topic, on request."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        """Connect to nothing yet."""
        #: Has the schemas; None until the worker has started.
        self.registry: Registry | None = None
        self._kafka = kafka
        self._topic = topic
        self._lock = asyncio.Lock()
        self._known: bytes = b""
        self._failure: str | None = None
        self._known_until = 0.0

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route(PATH, self.show)]

    async def show(self, request: Request) -> Response:
        """GET: return the newest dead letters. Raises ProblemError for tokens that are bound to organizations."""
        reader_of(request).need_all()
        if self.registry is None:
            raise not_ready("the worker has not started", passing=False)
        async with self._lock:
            if time.monotonic() >= self._known_until:
                try:
                    state = await in_thread(self._read, self.registry)
                    self._known, self._failure = msgspec.json.encode(state), None
                except (KafkaUnavailableError, KafkaSettingsError, RegistryError, TopicsError) as error:
                    self._failure = f"dead letters cannot be read: {error}"
                self._known_until = time.monotonic() + KEPT_S
        if self._failure is not None:
            raise not_ready(self._failure, passing=False)
        return Response(self._known, 200, {"Cache-Control": "no-store"}, "application/json")

    def _read(self, registry: "Registry") -> State:
        values = ValueReader("DeadLetter", registry)
        with TopicReader(self._kafka, self._topic, TIMEOUT_S) as topic:
            there = topic.range()
            newest = heapq.nlargest(NEWEST, _dated(topic, tail(there, OF_PARTITION)), key=lambda item: item[0])
            letters = [_letter(self._topic, message, values) for _, message in newest]
        return State(sum(end - start for start, end in there.values()), letters)


def _dated(topic: TopicReader, within: Range) -> Iterator[tuple[tuple[int, int, int], Any]]:
    for message in topic.read(within):
        yield (message.timestamp()[1], cast("int", message.partition()), cast("int", message.offset())), message


def _letter(topic: str, message: Any, values: ValueReader) -> Letter:
    letter = Letter(
        f"{topic}:{message.partition()}:{message.offset()}", instants.render(max(0, message.timestamp()[1]) * 1000)
    )
    try:
        fields = values.decode(message.value() or b"")
    except CodecError:
        return letter
    told = {name: fields[name] for name in ("reason", "detail", "origin", "entity", "key", "organization_id")}
    return msgspec.structs.replace(letter, **told)
