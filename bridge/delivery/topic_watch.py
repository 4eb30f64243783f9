"""Whether the topics that the bridge writes to are as the catalogue has them: asked regularly, and on doubt."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from avro.catalogue import ENTITIES
from avro.errors import ContractError
from bridge.delivery.attempts import attempts
from bridge.metrics import Metrics
from openbsp.kafka.findings import Finding, Grade, Inspection
from openbsp.log import event
from openbsp.threads import in_thread

_log = logging.getLogger(__name__)

_EVERY_S = 10.0

#: Catalogue names of the topics that the bridge writes to.
WRITTEN = frozenset({"dead-letters", *(entity.topic for entity in ENTITIES.values())})


class TopicsCheck(Protocol):
    """As openbsp.kafka.topics.Topics."""

    def inspect(self) -> Inspection:
        """Return how the topics differ from the catalogue. Raises KafkaUnavailableError."""


class TopicWatch:
    """Asks for as long as the bridge runs; `usable` says whether events may be published.

    A topic of the bridge's that is wrong makes it unusable until it is repaired. Anything else that differs is in
    `remarks`, and publishing goes on.
    """

    def __init__(
        self, topics: TopicsCheck, on_change: Callable[[], None], on_replaced: Callable[[], None], metrics: Metrics
    ) -> None:
        """Put the parts together; nothing is asked yet.

        `on_change` is called after each answer. `on_replaced` is called when topics were repaired or created again:
        what producers know of them is outdated.
        """
        self._topics = topics
        self._on_change = on_change
        self._on_replaced = on_replaced
        self._metrics = metrics
        self._doubted = asyncio.Event()
        self._identities: Mapping[str, str] = {}
        self._outdated = False  # what producers know of the topics
        self.usable = False
        #: Why not, None once they were found right; and whether the cluster has answered, and the topics are wrong.
        self.problem: str | None = "has not answered yet"
        self.wrong = False
        self.asked = False
        self.remarks: list[str] = []

    def doubt(self) -> None:
        """Publish no more until the topics are verified again: a record was not acknowledged as it should have been."""
        if self.usable:
            self.usable = False
            self._on_change()
        self._doubted.set()

    async def run(self) -> None:
        """Ask, for as long as it takes and again and again."""
        while True:
            async for _ in attempts():
                self._doubted.clear()
                if await self._ask():
                    break
            try:
                async with asyncio.timeout(_EVERY_S):
                    await self._doubted.wait()
            except TimeoutError:
                pass

    async def _ask(self) -> bool:
        """Ask once. Returns whether the topics were found usable, and nothing has raised a doubt meanwhile."""
        try:
            inspection = await in_thread(self._topics.inspect)
        except Exception as error:  # noqa: BLE001 whatever the client library raises, it is asked again
            text = str(error) if isinstance(error, ContractError) else f"{type(error).__name__}: {error}"
            self._unanswered(text)
            return False
        wrong = [finding for finding in inspection.of(Grade.WRONG) if finding.topic in WRITTEN]
        self._take_remarks([finding for finding in inspection.findings if finding not in wrong])
        self._compare(inspection.identities)
        if wrong:
            self._found_wrong("\n".join(finding.text for finding in wrong))
        elif not self._doubted.is_set():
            self._found_right()
        self.asked = True
        self._on_change()
        return self.usable

    def _unanswered(self, text: str) -> None:
        # What was found right stays so: whether records get in is the producer's question.
        if text != self.problem:
            _log.warning("topics not verified, retrying: %s", text, extra=event("topics.unverified"))
        if not self.usable:
            self.problem = text
        self.asked = True
        self._on_change()

    def _found_wrong(self, text: str) -> None:
        if text != self.problem:
            _log.error("events are spooled until the topics are repaired:\n%s", text, extra=event("topics.wrong"))
        self.problem = text
        self.wrong = self._outdated = True
        self.usable = False
        self._metrics.kafka_verified.set(0)

    def _found_right(self) -> None:
        if self.wrong:
            _log.warning("topics are as in the catalogue again; the spool drains", extra=event("topics.repaired"))
        if self._outdated:
            self._outdated = False
            self._on_replaced()
        self.problem = None
        self.wrong = False
        self.usable = True
        self._metrics.kafka_verified.set(1)

    def _compare(self, identities: Mapping[str, str]) -> None:
        """Notice topics that are others than at the last look."""
        for topic in sorted(WRITTEN & identities.keys() & self._identities.keys()):
            if identities[topic] != self._identities[topic]:
                self._outdated = True
                self._metrics.topics_replaced.inc()
                _log.error(
                    "the topic %s was deleted and created again: its former records are lost",
                    topic,
                    extra=event("topics.replaced", topic=topic),
                )
        self._identities = {**self._identities, **identities}

    def _take_remarks(self, findings: list[Finding]) -> None:
        remarks = [finding.text for finding in findings if finding.grade is not Grade.CHOICE]
        for remark in remarks:
            if remark not in self.remarks:
                _log.error("a topic differs from the catalogue: %s", remark, extra=event("topics.remark"))
        self.remarks = remarks
        self._metrics.topic_remarks.set(len(remarks))
