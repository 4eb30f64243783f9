"""The ids of schemas are asked for again: regularly, and when a record has one that nobody knows."""

import asyncio
import logging

import pytest

from openbsp.errors import RegistryError
from streams.schema_ids import SchemaIds


class Registry:
    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.asked = asyncio.Event()
        self.used: list[dict[str, int]] = []

    async def ids(self):
        answer = self.answers.pop(0)
        if not self.answers:
            self.asked.set()
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_new_ids_are_used_and_the_same_ones_are_not_again():
    async def check() -> None:
        registry = Registry({"a": 1}, {"a": 7}, {"a": 7})
        schemas = SchemaIds(registry.ids, registry.used.append, {"a": 1})
        watching = asyncio.create_task(schemas.watch(0.001))
        await asyncio.wait_for(registry.asked.wait(), 10)
        watching.cancel()
        assert registry.used == [{"a": 7}]

    asyncio.run(check())


def test_a_complaint_is_answered_at_once():
    async def check() -> None:
        registry = Registry({"a": 7})
        schemas = SchemaIds(registry.ids, registry.used.append, {"a": 1})
        watching = asyncio.create_task(schemas.watch(3600))
        schemas.complain()
        await asyncio.wait_for(registry.asked.wait(), 10)
        await asyncio.sleep(0)
        watching.cancel()
        assert registry.used == [{"a": 7}]

    asyncio.run(check())


def test_while_the_registry_does_not_tell_the_known_ids_stay_in_use(caplog: pytest.LogCaptureFixture):
    async def check() -> None:
        away = RegistryError("away", refused=False)
        lost = RegistryError("not registered", refused=True, absent=True)
        registry = Registry(away, lost, lost, {"a": 1})
        schemas = SchemaIds(registry.ids, registry.used.append, {"a": 1})
        known = []
        for _ in range(4):
            await schemas.look()
            known.append(schemas.known)
        assert known == [True, False, False, True]
        assert registry.used == []

    with caplog.at_level(logging.INFO):
        asyncio.run(check())
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR", "INFO"]
