"""Keeps the bridge's list of suppressed contacts up to date, from the topic, for as long as the bridge runs."""

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Protocol

from avro.catalogue import topic_name
from avro.errors import ContractError
from bridge.metrics import Metrics
from bridge.suppressions.hashes import Suppressed
from bridge.suppressions.topic import TOPIC, changes
from openbsp.backoff import Backoff, attempts
from openbsp.errors import KafkaUnavailableError, TopicsError
from openbsp.kafka.connection import KafkaSettings
from openbsp.kafka.reading import TopicReader
from openbsp.kafka.topics import Topics
from openbsp.log import event

_log = logging.getLogger(__name__)

_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 30.0
_LOOK_EVERY_S = 10.0
#: So many looks without an answer to the reader, each of 15 s at most, while the topic's brokers answer others.
_MUTE_AFTER = 3
_LOST = (
    "the suppression list lacks %d of its entries, which nobody lifted: its topic was deleted or emptied. Their "
    "contacts stay out until this bridge is restarted; restore the list before"
)
_FORGOTTEN = (
    "the suppression list is empty, and had %d entries when this bridge ran before: its topic was deleted or emptied. "
    "Their contacts are let in; restore the list"
)
_KEYLESS = (
    "BRIDGE_SUPPRESSION_KEY is not set, and the suppression list had %d entries when this bridge had the key: their "
    "contacts are let in. Set it again"
)
_OF_ANOTHER_KEY = (
    "the suppression list has entries of another BRIDGE_SUPPRESSION_KEY, %d: their contacts are let in. Give every "
    "bridge and `bridge erase` the same one"
)
#: The name of the note: how many entries there were.
_MEMORY = "suppressions"

#: Yields changes of the list, as Suppressed.take has them: all existing entries at first, then new ones, and {} now and
#: then. Blocking. Ends when records are gone, so that the list has to be read again. Raises ContractError when it
#: cannot be read, TopicsError when there is no such topic.
Changes = Callable[[], Iterator[Mapping[str, str | None]]]


class Notes(Protocol):
    """Notes that outlive the process: the spool. Both methods raise sqlite3.Error."""

    async def recall(self, name: str) -> str | None:
        """Return what was remembered under a name, None if nothing was."""

    async def remember(self, name: str, value: str) -> None:
        """Remember a value, in place of the former one."""


def changes_of(kafka: KafkaSettings, topics: Topics, prefix: str) -> Iterator[Mapping[str, str | None]]:
    """Read the topic; see Changes."""
    # Asked first: a topic that is made anew before the reader has found it differs from this as well.
    layout = topics.layout(TOPIC)
    with TopicReader(kafka, topic_name(prefix, TOPIC)) as reader:
        within = reader.range()
        yield changes((message.key(), message.value()) for message in reader.read(within))
        looked_at, unanswered = time.monotonic(), 0
        for message in reader.follow({partition: end for partition, (_, end) in within.items()}):
            yield {} if message is None else changes(iter([(message.key(), message.value())]))
            if time.monotonic() - looked_at >= _LOOK_EVERY_S:
                # Trap: whoever waits at the end of a topic hears nothing when it is emptied, deleted or created again,
                # and nothing of one that was created again for ever: its leader has a lower epoch.
                # And nothing at all by a client that has lost its last broker: docs/decisions/0242.
                with contextlib.suppress(KafkaUnavailableError):
                    if topics.layout(TOPIC) != layout:
                        return
                    unanswered += 1
                    if unanswered > _MUTE_AFTER:
                        _log.warning(
                            "no broker answers the reader of the suppression list: a new one reads all of it",
                            extra=event("suppressions.reader_replaced"),
                        )
                        return
                    # A partition without a leader says nothing of the reader: a new one could not even start with it.
                    found = within if reader.leaderless() else reader.range()
                    unanswered = 0
                    if any(found[at][0] > start or found[at][1] < end for at, (start, end) in within.items()):
                        return
                    within = found
                looked_at = time.monotonic()


