"""A worker ends for topics that are created again, if it reads them or would have to write them again.

One that was cut has the same id, and is written again without that.
"""

import asyncio
from collections.abc import Mapping
from unittest.mock import Mock

import pytest

from openbsp.kafka.connection import KafkaSettings
from streams.engine import engine as module
from streams.engine.damage import numbers
from streams.engine.engine import Engine
from streams.engine.hooks import Hooks
from streams.engine.outside import Outside
from streams.engine.settings import EngineSettings
from streams.engine.table import OwnedTable, TableSpec

TOPICS = {name: f"id of {name}" for name in ("words", "p.counts", "p.state", "p.letters")}


def engine_of() -> Engine:
    settings = EngineSettings(app_id="app", kafka=KafkaSettings(), url="", partitions=1, topic_prefix="p.")
    tables = {"counts": OwnedTable(TableSpec(source="words", changelog="counts", guarded=("state",)))}
    outside = Outside(clients=Mock())
    return Engine(settings, sources=["words"], tables=tables, inbox=Mock(), hooks=Hooks(), outside=outside)


async def end_after(told: list[Mapping[str, str]], monkeypatch: pytest.MonkeyPatch) -> BaseException | None:
    """Return why an engine ends that noted all topics, and is told these ids one after the other."""
    monkeypatch.setattr(module, "_TOPICS_INTERVAL_S", 0.0)
    engine = engine_of()
    engine._checkpoints.begin({}, {}, numbers(TOPICS))
    asked, all_asked = iter(told), asyncio.Event()

    def identify() -> Mapping[str, str]:
        if (ids := next(asked, None)) is None:
            loop.call_soon_threadsafe(all_asked.set)
            return {}
        return ids

    loop = asyncio.get_running_loop()
    engine.identify = identify
    watch = asyncio.create_task(engine._watch_topics())
    await all_asked.wait()
    watch.cancel()
    await asyncio.wait([watch])
    return engine.failure.result() if engine.failure.done() else None


@pytest.mark.parametrize(
    ("topic", "does"),
    [
        ("words", "reads all of it"),
        ("p.counts", "writes all of it once more"),
        ("p.state", "writes all of it once more"),
    ],
)
def test_a_source_and_a_guarded_log_end_it(topic: str, does: str, monkeypatch: pytest.MonkeyPatch) -> None:
    end = asyncio.run(end_after([TOPICS, TOPICS | {topic: "another"}], monkeypatch))
    assert str(end) == f"{topic} was created again; a restart {does}"


def test_a_topic_that_follows_from_no_table_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would be written to it again."""
    assert asyncio.run(end_after([TOPICS, TOPICS | {"p.letters": "another"}], monkeypatch)) is None


def test_what_nobody_tells_is_taken_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asyncio.run(end_after([{}, {"words": TOPICS["words"]}], monkeypatch)) is None


def test_a_guarded_log_that_was_cut_is_told_and_ends_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """A broker that lost its last records, or an unclean election: the next record has an offset that was there."""

    async def told() -> list[str]:
        engine, repaired = engine_of(), list[str]()
        engine.hooks.log_repaired.add(repaired.append)
        engine._guard.begin({("p.state", 0): 1000})
        for offset in (900, 901):
            engine._on_written("p.state", 0, offset)
        assert not engine.failure.done()
        return repaired

    assert asyncio.run(told()) == ["state"]
    assert [record.event for record in caplog.records] == ["engine.log_cut"]
    assert "p.state[0] had 1000 records, and the next one has offset 900" in caplog.text
