"""An OpenBSP, states that are what the streams make of events, and a bridge between them, all without servers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from avro import instants
from avro.columns import ENTITIES
from avro.rows import id_of
from bridge.reconcile.counterparts import COUNTERPARTS
from bridge.reconcile.counterparts import state_of as state_of_table
from bridge.reconcile.index import Index, State
from bridge.reconcile.poster import Receipt, Repair
from bridge.reconcile.report import Report
from bridge.reconcile.run import Options, Run
from bridge.reconcile.settings import ReconcileSettings
from bridge.reconcile.source import Source
from bridge.reconcile.states import States, state_of
from bridge.sender.platform import Platform
from bridge.sender.settings import OpenBspSettings
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.merge import contact
from openbsp_testkit.postgrest import Postgrest
from streams.state import conversation, followers, message
from support.wire import event_of

HOUR = 3600 * 1_000_000
#: Before the overlap, so that deletes are looked for.
LONG_AGO = instants.now() - 48 * HOUR


def at(second: int) -> str:
    return instants.render(LONG_AGO + second * 1_000_000)


def message_row(number: int, **more: Any) -> dict[str, Any]:
    row = {
        "id": f"m{number:05}",
        "organization_id": "acme",
        "conversation_id": f"c{number % 10}",
        "external_id": None,
        "direction": "outgoing",
        "service": "whatsapp",
        "content": {"type": "text", "text": f"text {number}", "weight": 2**70},
        "status": {"pending": at(number)},
        "timestamp": at(number),
        "created_at": at(number),
        "updated_at": at(number),
        "new_column": [1, None],
    }
    return row | more


def conversation_row(number: int, **more: Any) -> dict[str, Any]:
    row = {
        "id": f"c{number}",
        "organization_id": "acme",
        "service": "whatsapp",
        "name": None,
        "extra": {"pinned": at(number)},
        "status": "active",
        "created_at": at(number),
        "updated_at": at(number),
    }
    return row | more


def contact_row(number: int, **more: Any) -> dict[str, Any]:
    row = {
        "id": f"p{number}",
        "organization_id": "acme",
        "name": f"person {number}",
        "extra": None,
        "status": "active",
        "created_at": at(number),
        "updated_at": at(number),
    }
    return row | more


def address_row(number: int, **more: Any) -> dict[str, Any]:
    row = {
        "organization_id": "acme",
        "service": "whatsapp",
        "address": f"+3460000{number:04}",
        "contact_id": f"p{number}",
        "extra": {"name": f"at the service {number}"},
        "status": "active",
        "created_at": at(number),
        "updated_at": at(number),
    }
    return row | more


@contextmanager
def unconnected(index: Index, port: int) -> Iterator[States]:
    """Build states that no server answers; nobody listens at the port."""
    kafka, registry = KafkaSettings(bootstrap_servers=f"127.0.0.1:{port}"), f"http://127.0.0.1:{port}"
    states = States(kafka, RegistrySettings(url=registry), TopicSettings(), index)
    try:
        yield states
    finally:
        states.__exit__(None, None, None)


def begin(
    states: States, entity: str, identity: str, bounds: list[tuple[int, int]], refusals: Sequence[int] = ()
) -> None:
    """Have the states begin with a topic that has this id, and begins and ends there in its partitions.

    Its broker answers with `refusals`, codes of errors, before that.
    """
    left = iter(refusals)

    def watermarks(place: TopicPartition, _: float) -> tuple[int, int]:
        for code in left:
            raise KafkaException(KafkaError(code))
        return bounds[place.partition]

    partitions = SimpleNamespace(partitions=dict.fromkeys(range(len(bounds))))
    consumer = SimpleNamespace(
        list_topics=lambda topic, timeout: SimpleNamespace(topics={topic: partitions}),  # noqa: ARG005
        get_watermark_offsets=watermarks,
    )
    former, states._consumer = states._consumer, cast("Any", consumer)
    try:
        states._begin(entity, {COUNTERPARTS[entity]: identity})
    finally:
        states._consumer = former


class Streams:
    """The states; what was `told` is in the topics, and in the index after `catch_up`."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.messages: dict[str, message.MessageFacts] = {}
        self.conversations: dict[str, conversation.ConversationFacts] = {}
        self.contacts: dict[str, contact.ContactRow] = {}
        self.addresses: dict[str, contact.AddressRow] = {}
        self.records: list[tuple[str, State]] = []
        self.unreadable: dict[str, str] = {}
        self.replaced: dict[str, str] = {}
        self.paused = False
        self._waiting: list[dict[str, Any]] = []
        #: Called before the topics are read.
        self.meanwhile: Callable[[], None] = lambda: None

    def tell(self, entity: str, action: str, row: dict[str, Any], **more: Any) -> None:
        self._waiting.append({"entity": entity, "action": action, "data": row, **more})

    def catch_up(self, _: object = None) -> None:
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        if not self.paused:
            waiting, self._waiting = self._waiting, []
            for envelope in waiting:
                self._merge(envelope)
        for entity in COUNTERPARTS:
            self.index.take(entity, [state for name, state in self.records if name == entity], {0: 0})
        self.records.clear()

    def _merge(self, envelope: dict[str, Any]) -> None:
        entity, id_ = envelope["entity"], str(id_of(ENTITIES[envelope["entity"]], envelope["data"]))
        event = event_of(envelope)
        if entity in {"contacts", "contacts_addresses"}:
            state = state_of_table(entity, id_, self._merge_person(entity, id_, event, envelope.get("organizations")))
            self.records.append((entity, state or State(id_)))
            return
        if entity == "messages":
            new = message.facts_of(event)
            known = self.messages.get(id_)
            self.messages[id_] = merged = new if known is None else message.join(known, new)
            fields = message.state(id_, merged) if message.exists(merged) else None
        else:
            told = conversation.facts_of(event)
            before = self.conversations.get(id_)
            self.conversations[id_] = joined = told if before is None else conversation.join(before, told)
            tally = conversation.Counting(id_).tally(joined)
            fields = conversation.state(id_, joined, tally, None) if conversation.exists(joined, tally) else None
        if fields is None:
            self.records.append((entity, State(id_)))
            return
        self.records.append((entity, state_of(entity, id_, fields)))

    def _merge_person(self, entity: str, id_: str, event: dict[str, Any], writers: list[str] | None) -> bytes:
        """Return what the table of contacts, or of addresses, has of a row then."""
        if entity == "contacts":
            told = contact.ContactRow(contact.contact_facts(event, writers))
            merged = self.contacts[id_] = followers.join_contact_rows(
                self.contacts.get(id_, contact.ContactRow()), told
            )
            return contact.encode(merged)
        said = contact.AddressRow(contact.address_facts(event))
        joined = self.addresses[id_] = followers.join_address_rows(self.addresses.get(id_, contact.AddressRow()), said)
        return contact.encode(joined)


