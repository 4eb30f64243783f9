"""With how many partitions tables were made is remembered, and another number is refused."""

import asyncio
from unittest.mock import AsyncMock, Mock

import pytest

from openbsp.kafka.connection import KafkaSettings
from streams.engine.engine import Engine
from streams.engine.errors import PartitionsChangedError
from streams.engine.guard import note
from streams.engine.hooks import Hooks
from streams.engine.layout import NOTED, check, mark_value, marked, remembered
from streams.engine.lifecycle import State
from streams.engine.membership import Committed
from streams.engine.outside import Outside
from streams.engine.restore import Changelog
from streams.engine.settings import EngineSettings
from streams.engine.source import Record
from streams.engine.stores import MARK_KEY
from streams.engine.stores.memory import MemoryStore
from streams.engine.table import OwnedTable, TablePartition, TableSpec, last_wins


class Log:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, topic, key, value, partition=-1, headers=None):
        del headers
        self.records.append(Record(topic, partition, len(self.records), key, value))


def test_the_number_is_in_notes_of_ours_and_in_no_others():
    left = [Committed(1, note({NOTED: 4, "log": 9})), Committed(2, note({"log": 9})), Committed(3, "not ours")]
    assert remembered(left) == {4}


@pytest.mark.parametrize("known", [set(), {0}, {7}, {0, 7}])
def test_the_same_number_or_none_is_taken(known):
    check("group", known, 7)


def test_another_number_is_refused():
    with pytest.raises(PartitionsChangedError, match=r"made with 4 partitions, the topics have 7") as refused:
        check("group", {0, 7, 4}, 7)
    assert refused.value.remembered == 4


def test_a_worker_whose_tables_have_another_number_says_what_to_do_and_waits(caplog: pytest.LogCaptureFixture):
    async def refused() -> Engine:
        advice = "Ask whoever runs it"
        settings = EngineSettings(app_id="app", kafka=KafkaSettings(), url="", partitions=1, more_partitions=advice)
        tables = {"counts": OwnedTable(TableSpec(source="words", changelog="counts"))}
        outside = Outside(clients=Mock())
        engine = Engine(settings, sources=["words"], tables=tables, inbox=Mock(), hooks=Hooks(), outside=outside)
        engine.membership = AsyncMock()
        engine.membership.committed.return_value = {("words", 0): Committed(0, note({NOTED: 4}))}
        engine.on_owned(frozenset({0}), generation=1)
        assert engine._takeover is not None
        await engine._takeover[1]
        return engine

    engine = asyncio.run(refused())
    assert "with 4 partitions, the topics have 1 now" in caplog.text
    assert "nothing is joined. Ask whoever runs it" in caplog.text
    assert engine.lifecycle.state is State.RESTORING
    assert not engine.failure.done()


def test_mark_and_number_travel_in_one_record_and_a_former_versions_mark_has_none():
    assert marked(mark_value(1 << 40, 12)) == (1 << 40, 12)
    assert marked((17).to_bytes(8)) == (17, 0)
    assert marked(b"") == (0, 0)


def test_whoever_restores_a_changelog_knows_with_how_many_partitions_it_was_made():
    log = Log()
    rows = TablePartition(0, MemoryStore(), "changelog", log, lambda: 5)
    rows.made_with(4)
    rows.mark()
    store = MemoryStore()
    for record in log.records:
        assert record.key == MARK_KEY
        Changelog(store, 0, last_wins).apply(record)
    assert (store.partitions, store.mark) == (4, 5)
    store.clear()
    assert store.partitions == 0
