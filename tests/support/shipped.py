"""The shipped agents and tables of one partition, with a Kafka that is a list."""

import asyncio
import atexit
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from openbsp.merge.contact import AddressRow, decode_address_row
from streams.engine.hooks import Hook
from streams.engine.source import Record
from streams.engine.writer import Checkpoint
from streams.tables.owned import ADDRESSES
from support.join import Join, empty_stores, program
from support.wire import Fields, change, conversation_state, event_bytes, headers_of, message_state, source_of

_runner = asyncio.Runner()
atexit.register(_runner.close)

_states = {"message-state": message_state, "conversation-state": conversation_state, "status-changes": change}


#: Making it takes longer than most of what is done with it; an assignment replaces all that the last one has left.
_program = functools.cache(lambda: program(prefix=""))


class _Log:
    """Takes records and acknowledges them at once."""

    idle = True
    outstanding = 0
    waited_s = 0.0

    def __init__(self) -> None:
        self.written: list[tuple[str, bytes | None, bytes | None]] = []

    def write(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int = -1, headers: Any = None
    ) -> None:
        del partition, headers
        self.written.append((topic, key, value))

    def checkpoint(self, positions: Mapping[tuple[str, int], int], received_at: int | None = None) -> Checkpoint:
        del positions, received_at
        return Checkpoint()

    def poll(self) -> None:
        """Everything is acknowledged."""


class Shipped:
    """Both tables, the topic between them, and the last record per key of the topics that the program writes."""

    def __init__(self) -> None:
        #: The topic between the tables, and how far it has been read.
        self.between: list[tuple[bytes | None, bytes | None]] = []
        self.read = 0
        self.message_states: dict[str, Fields] = {}
        self.conversation_states: dict[str, Fields] = {}
        self.status_changes: dict[str, Fields] = {}
        #: For each status change, how far `between` had been read when it was first written.
        self._told_at: dict[str, int] = {}
        self._offset = 0
        self._stores = empty_stores([0])
        self._log = _Log()
        self._join = self._start()

    def receive(self, batch: list[Fields], *, replayed: bool = False, relayed: int = 0) -> None:
        """Process webhooks as one batch; `replayed`: as if they were from before the tables' marks.

        `relayed`: with so many records of the topic between the tables behind them.

        Of what is `removed` the record has no value.
        """
        records = []
        for envelope in batch:
            offset = -1 if replayed else self._offset
            self._offset += 1
            topic, key = source_of(envelope)
            records.append(
                Record(
                    topic,
                    0,
                    offset,
                    key,
                    None if envelope.get("removed") else event_bytes(envelope),
                    headers_of(envelope),
                )
            )
        for key, value in self.between[self.read : self.read + relayed]:
            records.append(Record("streams-contributions", 0, self.read, key, value))
            self.read += 1
        self._process(records)

    def relay(self, count: int | None = None) -> None:
        """Process up to `count` records of the topic between the tables, or all and what follows from them."""
        end = None if count is None else self.read + count
        while self.read < (len(self.between) if end is None else min(end, len(self.between))):
            key, value = self.between[self.read]
            self._process([Record("streams-contributions", 0, self.read, key, value)])
            self.read += 1

    def crash(self, *, back: int) -> None:
        """Restart with both tables as they are, but without what the last `back` records between them made known."""
        self.read = max(0, self.read - back)
        for key in [key for key, position in self._told_at.items() if position >= self.read]:
            del self._told_at[key], self.status_changes[key]
        self._join = self._start()

    def stored(self) -> Iterator[bytes]:
        """Yield all values of both tables."""
        for store in self._stores.values():
            yield from (value for _, value in store.scan(b""))

    def address_row(self, key: str) -> AddressRow:
        """Return what is known of an address, and who follows it."""
        stored = self._stores[ADDRESSES, 0].get(key.encode())
        return AddressRow() if stored is None else decode_address_row(stored)

    def begin_removal(self, conversation_id: str) -> set[str]:
        """Do the first half of a conversation's removal, and return the topics that it writes to."""
        for _ in self._join.conversations[0].retract(conversation_id):
            pass
        written, self._log.written = self._log.written, []
        return {topic for topic, _, _ in written}

    def _start(self) -> Join:
        app = _program()
        app.intake.refused = Hook()
        between = "streams-contributions", 0
        return Join(app, self._log, self._stores, positions={between: self.read}, ends={between: len(self.between)})

    def _process(self, records: list[Record]) -> None:
        if not _runner.run(self._processed(records)):
            raise AssertionError("the batch was not finished")
        written, self._log.written = self._log.written, []
        for topic, key, value in written:
            if topic == "streams-contributions":
                self.between.append((key, value))
            elif topic == "status-changes":
                fields = _states[topic].decode(value)
                self.status_changes[fields["id"]] = fields
                self._told_at.setdefault(fields["id"], self.read)
            elif topic in _states:
                states = self.message_states if topic == "message-state" else self.conversation_states
                if value is None:
                    states.pop(key.decode(), None)
                else:
                    states[key.decode()] = _states[topic].decode(value)
            elif topic == "dead-letters":
                raise AssertionError(f"a dead letter: {value!r}")

    async def _processed(self, records: list[Record]) -> bool:
        finished = await self._join.process(records)
        self._join.flush()
        return finished
