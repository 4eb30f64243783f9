"""Runs a program until its block is left, or it fails."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NoReturn, cast

import faust
import uvloop
from aiokafka.errors import KafkaError
from faust.contrib.asgi import faust_app_running

from openbsp.commands import ExitCode, leave
from openbsp.log import describe, event
from streams.engine.app import App
from streams.engine.errors import AssignmentError, StreamsError
from streams.engine.watchdog import watchdog

logger = logging.getLogger(__name__)


@asynccontextmanager
async def running(app: App, on_failure: Callable[[BaseException], None]) -> AsyncIterator[App]:
    """Run a program inside the block; when it is left, everything has been written, acknowledged and committed.

    `on_failure` is called if it cannot go on, from a thread if the event loop has stopped running; it has to end the
    process at once: others may own the partitions. Raises DataDirectoryError.
    """
    engine = app.engine
    work = asyncio.create_task(engine.run())
    work.add_done_callback(lambda task: None if task.cancelled() else engine.fail(_error_of(task)))
    watch = asyncio.create_task(_watch(app, on_failure))
    # After the session time-out others have the partitions; twice of it leaves room for a loop that recovers.
    with watchdog(2 * app.engine_settings.session_timeout_s, on_failure):
        async with faust_app_running(app):
            yield app
    watch.cancel()
    work.cancel()
    try:
        await engine.close()
    except StreamsError as error:
        on_failure(error)


async def _watch(app: App, on_failure: Callable[[BaseException], None]) -> None:
    error = await app.engine.failure
    # Trap: without `finally`, whatever fails here would leave a worker that goes on, and that nobody ends.
    try:
        await app.engine.prepare_end(error)
        if isinstance(error, AssignmentError):
            await _leave(app)
    except Exception as failure:
        not_prepared = event("process.end_not_prepared")
        logger.warning("the end was not prepared: %r", failure, exc_info=True, extra=not_prepared)
    finally:
        on_failure(error)


async def _leave(app: App) -> None:
    # Trap: a member that comes back by name within its session is given the assignment that it had.
    try:
        await app.leave()
    except (TimeoutError, KafkaError) as failure:
        not_left = event("group.not_left")
        logger.warning("group not left, it assigns again once the session has ended: %r", failure, extra=not_left)


def _error_of(task: "asyncio.Task[None]") -> BaseException:
    error = task.exception() or AssertionError("the engine's loop has ended")
    return error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error


async def run(app: App) -> int:
    """Run a program until SIGINT or SIGTERM; return the exit code. Ends the process at once when it cannot go on."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    async with running(app, on_failure=end_failed):
        await stopping.wait()
    return 0


def end_failed(error: BaseException) -> None:
    """End the process at once, because of an error."""
    end_process(f"unrecoverable error: {describe(error)}", error)


def end_process(message: str, error: BaseException | None = None) -> None:
    """End the process at once: pending writes must not be sent any more."""
    logger.critical("%s", message, exc_info=error, extra=event("process.aborted"))
    logging.shutdown()
    os._exit(ExitCode.FAILED)


class Worker(faust.Worker):
    """What `faust -A ... worker` runs: the program's `runner`. Faust's own would go on after failures."""

    def execute_from_commandline(self) -> NoReturn:
        """Run the program and exit."""
        app = cast("App", self.app)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            code = runner.run(run(app) if app.runner is None else app.runner())
        leave(code)
