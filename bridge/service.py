"""The ingress, assembled: how its parts are connected, and the order in which they are closed."""

import asyncio
import contextlib
import functools
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from bridge.delivery.ages import Ages
from bridge.delivery.clock import ClockSkew
from bridge.delivery.drain import Drain
from bridge.delivery.keeper import Keep, Keeper
from bridge.delivery.memory import Memory
from bridge.delivery.preparation import Preparation
from bridge.delivery.publisher import KafkaPublisher, Publisher, producer_config
from bridge.delivery.records import RecordMaker
from bridge.delivery.schema_watch import SchemaIds
from bridge.delivery.spool.file import SpoolFile
from bridge.delivery.spool.leftovers import Leftovers
from bridge.delivery.spool.spool import Spool, release_quarantine
from bridge.delivery.standstill import Standstill
from bridge.delivery.topic_watch import TopicsCheck
from bridge.delivery.traced import traced
from bridge.erase.requests import SpoolErasures
from bridge.http import health
from bridge.http.acceptor import Acceptor, most_connections
from bridge.http.ingress import Ingress
from bridge.http.parts import Observed, Service
from bridge.http.request_log import RequestLog
from bridge.http.webhook import Shared
from bridge.metrics import Metrics
from bridge.settings import BridgeSettings
from bridge.supervisor import METRICS_VARIABLE, STARTED_NS
from bridge.suppressions.hashes import Suppressed
from bridge.suppressions.watch import Changes, SuppressionWatch, changes_of
from openbsp.http.tokens.access import Access
from openbsp.http.tokens.source import TokenSource
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.kafka.registry import Registry
from openbsp.kafka.topics import Topics
from openbsp.log import LineWriter, event
from openbsp.otlp_metrics import start as start_metrics
from openbsp.tracing import start as start_tracing

_log = logging.getLogger(__name__)

#: A drained event may wait for its broker: its request was answered long ago.
_DRAIN_TIMEOUT_S = 60.0
_HOUSEKEEPING_S = 1.0
_LOOK_S = 10.0
#: How long a start waits for servers that do not answer, before it serves without them.
PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class Outside:
    """The external systems of the ingress.

    `new_publisher` takes a record's time limit in seconds, a callback for each replaced producer,
    and one for the times at which brokers appended records.
    """

    naming: TopicSettings
    #: The addresses of the brokers to start from: of another cluster, topics have other ids.
    brokers: str
    registry_url: str
    topics: TopicsCheck
    registry: SchemaIds
    new_publisher: Callable[[float, Callable[[], None], Callable[[int], None]], Publisher]
    suppressions: Changes


def outside(kafka: KafkaSettings, registry: RegistrySettings, topics: TopicSettings) -> Outside:
    """Return the real Kafka and the real registry."""

    def new_publisher(
        message_timeout_s: float, on_replaced: Callable[[], None], on_appended: Callable[[int], None]
    ) -> Publisher:
        return KafkaPublisher(producer_config(kafka.producer(), message_timeout_s), on_replaced, on_appended)

    known = Topics(kafka, topics)
    return Outside(
        topics,
        kafka.bootstrap_servers,
        registry.url,
        known,
        Registry(registry, topics.prefix),
        new_publisher,
        functools.partial(changes_of, kafka, known, topics.prefix),
    )


