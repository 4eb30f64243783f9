"""What every publisher promises: the real one and the fake pass the same tests."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from avro.catalogue import MAX_MESSAGE_BYTES
from bridge.delivery.publisher import Publisher, Report
from bridge.delivery.records import Record

WITHIN_S = 20.0

Opened = Callable[[], AbstractAsyncContextManager[Publisher]]


class PublisherContract:
    """Subclasses give the fixtures `opened`, which opens a publisher, `topic`, one it may write to, and `refused`."""

    def test_each_record_is_reported_once_on_the_loop(self, opened: Opened, topic: str):
        async def check() -> list[Report]:
            reports: list[Report] = []
            threads = set()
            done = asyncio.Event()

            def on_report(report: Report) -> None:
                reports.append(report)
                threads.add(threading.get_ident())
                if len(reports) == 100:
                    done.set()

            async with opened() as publisher:
                for number in range(100):
                    publisher.publish(Record(topic, b"key", b"%d" % number, [("name", b"value")]), on_report)
                await asyncio.wait_for(done.wait(), WITHIN_S)
            assert threads == {threading.get_ident()}
            return reports

        reports = asyncio.run(check())
        assert [report.failure for report in reports] == [None] * 100
        assert {report.topic for report in reports} == {topic}
        assert len({report.partition for report in reports}) == 1, "a key is always in the same partition"
        offsets = [report.offset for report in reports]
        assert offsets == list(range(offsets[0], offsets[0] + 100)), "records of a key keep their order"

    def test_a_report_never_comes_before_publish_returns(self, opened: Opened, topic: str):
        async def check() -> None:
            done = asyncio.Event()
            returned = False

            def on_report(_: Report) -> None:
                assert returned
                done.set()

            async with opened() as publisher:
                publisher.publish(Record(topic, None, b"value", []), on_report)
                returned = True
                await asyncio.wait_for(done.wait(), WITHIN_S)

        asyncio.run(check())

    def test_a_record_that_is_too_large_is_refused_for_good(self, opened: Opened, topic: str):
        async def check() -> Report:
            report: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
            async with opened() as publisher:
                publisher.publish(Record(topic, None, b"x" * (MAX_MESSAGE_BYTES + 1), []), report.set_result)
                return await asyncio.wait_for(report, WITHIN_S)

        failure = asyncio.run(check()).failure
        assert failure is not None
        assert failure.error == "MSG_SIZE_TOO_LARGE"
        assert failure.for_good

    def test_nothing_is_reported_after_it_is_closed(self, opened: Opened, topic: str):
        async def check() -> None:
            reports: list[Report] = []
            async with opened() as publisher:
                publisher.publish(Record(topic, None, b"value", []), reports.append)
            before = len(reports)
            await asyncio.sleep(0.05)
            assert len(reports) == before

        asyncio.run(check())