class Bridge:
    """Takes repairs, unless it refuses those ids, for the reason that stands beside them."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.took: list[Repair] = []
        self.refuses: dict[str, str] = {}

    def post(self, repairs: Iterable[Repair]) -> Iterator[Receipt]:
        for repair in repairs:
            id_ = str(id_of(ENTITIES[repair.entity], repair.row))
            if id_ in self.refuses:
                yield Receipt(repair, accepted=False, answer=self.refuses[id_])
                continue
            self.took.append(repair)
            self.streams.tell(repair.entity, repair.action, repair.row, received_at=instants.now())
            yield Receipt(repair, accepted=True, answer="published")


class Watcher:
    """Keeps the lines of a run."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def reading(self, done: int, total: int) -> None: ...

    def comparing(self, entity: str, since: int, at: int, until: int, rows: int) -> None: ...

    def asking(self, entity: str, ids: int) -> None: ...

    def found(self, line: str) -> None:
        self.lines.append(line)


class World:
    """All of it; `put` changes a row and tells of it, unless it is `lost`."""

    def __init__(self, directory: Path, platform: Postgrest) -> None:
        self.directory = directory
        self.platform = platform
        self.index = Index(directory)
        self.streams = Streams(self.index)
        self.bridge = Bridge(self.streams)
        self.watcher = Watcher()
        self.waits: list[float] = []
        self.api_key = "key"
        self.address = "openbsp.test"

    def put(self, entity: str, row: dict[str, Any], *, lost: bool = False) -> None:
        self.platform.put(entity, **row)
        if not lost:
            self.streams.tell(entity, "insert", row)

    def fill(self, messages: int = 30, **more: Any) -> None:
        for number in range(10):
            self.put("conversations", conversation_row(number, **more))
        for number in range(messages):
            self.put("messages", message_row(number, **more))

    def run(self, settings: dict[str, Any] | None = None, **options: Any) -> Report:
        self.bridge.took.clear()
        self.watcher.lines.clear()
        given = ReconcileSettings(**{"settle_s": 0, "wait_s": 0, "page_rows": 7, **(settings or {})})
        openbsp = OpenBspSettings(url=self.platform.url, api_key=self.api_key, timeout_s=30)
        with Platform(openbsp) as platform:
            source = Source(
                platform,
                requests_per_s=1e6,
                patience_s=given.patience_s,
                page_rows=given.page_rows,
                sleep=self.waits.append,
            )
            return Run(
                source,
                self.streams,
                self.index,
                self.bridge,  # type: ignore[arg-type]  # it posts as a Poster does
                settings=given,
                options=Options(**options),
                watcher=self.watcher,
                platform=self.address,
            ).run()
