"""The end of a program: what cannot be closed is a failure of it, and a failure ends it whatever else fails then."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import AsyncMock, Mock

import pytest

from streams.engine import running as module
from streams.engine.errors import AssignmentError, LeaseLostError, StoreDiskError
from streams.engine.running import running


@asynccontextmanager
async def nothing(_: object) -> AsyncIterator[None]:
    yield


def test_a_stop_whose_stores_cannot_be_closed_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was logged as a worker that did not start."""
    monkeypatch.setattr(module, "faust_app_running", nothing)
    full = StoreDiskError("the disk is full")
    failures: list[BaseException] = []

    async def stop() -> None:
        loop = asyncio.get_running_loop()
        engine = Mock(run=lambda: asyncio.sleep(60), close=AsyncMock(side_effect=full), failure=loop.create_future())
        app = Mock(engine=engine)
        app.engine_settings.session_timeout_s = 30
        async with running(app, failures.append):
            await asyncio.sleep(0)

    asyncio.run(stop())
    assert failures == [full]


@pytest.mark.parametrize(
    ("error", "fails"),
    [(LeaseLostError("nothing could be committed"), "prepare_end"), (AssignmentError("not together"), "leave")],
    ids=["prepared", "left"],
)
def test_a_failure_is_told_also_if_its_end_cannot_be_prepared(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: BaseException, fails: str
) -> None:
    """Else the worker would go on, with a failure that nobody looks at."""
    monkeypatch.setattr(module, "faust_app_running", nothing)
    failures: list[BaseException] = []

    async def fail() -> None:
        failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        engine = Mock(run=lambda: asyncio.sleep(60), close=AsyncMock(), prepare_end=AsyncMock(), failure=failure)
        app = Mock(engine=engine, leave=AsyncMock())
        app.engine_settings.session_timeout_s = 30
        broken = AsyncMock(side_effect=RuntimeError("a bug"))
        setattr(engine if fails == "prepare_end" else app, fails, broken)
        told = asyncio.Event()

        def on_failure(error: BaseException) -> None:
            failures.append(error)
            told.set()

        async with running(app, on_failure):
            failure.set_result(error)
            await asyncio.wait_for(told.wait(), 10)
        broken.assert_awaited_once()

    asyncio.run(fail())
    assert failures == [error]
    assert "the end was not prepared: RuntimeError('a bug')" in caplog.text
