"""Runs a worker and its views in one process, until a signal or a failure."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from avro.errors import ContractError
from openbsp.backoff import Backoff
from openbsp.commands import ExitCode
from openbsp.errors import KafkaUnavailableError, RegistryError
from openbsp.http.connections import Connections
from openbsp.http.listener import listen
from openbsp.http.server import Server
from openbsp.kafka.connection import KafkaSettings, TopicSettings
from openbsp.kafka.topics import Topics
from openbsp.log import count_dropped_lines, event, log_loop_faults
from openbsp.threads import in_thread
from streams.app import JOINED, JoinApp
from streams.contract import SOURCES
from streams.engine.errors import StreamsError
from streams.engine.running import end_failed, end_process, running
from streams.errors import ListenError
from streams.schema_ids import SchemaIds
from streams.settings import StreamsSettings
from streams.views.http.protocol import ReadProtocol
from streams.views.service import ViewsService

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        raise ListenError(f"{host}:{port}: {error.strerror}") from error


async def run_worker(app: JoinApp, settings: StreamsSettings, kafka: KafkaSettings, topics: TopicSettings) -> int:
    """`serve`, and log why it did not start or has failed. Raises ContractError, StreamsError: it did not start."""
    try:
        return await serve(app, settings, kafka, topics)
    except (ContractError, StreamsError) as error:
        logger.critical("not started: %s", error, extra=event("process.not_started"))
        raise
    except Exception as error:
        logger.critical("worker failed", exc_info=error, extra=event("process.failed"))
        return ExitCode.FAILED


async def serve(app: JoinApp, settings: StreamsSettings, kafka: KafkaSettings, topics: TopicSettings) -> int:
    """Run until SIGINT or SIGTERM; return the exit code.

    Waits for servers that do not answer yet. Raises ContractError for errors that retrying cannot fix, ListenError when
    the address of the views is taken. Does not return when the worker fails: the process ends at once then, so that
    nothing is written that others may own by now.
    """
    with _listen(settings.host, settings.port) as listener:
        return await _serve(app, settings, kafka, topics, listener)


async def _serve(
    app: JoinApp,
    settings: StreamsSettings,
    kafka: KafkaSettings,
    topics: TopicSettings,
    listener: socket.socket,
) -> int:
    loop = asyncio.get_running_loop()
    log_loop_faults(loop)
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    views = ViewsService(settings, kafka, topics)
    connections = Connections(settings.limits(), views.metrics)
    # Waiting reads are relayed, and may wait there; half of the shutdown time is left for the partitions.
    graceful_s = max(2, round(min(settings.read_wait_s + 2, settings.shutdown_timeout_s / 2)))
    server = Server(
        views.app, connections, keep_alive_s=settings.keep_alive_s, graceful_s=graceful_s, protocol=ReadProtocol
    )
    views.listen(app)
    views.start()
    count_dropped_lines(views.metrics.log_lines_dropped.inc)
    loop.add_signal_handler(signal.SIGHUP, views.access.reload)
    address = listener.getsockname()
    logger.info("listening on http://%s:%d", *address[:2], extra=event("http.listening", port=address[1]))
    serving = asyncio.create_task(server.serve_on(listener))
    stopped = asyncio.create_task(stopping.wait())
    work = asyncio.create_task(_work(app, settings, Topics(kafka, topics), views, stopping))
    try:
        await asyncio.wait([serving, stopped, work], return_when=asyncio.FIRST_COMPLETED)
        if serving.done() and not stopping.is_set():
            logger.critical("HTTP server stopped", exc_info=serving.exception(), extra=event("http.failed"))
            return ExitCode.FAILED
        stopping.set()
        views.stop()
        await asyncio.gather(work, server.drain())
    finally:
        server.should_exit = True
        await asyncio.wait([serving])
        stopped.cancel()
        await views.close()
        if app.trail is not None:
            await in_thread(app.trail.tracing.close)
    logger.info("stopped", extra=event("process.stopped"))
    return ExitCode.OK


async def _work(
    app: JoinApp, settings: StreamsSettings, topics: Topics, views: ViewsService, stopping: asyncio.Event
) -> None:
    for remark in await _answered(partial(topics.check, JOINED, SOURCES), stopping) or ():
        logger.error("a topic differs from the catalogue: %s", remark.text, extra=event("topics.remark"))
    schema_ids = await _answered(app.registry.ids, stopping)
    if schema_ids is None:
        return
    app.contract.use(schema_ids)
    # Current objects stay; what the join makes is mostly bytes, which the collector need not visit so often. Worth an
    # eighth of the join's time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    engine = app.engine
    engine.identify = partial(topics.identities, JOINED)
    views.tables.attach(engine)
    schemas = SchemaIds(lambda: in_thread(app.registry.ids), app.contract.use, schema_ids)
    app.intake.unknown_schema.add(schemas.complain)
    app.intake.refused.add(schemas.refused)
    views.schemas = schemas
    views.watch(schemas.watch(), "schema ids")
    async with running(app, on_failure=end_failed):
        await stopping.wait()
        logger.info("stopping", extra=event("process.stopping"))
        late = f"not stopped within {settings.shutdown_timeout_s} s"
        asyncio.get_running_loop().call_later(settings.shutdown_timeout_s, end_process, late)


async def _answered(ask: Callable[[], Answer], stopping: asyncio.Event) -> Answer | None:
    """Ask until a server answers; None if the process is to stop first."""
    backoff = Backoff(0.5, 10.0)
    while not stopping.is_set():
        try:
            return await _unless(stopping, asyncio.ensure_future(in_thread(ask)))
        except ContractError as error:
            if not (
                isinstance(error, KafkaUnavailableError) or (isinstance(error, RegistryError) and not error.refused)
            ):
                raise
            logger.warning("waiting: %s", error, extra=event("process.waiting_for_servers"))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), backoff.next_s())
    return None


async def _unless(stopping: asyncio.Event, answer: asyncio.Future[Answer]) -> Answer | None:
    """Return an answer, None if the process is to stop before it comes."""
    stop = asyncio.create_task(stopping.wait())
    try:
        either: list[asyncio.Future[Any]] = [answer, stop]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else None
    finally:
        answer.cancel()
        stop.cancel()