@contextlib.asynccontextmanager
async def running(
    settings: BridgeSettings,
    world: Outside,
    number: int,
    spool_file: SpoolFile,
    lines: LineWriter | None,
    *,
    patience_s: float = PATIENCE_S,
    restarts: int = 0,
    tokens: TokenSource | None = None,
    wanted: asyncio.Event | None = None,
) -> AsyncIterator[Service]:
    """Run the ingress as worker `number`, which was restarted so often. `spool_file` is closed at the end.

    `tokens` are the latest usable ones of a supervisor; without them they are read.

    Waits up to `patience_s` seconds for Kafka and the registry, or a second once `wanted` is set because requests wait;
    then goes on without them, and also if they answer and do not match: events are spooled then. Raises TokensError.
    """
    collectors = CollectorRegistry()
    metrics = Metrics(collectors)
    metrics.worker_restarts.set(restarts)
    if METRICS_VARIABLE not in os.environ:
        ProcessCollector(registry=collectors)
        PlatformCollector(registry=collectors)

    def new_maker(ids: Mapping[str, int]) -> RecordMaker:
        return RecordMaker(world.naming.prefix, settings.source, ids)

    async with contextlib.AsyncExitStack() as stack:
        stack.callback(spool_file.close)
        access = Access(settings, metrics, tokens)
        release_quarantine(spool_file)
        spool = Spool(spool_file, settings.spool_max_bytes, metrics)
        stack.push_async_callback(spool.close)
        # Records of answered requests must not pile up in the producer. Trap: what it gives up comes from the spool,
        # and so must what it was given until that one's deadline: its own has to be over as well.
        clock, ages = ClockSkew(), Ages()
        replaced, appended = metrics.producers_replaced.inc, clock.appended
        publisher = world.new_publisher(2 * settings.deadline_s + 1, replaced, appended)
        drain_publisher = world.new_publisher(_DRAIN_TIMEOUT_S, replaced, appended)
        publishers = (publisher, drain_publisher)
        for each in publishers:
            # By then all requests are answered: what a producer still has is in the spool.
            stack.callback(each.close)

        def renew() -> None:
            for each in publishers:
                each.renew()

        preparation = Preparation(
            world.topics,
            world.registry,
            spool,
            new_maker=new_maker,
            registry_url=world.registry_url,
            cluster=f"{world.brokers} {world.naming.prefix}",
            on_outdated=renew,
            metrics=metrics,
        )
        memory = Memory(settings.memory_bytes)
        suppressed = Suppressed(settings.key)
        suppressions = SuppressionWatch(suppressed, world.suppressions, metrics, spool)
        stack.callback(suppressions.close)
        keeper = Keeper(
            publisher, spool, preparation, settings.deadline_s, metrics, memory=memory, suppressed=suppressed
        )
        drain = Drain(
            spool,
            drain_publisher,
            preparation,
            partitions=world.naming.partitions,
            max_age_s=settings.spool_max_age_s,
            refusal_grace_s=settings.refusal_grace_s,
            ages=ages,
            skewed=lambda: clock.remark is not None,
            metrics=metrics,
            suppressed=suppressed,
            list_known=suppressions.ready,
        )
        requests = RequestLog(metrics, lines)
        keep = _with_traces(stack, keeper.keep)
        shared = Shared(settings, access.authenticate, keep, metrics, requests, memory=memory, suppressed=suppressed)
        ingress = Ingress(shared)
        if lines is not None:
            lines.dropped = metrics.log_lines_dropped.inc
        failed = asyncio.get_running_loop().create_future()
        service = Service(
            settings,
            world.naming,
            metrics,
            access,
            spool,
            suppressions,
            preparation,
            clock,
            ages,
            keeper,
            drain,
            ingress,
            Acceptor(most_connections(settings.connections), memory, metrics),
            requests,
            Observed(),
            failed,
        )
        erasures = SpoolErasures(drain, spool_file.path)
        tasks = [
            await preparation.start(patience_s, wanted or asyncio.Event()),
            asyncio.create_task(drain.run(), name="drain"),
            asyncio.create_task(erasures.run(), name="erasures"),
            asyncio.create_task(access.watch(), name="tokens"),
            asyncio.create_task(_keep_house(service), name="housekeeping"),
            asyncio.create_task(suppressions.run(), name="suppressions"),
        ]
        if number == 0:
            leftovers = Leftovers(spool, spool_file.path, settings.workers, erasures.answer_adopted, metrics)
            tasks.append(asyncio.create_task(leftovers.run(), name="leftovers"))
        for task in tasks:
            stack.push_async_callback(_end, task)
            task.add_done_callback(lambda task: _report(task, failed))
        await _until_kept(spool, suppressions, patience_s)
        _send_metrics(stack, service, number)
        yield service


def _with_traces(stack: contextlib.AsyncExitStack, keep: Keep) -> Keep:
    """Return `keep` with spans, if the environment wants traces."""
    tracing = start_tracing("openbsp-bridge")
    if tracing is None:
        return keep
    stack.callback(tracing.close)
    return traced(keep, tracing)


def _send_metrics(stack: contextlib.AsyncExitStack, service: Service, number: int) -> None:
    """Send metrics to a collector until the end of `stack`, if configured: the first worker does, for all."""
    if number:
        return
    sender = start_metrics(
        "openbsp-bridge",
        f"{socket.gethostname()}:{service.settings.port}",
        functools.partial(health.measured, service),
        STARTED_NS if METRICS_VARIABLE in os.environ else None,
    )
    if sender is not None:
        stack.push_async_callback(sender.close)
        stack.push_async_callback(_end, asyncio.create_task(sender.run(), name="metrics sender"))


async def _until_kept(spool: Spool, suppressions: SuppressionWatch, patience_s: float) -> None:
    """Wait for the list of suppressed contacts, if events cannot be spooled until it is known."""
    if spool.failing is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await suppressions.ready.wait()


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task


def _report(task: "asyncio.Task[None]", failed: "asyncio.Future[None]") -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    _log.critical("%s failed; the bridge stops", task.get_name(), exc_info=error, extra=event("process.failed"))
    if not failed.done():
        failed.set_exception(error)


async def _keep_house(service: Service) -> None:
    standstill = Standstill(lambda: health.obstacle(service))
    while True:
        service.ages.look()
        standstill.look(service.spool.events, service.drain.gone)
        # Trap: a disk that hangs must not silence what is looked at here.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await health.refresh(service)
        await asyncio.sleep(_HOUSEKEEPING_S)
