"""Whether the topics that the bridge writes to match the catalogue: checked regularly, and on doubt."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Mapping
from typing import Protocol

from avro.columns import ENTITIES
from avro.errors import ContractError
from bridge.metrics import Metrics
from openbsp.backoff import attempts
from openbsp.kafka.findings import NO_ID, Finding, Grade, Inspection
from openbsp.log import event
from openbsp.threads import in_thread_within

_log = logging.getLogger(__name__)

_EVERY_S = 10.0
#: More than two questions after another may take, as openbsp.kafka.topics asks them.
_ANSWER_S = 60.0

#: A disk that hangs must not keep events from Kafka.
_NOTES_S = 5.0

#: Catalogue names of the topics that the bridge writes to.
WRITTEN = frozenset({"dead-letters", *(entity.topic for entity in ENTITIES.values())})


#: And those whose loss nobody else tells, and nothing mends.
_COMPARED = WRITTEN | {"audits", "status-changes"}
#: Only a person can tell when that has been seen to.
_REPLACED = (
    "deleted and created again, so that their former records are lost: {}. `bridge reconcile` sends again what OpenBSP "
    "still has; this is said until the bridge is restarted"
)


class TopicsCheck(Protocol):
    """As openbsp.kafka.topics.Topics."""

    def inspect(self) -> Inspection:
        """Return the topics' differences from the catalogue. Raises KafkaUnavailableError."""


class Notes(Protocol):
    """Notes that outlive the process: the spool. Both methods raise sqlite3.Error."""

    async def recall(self, name: str) -> str | None:
        """Return what was remembered under a name, None if nothing was."""

    async def remember(self, name: str, value: str) -> None:
        """Remember a value, in place of the former one."""


class TopicWatch:
    """Checks for as long as the bridge runs; `usable` says whether events may be published.

    A wrong topic of the bridge makes it unusable until repaired. Other differences are in `remarks`, and publishing
    goes on. The topics' ids are noted, so that those are told too that were created again while no bridge ran.
    """

    def __init__(
        self,
        topics: TopicsCheck,
        on_change: Callable[[], None],
        on_outdated: Callable[[], None],
        metrics: Metrics,
        *,
        notes: Notes,
        cluster: str,
    ) -> None:
        """Assemble; nothing is checked yet. `cluster` says which topics these are: others have notes of their own.

        `on_change` is called after each answer, `on_outdated` when topics were repaired or recreated: producers have
        outdated metadata.
        """
        self._topics = topics
        self._on_change = on_change
        self._on_outdated = on_outdated
        self._metrics = metrics
        self._doubted = asyncio.Event()
        #: The ids that were noted, and those seen since.
        self._identities: dict[str, str] = {}
        self._notes = notes
        self._memory = f"topic ids {cluster}"
        #: Whether the notes were read, and whether they lack something that was seen.
        self._recalled = self._unnoted = False
        self._replaced: set[str] = set()
        self._outdated = False  # producers have outdated metadata
        self.usable = False
        #: Why the topics are unusable, None once they are verified; and whether the cluster answered that they are
        #: wrong.
        self.problem: str | None = "has not answered yet"
        self.wrong = False
        self.asked = False
        self._differences: list[str] = []

    def doubt(self) -> None:
        """Stop publishing until the topics are verified again: a record was not acknowledged as it should have been."""
        if self.usable:
            self.usable = False
            self._on_change()
        self._doubted.set()

    async def run(self) -> None:
        """Check the topics, endlessly."""
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
        """Check once. Returns whether the topics are usable, and nothing has called `doubt` meanwhile."""
        try:
            inspection = await in_thread_within(_ANSWER_S, self._topics.inspect)
        except Exception as error:  # noqa: BLE001 whatever the client library raises, it is asked again
            text = str(error) if isinstance(error, ContractError) else f"{type(error).__name__}: {error}"
            self._unanswered(text)
            return False
        wrong = [finding for finding in inspection.of(Grade.WRONG) if finding.topic in WRITTEN]
        self._take_remarks([finding for finding in inspection.findings if finding not in wrong])
        await self._read_notes()
        self._compare(inspection.identities)
        if wrong:
            self._found_wrong("\n".join(finding.text for finding in wrong))
        elif not self._doubted.is_set():
            self._found_right()
        self.asked = True
        self._on_change()
        await self._write_notes()
        return self.usable

    async def _read_notes(self) -> None:
        if self._recalled:
            return
        try:
            async with asyncio.timeout(_NOTES_S):
                text = await self._notes.recall(self._memory)
        except (sqlite3.Error, TimeoutError):  # the spool tells of it; they are read with the next check
            return
        self._recalled = True
        if text is not None:
            # Former versions noted NO_ID as well.
            self._identities |= {topic: noted for topic, noted in json.loads(text).items() if noted != NO_ID}

    async def _write_notes(self) -> None:
        if not self._recalled or not self._unnoted:
            return
        try:
            async with asyncio.timeout(_NOTES_S):
                await self._notes.remember(self._memory, json.dumps(self._identities))
        except (sqlite3.Error, TimeoutError):  # as above
            return
        self._unnoted = False

    def _unanswered(self, text: str) -> None:
        # Verified topics stay so: whether records are accepted is the producer's question.
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
            self._on_outdated()
        self.problem = None
        self.wrong = False
        self.usable = True
        self._metrics.kafka_verified.set(1)

    def _compare(self, identities: Mapping[str, str]) -> None:
        """Detect topics that were recreated since the last check."""
        # Trap: brokers that are upgraded give the same topics ids; each of them, in its turn.
        seen = {topic: identity for topic, identity in identities.items() if identity != NO_ID}
        for topic in sorted(_COMPARED & seen.keys() & self._identities.keys()):
            if seen[topic] != self._identities[topic]:
                self._outdated |= topic in WRITTEN
                self._replaced.add(topic)
                self._metrics.topics_replaced.inc()
                _log.error(
                    "the topic %s was deleted and created again: its former records are lost",
                    topic,
                    extra=event("topics.replaced", topic=topic),
                )
        self._unnoted |= not seen.items() <= self._identities.items()
        self._identities |= seen

    def _take_remarks(self, findings: list[Finding]) -> None:
        differences = [finding.text for finding in findings if finding.grade is not Grade.CHOICE]
        for difference in differences:
            if difference not in self._differences:
                _log.error("a topic differs from the catalogue: %s", difference, extra=event("topics.remark"))
        self._differences = differences
        self._metrics.topic_remarks.set(len(differences))

    @property
    def remarks(self) -> list[str]:
        """What an operator has to know of topics that are used all the same."""
        if not self._replaced:
            return self._differences
        return [*self._differences, _REPLACED.format(", ".join(sorted(self._replaced)))]
