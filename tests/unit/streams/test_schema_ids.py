"""The ids of schemas are asked for again: regularly, and when a record has one that nobody knows."""

import asyncio
import itertools
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


def test_complaints_that_lead_to_nothing_new_are_heard_less_and_less_often_and_the_first_one_after_news_at_once():
    """However many records nobody can read: the registry is asked after 1, 2, 4 ... pauses."""

    async def check() -> None:
        at: list[float] = []
        enough = asyncio.Event()
        answers = [{"a": 1}, {"a": 1}, {"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}]

        async def ids():
            at.append(asyncio.get_running_loop().time())
            if len(at) == len(answers):
                enough.set()
            schemas.refused("unknown_schema")
            return answers[len(at) - 1]

        used: list[dict[str, int]] = []
        schemas = SchemaIds(ids, used.append, {"a": 1})
        watching = asyncio.create_task(schemas.watch(3600, pause_s := 0.1))
        schemas.refused("too_large")
        await asyncio.sleep(0)
        assert at == []
        schemas.refused("wrong_subject")
        await asyncio.wait_for(enough.wait(), 10)
        watching.cancel()
        pauses = [after - before for before, after in itertools.pairwise(at)]
        print(f"\nfigure: seconds between questions, complaints without end: {', '.join(f'{s:.2f}' for s in pauses)}")
        assert all(seconds >= pause_s * 2**number / 2 for number, seconds in enumerate(pauses[:4]))
        assert pauses[4] < min(pauses[:4])
        assert used == [{"a": 2}]

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
