"""Keeps the bridge's list of suppressed contacts up to date, from the topic, for as long as the bridge runs."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping

from avro.catalogue import topic_name
from avro.errors import ContractError
from bridge.metrics import Metrics
from bridge.suppressions.hashes import Suppressed
from bridge.suppressions.topic import TOPIC, changes
from openbsp.backoff import Backoff
from openbsp.errors import TopicsError
from openbsp.kafka.connection import KafkaSettings
from openbsp.kafka.reading import TopicReader
from openbsp.log import event

_log = logging.getLogger(__name__)

_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 30.0

#: Yields changes of the list, endlessly: all existing entries at first, then new ones, and {} now and then. Blocking.
#: Raises ContractError when it cannot be read, TopicsError when there is no such topic.
Changes = Callable[[], Iterator[Mapping[str, bool]]]


def changes_of(kafka: KafkaSettings, prefix: str) -> Iterator[Mapping[str, bool]]:
    """Read the topic; see Changes."""
    with TopicReader(kafka, topic_name(prefix, TOPIC)) as reader:
        within = reader.range()
        yield changes((message.key(), message.value()) for message in reader.read(within))
        for message in reader.follow({partition: end for partition, (_, end) in within.items()}):
            yield {} if message is None else changes(iter([(message.key(), message.value())]))


class SuppressionWatch:
    """Reads in a thread of its own, and updates `Suppressed` on the loop; `ready` is set once the list is known."""

    def __init__(self, suppressed: Suppressed, read: Changes, metrics: Metrics) -> None:
        """Assemble; nothing is read yet."""
        self._suppressed = suppressed
        self._read = read
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="suppressions", daemon=True)
        self.ready = asyncio.Event()
        #: Why the list cannot be read, None while it can.
        self.problem: str | None = None
        if suppressed.known:
            self.ready.set()
        else:
            self._thread.start()

    def close(self) -> None:
        """Stop the thread, which may take a moment longer."""
        self._stopping.set()

    def _run(self) -> None:
        backoff = Backoff(_FIRST_RETRY_S, _LONGEST_RETRY_S)
        while not self._stopping.is_set():
            try:
                for entries in self._read():
                    if self._stopping.is_set():
                        return
                    backoff = Backoff(_FIRST_RETRY_S, _LONGEST_RETRY_S)
                    self._tell(entries, None)
            except TopicsError:
                # Not a reason to keep events from Kafka: no contact can be on a list that was never made.
                self._tell({}, "the topic of suppressions is missing: run `bridge topics apply`")
            except ContractError as error:
                self._tell(None, f"the suppression list cannot be read: {error}")
            except Exception as error:  # noqa: BLE001 whatever the client library raises, it is read again
                self._tell(None, f"the suppression list cannot be read: {type(error).__name__}: {error}")
            self._stopping.wait(backoff.next_s())

    def _tell(self, entries: Mapping[str, bool] | None, problem: str | None) -> None:
        if entries == {} and problem == self.problem and self._suppressed.known:
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._take, entries, problem)

    def _take(self, entries: Mapping[str, bool] | None, problem: str | None) -> None:
        if problem is not None and problem != self.problem:
            _log.error("%s", problem, extra=event("suppressions.unreadable"))
        self.problem = problem
        if entries is None:
            return
        self._suppressed.take(entries)
        self._metrics.suppressions.set(len(self._suppressed))
        if not self._suppressed.known:
            self._suppressed.known = True
            self.ready.set()
        if entries:
            _log.info("%d contacts are suppressed", len(self._suppressed), extra=event("suppressions.changed"))