class SuppressionWatch:
    """Reads in a thread of its own, and updates `Suppressed` on the loop; `ready` is set once the list is known.

    What a topic has lost that was on the list before is kept for as long as this process runs, and told.
    """

    def __init__(self, suppressed: Suppressed, read: Changes, metrics: Metrics, notes: Notes) -> None:
        """Assemble; nothing is read yet."""
        self._suppressed = suppressed
        self._read = read
        self._metrics = metrics
        self._notes = notes
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="suppressions", daemon=True)
        self.ready = asyncio.Event()
        self._lost: set[str] = set()
        #: How many entries the topic had at a former start, if it has shown none since this one.
        self._forgotten = 0
        #: How many entries keep nobody out: there is no key, or not theirs.
        self._void = 0
        self._void_text = _KEYLESS if suppressed.key_id is None else _OF_ANOTHER_KEY
        self._changed = asyncio.Event()
        self._unreadable: str | None = None
        if suppressed.known:
            self.ready.set()
        else:
            self._thread.start()

    @property
    def problems(self) -> list[str]:
        """Why the list cannot be read, what the topic has lost, and what the key is wrong for."""
        lost = _LOST % len(self._lost) if self._lost else None
        forgotten = _FORGOTTEN % self._forgotten if self._forgotten else None
        void = self._void_text % self._void if self._void else None
        return [problem for problem in (self._unreadable, lost, forgotten, void) if problem is not None]

    def close(self) -> None:
        """Stop the thread, which may take a moment longer."""
        self._stopping.set()

    async def run(self) -> None:
        """Keep over restarts how many entries there are, endlessly; tell if a start finds none where there were some.

        Without a key, only tell if there were some.

        Trap: with the process ends what it kept in effect, and with that the alarm.
        """
        kept = 0
        async for _ in attempts():
            with contextlib.suppress(sqlite3.Error):  # the spool tells of it
                kept = int(await self._notes.recall(_MEMORY) or 0)
                break
        if self._suppressed.key_id is None:
            self._tell_void(kept)
            return
        await self.ready.wait()
        if kept and not self._changed.is_set():
            self._forgotten = kept
            self._metrics.suppressions_lost.set(kept)
            _log.error(_FORGOTTEN, kept, extra=event("suppressions.lost", entries=kept))
        while True:
            await self._changed.wait()
            self._changed.clear()
            async for _ in attempts():
                with contextlib.suppress(sqlite3.Error):
                    await self._notes.remember(_MEMORY, str(len(self._suppressed)))
                    break

    def _tell_void(self, number: int) -> None:
        if number > self._void:
            _log.error(self._void_text, number, extra=event("suppressions.void", entries=number))
        self._void = number
        self._metrics.suppressions_void.set(number)

    def _run(self) -> None:
        backoff = Backoff(_FIRST_RETRY_S, _LONGEST_RETRY_S)
        while not self._stopping.is_set():
            complete = True
            try:
                for entries in self._read():
                    if self._stopping.is_set():
                        return
                    backoff = Backoff(_FIRST_RETRY_S, _LONGEST_RETRY_S)
                    self._tell(entries, None, complete=complete)
                    complete = False
            except TopicsError:
                # Not a reason to keep events from Kafka: no contact can be on a list that was never made.
                self._tell({}, "the topic of suppressions is missing: run `bridge topics apply`", complete=True)
            except ContractError as error:
                self._tell(None, f"the suppression list cannot be read: {error}")
            except Exception as error:  # noqa: BLE001 whatever the client library raises, it is read again
                self._tell(None, f"the suppression list cannot be read: {type(error).__name__}: {error}")
            self._stopping.wait(backoff.next_s())

    def _tell(self, entries: Mapping[str, str | None] | None, problem: str | None, *, complete: bool = False) -> None:
        if entries == {} and problem == self._unreadable and not complete:
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(partial(self._take, entries, problem, complete=complete))

    def _take(self, entries: Mapping[str, str | None] | None, problem: str | None, *, complete: bool) -> None:
        if problem is not None and problem != self._unreadable:
            _log.error("%s", problem, extra=event("suppressions.unreadable"))
        self._unreadable = problem
        if entries is None:
            return
        # A contact that was lifted has a record of that for a day; without it, it counts as lost, and stays out.
        lost = self._suppressed.beyond(entries) if complete else self._lost.difference(entries)
        if lost - self._lost:
            _log.error(_LOST, len(lost), extra=event("suppressions.lost", entries=len(lost)))
        self._lost = lost
        if entries:
            self._forgotten = 0
        self._metrics.suppressions_lost.set(len(lost) + self._forgotten)
        self._suppressed.take(entries)
        self._metrics.suppressions.set(len(self._suppressed))
        self._tell_void(self._suppressed.void)
        if not self._suppressed.known:
            self._suppressed.known = True
            self.ready.set()
        if entries:
            self._changed.set()
            _log.info("%d contacts are suppressed", len(self._suppressed), extra=event("suppressions.changed"))
