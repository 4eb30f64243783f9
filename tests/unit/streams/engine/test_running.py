"""The end of a program: what cannot be closed is a failure of it, with its own words and exit code."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import AsyncMock, Mock

import pytest

from streams.engine import running as module
from streams.engine.running import running
from streams.errors import StoreDiskError


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
