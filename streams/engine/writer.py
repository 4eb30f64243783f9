"""Writing: one idempotent producer for every record of a worker, and one place to wait for it.

A checkpoint gathers the writes of a stretch of input. Its positions may be committed once all of them are acknowledged,
and those of every checkpoint before it.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, Message

from openbsp.kafka import reports
from openbsp.kafka.clients import producer_config
from openbsp.kafka.connection import Config
from streams.engine.errors import WriteFailedError
from streams.engine.outside import Clients, Clock

Positions = dict[tuple[str, int], int]

#: The age of the oldest unacknowledged write is measured in steps of this many seconds.
_MOMENT_S = 0.02
#: The part of the time a record may wait after which all of them are given up, before the first one times out.
_PATIENCE = 0.95


class Checkpoint:
    """The writes of a stretch of input, and the positions after it."""

    __slots__ = ("pending", "positions", "received_at")

    def __init__(self) -> None:
        """Start open: positions are None until the stretch has ended."""
        self.pending = 0
        self.positions: Positions | None = None
        #: When the oldest event that led to something in it was received, as the tables tell; None: unknown.
        self.received_at: int | None = None


class _Moment:
    """The unacknowledged writes of one step of time."""

    __slots__ = ("began", "pending", "topic")

    def __init__(self, began: float) -> None:
        self.began = began
        self.pending = 0
        #: That of the first of them.
        self.topic = ""


class Writer:
    """Produces records and reports their acknowledgement. Everything runs on the event loop's thread.

    `on_written(topic, partition, offset)` is called for each acknowledged record, in order within a partition.
    """

    def __init__(  # noqa: PLR0917 its parts and callbacks
        self,
        clients: Clients,
        clock: Clock,
        connection: Config,
        max_pending_s: float,
        on_written: Callable[[str, int, int], None] | None = None,
        on_settled: Callable[[Checkpoint], None] | None = None,
    ) -> None:
        """Connect in the background; `connection` as from KafkaSettings.producer.

        A record that waits for about `max_pending_s` for the broker fails, all others with it, and ends the worker: it
        must not be sent after another worker may have taken over. `on_settled` is called with each checkpoint once it
        is acknowledged.
        """
        self._producer = clients.producer(
            producer_config(
                connection,
                message_timeout_s=max_pending_s,
                linger_ms=5,
                queue_messages=1_000_000,
                queue_kibibytes=512 * 1024,
            )
        )
        self._clock = clock
        self._patience_s = max_pending_s * _PATIENCE
        self._on_written = on_written
        self._on_settled = on_settled
        self._open = Checkpoint()
        self._closed: deque[Checkpoint] = deque()
        self._failure: WriteFailedError | None = None
        self.outstanding = 0
        self._moment = _Moment(clock.monotonic())
        self._moments = deque([self._moment])
        #: The positions that may be committed: those of the last stretch whose writes are all acknowledged.
        self.acknowledged: Positions = {}

    def write(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int = -1, headers: Any = None
    ) -> None:
        """Produce a record as part of the open checkpoint. Without a partition its key decides (murmur2).

        Raises WriteFailedError once one has failed.
        """
        checkpoint, moment = self._open, self._moment
        if not moment.pending:
            # Trap: nobody may have polled for long before.
            moment.began, moment.topic = self._clock.monotonic(), topic
        checkpoint.pending += 1
        moment.pending += 1
        self.outstanding += 1

        def delivered(error: KafkaError | None, message: Message) -> None:
            moment.pending -= 1
            self.outstanding -= 1
            # Trap: the checkpoint of a record that was not written stays pending for good. Who waits for it, as a
            # repair does, must not take it for acknowledged in the moments before this worker ends.
            if error is not None:
                self._fail(f"{topic}: the broker did not take a record: {error.str()}")
            elif reports.is_unwritten(message):
                self._fail(f"{topic}: a record was not written: {reports.UNWRITTEN}")
            else:
                checkpoint.pending -= 1
                if self._on_written is not None:
                    self._on_written(topic, message.partition() or 0, message.offset() or 0)

        while self._failure is None:
            try:
                self._producer.produce(topic, value, key, partition, delivered, headers=headers)
            except BufferError:
                self._producer.poll(0.05)
            else:
                return
        raise self._failure

    def checkpoint(self, positions: Mapping[tuple[str, int], int], received_at: int | None = None) -> Checkpoint:
        """End the open checkpoint and return it: everything up to `positions` has been processed and written."""
        closed, self._open = self._open, Checkpoint()
        closed.positions = dict(positions)
        closed.received_at = received_at
        self._closed.append(closed)
        self.poll()
        return closed

    def poll(self) -> None:
        """Process the broker's acknowledgements. Raises WriteFailedError if it rejected a record permanently."""
        self._producer.poll(0)
        now, moments = self._clock.monotonic(), self._moments
        if now - self._moment.began >= _MOMENT_S:
            self._moment = _Moment(now)
            moments.append(self._moment)
        while len(moments) > 1 and not moments[0].pending:
            moments.popleft()
        if self._failure is None and self.waited_s > self._patience_s:
            # Trap: each record times out by itself, and those behind it are sent all the same: values without the mark
            # that was before them (docs/decisions/0252).
            late = f"it was not acknowledged within {self._patience_s:.1f} s"
            self._fail(f"{moments[0].topic}: the broker did not take a record: {late}")
        if self._failure is not None:
            raise self._failure
        while self._closed and not self._closed[0].pending:
            settled = self._closed.popleft()
            if settled.positions is not None:
                self.acknowledged.update(settled.positions)
            if self._on_settled is not None:
                self._on_settled(settled)

    def _fail(self, problem: str) -> None:
        if self._failure is None:
            self._failure = WriteFailedError(problem)
            # Trap: what is behind it must not be sent without it, see `poll`.
            self._producer.purge()

    @property
    def waited_s(self) -> float:
        """The age of the oldest unacknowledged record, in seconds, or a step more."""
        oldest = self._moments[0]
        return self._clock.monotonic() - oldest.began if oldest.pending else 0.0

    @property
    def idle(self) -> bool:
        """Whether everything that was written is acknowledged."""
        return self.outstanding == 0

    def forget(self) -> None:
        """Drop positions of an assignment that has ended. Records in flight stay in flight."""
        self._open = Checkpoint()
        self._closed.clear()
        self.acknowledged = {}

    def close(self) -> None:
        """Send nothing more: pending records are dropped, and replayed by the next owner."""
        self._producer.purge()
        self._producer.poll(0)
