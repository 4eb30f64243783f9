"""The views of a worker, with all their parts."""

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from starlette.routing import Route

from avro.catalogue import topic_name
from openbsp.http.tokens.access import Access
from openbsp.kafka.connection import KafkaSettings, TopicSettings
from openbsp.log import event
from openbsp.otlp_metrics import MetricsSender
from openbsp.otlp_metrics import start as start_metrics
from streams import disk
from streams.app import JoinApp
from streams.counting import Counting
from streams.engine.end_offsets import Ends
from streams.engine.lag import LOOK_EVERY_S, Lag
from streams.engine.outside import Outside
from streams.metrics import Metrics
from streams.settings import StoreKind, StreamsSettings
from streams.views.cluster.peers import Peers
from streams.views.cluster.waits import Waits
from streams.views.http.app import Views, create_app
from streams.views.http.completeness import Audits, newest_of
from streams.views.http.dead_letters import DeadLetters
from streams.views.http.pipeline import Pipeline
from streams.views.http.reads import Reads
from streams.views.http.requests import Requests
from streams.views.live.backlog import Backlog
from streams.views.live.events import EventStreams
from streams.views.read.applied import Applied
from streams.views.read.tables import Tables

if TYPE_CHECKING:
    from pathlib import Path

    from streams.schema_ids import SchemaIds

logger = logging.getLogger(__name__)

#: What the states lack, as long as nobody has seen to it; only a person can tell when that is.
_LOST = (
    "{} records of {} were deleted before they were read, so states lack what they said: `bridge reconcile` sends it "
    "again; this is said until the worker is restarted"
)
_REFUSED = (
    "{} committed positions in {} were not followed, because the topic was created again or another program committed "
    "them: it is read from its first record; `bridge reconcile` finds what states lack; this is said until the worker "
    "is restarted"
)


class ViewsService:
    """The ASGI application `app`, and `tables`, which follows the worker."""

    def __init__(
        self, settings: StreamsSettings, kafka: KafkaSettings, topics: TopicSettings, outside: Outside | None = None
    ) -> None:
        """Build everything on the running event loop; nothing is connected yet. Raises TokensError."""
        connection = kafka.librdkafka()
        outside = outside or Outside()
        ends = Ends(outside, connection)
        self.metrics = Metrics(CollectorRegistry())
        self._disk: Path | None = None
        if settings.store is StoreKind.ROCKSDB:
            self.metrics.store_compaction.set(settings.store_compaction_s)
            self._disk = settings.data_dir
        self._lag = Lag(ends, settings.stalled_after_s, outside.clock)
        self._watching: list[asyncio.Task[None]] = []
        #: By topic: records that were deleted before they were read, and partitions whose positions were refused.
        self._lost: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        #: Decodes with the registry's schemas, once their ids are known.
        self.schemas: SchemaIds | None = None
        self._url = settings.url
        self._sender: MetricsSender | None = None
        self.tables = Tables(topics.partitions, topics.prefix, self.metrics, self._lag)
        self._counting = Counting(self.metrics, self.tables.sources)
        # A relayed request may wait as long as the settings allow, plus transit.
        self._peers = Peers(settings.read_timeout_s + 1, self.tables.changes)
        self.tables.reassigned.add(self._peers.reassigned)
        self._waits = Waits(self.tables.changes, settings.read_wait_s, settings.waiting_reads, self.metrics)
        self._streams = EventStreams(
            self.tables,
            self._peers,
            Backlog(outside, connection, settings.app_id, self.tables.states_topic),
            settings.event_streams,
            self.metrics,
        )
        applied = Applied(self.tables, self._peers, ends, settings.read_timeout_s)
        views = Views(self.tables, self._peers, applied, self._streams, self._waits)
        audits = Audits(partial(newest_of, kafka, topic_name(topics.prefix, "audits")))
        self._pipeline = Pipeline(settings.bridge_url, settings.bridge_token, audits)
        self._dead_letters = DeadLetters(kafka, topic_name(topics.prefix, "dead-letters"))
        self.access = Access(settings, self.metrics, on_reload=self._streams.end_unless)
        observed = [*self._pipeline.routes(), *self._dead_letters.routes()]
        app = create_app(self.access, views, self.tables, self._measured, observed, remarks=self._remarks)
        endpoints = {route.endpoint: route.path for route in app.routes if isinstance(route, Route)}
        self.app = Requests(app, self.metrics, endpoints, Reads(self.access, self.tables, self.metrics))

    def listen(self, app: JoinApp) -> None:
        """Subscribe to a program's hooks, and monitor its lag."""
        self.tables.listen(app.hooks)
        self._counting.listen(app)
        app.hooks.records_lost.add(lambda topic, count: self._lost.update({topic: count}))
        app.hooks.position_refused.add(lambda topic: self._refused.update([topic]))
        self._dead_letters.registry = app.registry
        self._streams.trail = app.trail
        app.timer(LOOK_EVERY_S, name="watch_lag")(self._lag.look)

    def start(self) -> None:
        """Start watching the tokens file, and send metrics to a collector if configured."""
        self.watch(self.access.watch(), "tokens file watcher")
        if self._disk is not None:
            self.watch(disk.watch(self._disk, self.metrics.disk_free.set), "disk watcher")
        self._sender = start_metrics("openbsp-streams", urlsplit(self._url).netloc, self._measured_now)
        if self._sender is not None:
            self.watch(self._sender.run(), "metrics sender")

    def watch(self, watching: Coroutine[None, None, None], name: str) -> None:
        """Run a task for as long as the views."""
        task = asyncio.create_task(watching, name=name)
        task.add_done_callback(_watched)
        self._watching.append(task)

    def stop(self) -> None:
        """End event streams, which would not end by themselves, and forward reads that wait for revoked partitions."""
        self._streams.close()
        self.tables.leave()

    async def close(self) -> None:
        """Close the connections to other workers and the bridge, and stop watching."""
        for task in self._watching:
            task.cancel()
        if self._watching:
            await asyncio.wait(self._watching)
        if self._sender is not None:
            await self._sender.close()
        await self._peers.close()
        await self._pipeline.close()

    def _remarks(self) -> list[str]:
        """Return notes for operators that do not affect readiness."""
        problem = None if self.schemas is None else self.schemas.problem
        return [
            *([] if problem is None else [problem]),
            *(_LOST.format(count, topic) for topic, count in self._lost.items()),
            *(_REFUSED.format(count, topic) for topic, count in self._refused.items()),
        ]

    async def _measured_now(self) -> CollectorRegistry:
        return self._measured()

    def _measured(self) -> CollectorRegistry:
        self.tables.measure()
        self.metrics.schema_ids_known.set(self.schemas is None or self.schemas.problem is None)
        self.metrics.event_streams.set(len(self._streams.open))
        self.metrics.reads_waiting.set(self._waits.waiting)
        self._counting.fold()
        self.metrics.fold()
        return self.metrics.registry


def _watched(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        logger.error("%s stopped", task.get_name(), exc_info=task.exception(), extra=event("process.task_stopped"))
