"""The tables as the views read them: complete and current, or not at all."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from avro.catalogue import topic_name
from openbsp.log import event
from streams.engine.assignment import Assignment as Work
from streams.engine.hooks import Hook, Hooks
from streams.engine.lag import Lag
from streams.engine.partitioner import hash_of
from streams.metrics import Metrics
from streams.tables.owned import Owned
from streams.views.cluster.waits import Changes
from streams.views.problems import ProblemError, not_ready
from streams.views.read.pages import Page, PageKey, Pages
from streams.views.read.partition import IndexedBefore, PartitionView, Rendered, RenderedConversations
from streams.views.refusals import NOT_APPLIED

if TYPE_CHECKING:
    from streams.engine.engine import Engine

logger = logging.getLogger(__name__)

#: Characters. Clients choose the requested ids, and thereby what is cached.
_LONGEST_KEPT_KEY = 200


class Assignment:
    """The partitions of this worker from one rebalance to the next."""

    def __init__(self, join: Owned, views: Mapping[int, PartitionView]) -> None:
        """Take over restored partitions."""
        self.join = join
        self.views = views
        self.over = False
        #: Called when it ends.
        self.at_end: set[Callable[[], None]] = set()


class Tables:
    """Finds the owner of a key, and waits for tables. It subscribes to the engine's hooks (`listen`).

    All methods that return something raise ProblemError (not_ready) while it is not available.
    """

    def __init__(self, partition_count: int, prefix: str, metrics: Metrics, lag: Lag) -> None:
        """Start with nothing to read; `prefix` is that of the topics."""
        self.partition_count = partition_count
        self.messages_topic = topic_name(prefix, "messages")
        self.conversations_topic = topic_name(prefix, "conversations")
        self.contributions_topic = topic_name(prefix, "streams-contributions")
        self.states_topic = topic_name(prefix, "conversation-state")
        #: The topics that are read, with their names in the catalogue.
        self.sources = {
            self.messages_topic: "messages",
            self.conversations_topic: "conversations",
            self.contributions_topic: "streams-contributions",
        } | {topic_name(prefix, name): name for name in ("contacts", "contacts-addresses")}
        self.current: Assignment | None = None
        #: Whether this worker is shutting down: partitions that it gives up do not come back.
        self.leaving = False
        #: Wakes reads that wait for an assignment, or for partitions of it.
        self.changes = Changes()
        #: This worker has partitions anew; the addresses of all owners.
        self.reassigned: Hook[[Collection[str]]] = Hook()
        #: Changelog records restored and to be restored.
        self.restored = (0, 0)
        #: The partition count with which the tables were made, if a change of it stopped the join.
        self.refused_partitions = 0
        self._metrics = metrics
        self._lag = lag
        self._worker: Engine | None = None
        self._rendered = RenderedConversations()
        self.pages = Pages()
        self._indexed_before: dict[int, IndexedBefore] = {}
        self._indexing: asyncio.Task[None] | None = None
        #: Partitions not caught up at the last check, and whether the lease was held then.
        self._behind: set[int] = set()
        self._held = True
        self._waiting: dict[asyncio.Future[None], Callable[[], bool]] = {}

    def listen(self, hooks: Hooks) -> None:
        """Subscribe to the engine's hooks."""
        hooks.restoring.add(self.restoring)
        hooks.began.add(self.began)
        hooks.advanced.add(self.advanced)
        hooks.acknowledged.add(self.acknowledged)
        hooks.lost.add(self.lost)
        hooks.partitions_changed.add(self.partitions_changed)

    def attach(self, worker: "Engine") -> None:
        """Read from a worker from now on."""
        self._worker = worker

    @property
    def worker(self) -> "Engine":
        """The worker whose tables these are."""
        if self._worker is None:
            raise not_ready("the worker is starting")
        return self._worker

    @property
    def states_identity(self) -> int | None:
        """What tells the topic of the conversations' states from former ones of its name; None if it is not known."""
        return self.worker.identity(self.states_topic)

    @property
    def assignment(self) -> Assignment:
        """What this worker owns now."""
        if self.refused_partitions:
            raise not_ready(
                f"the tables were made with {self.refused_partitions} partitions, the topics have "
                f"{self.partition_count}: nothing is joined; see `streams repartition`",
                passing=False,
            )
        if self.current is None or not self.worker.holds_lease:
            raise not_ready("the partitions are being distributed or restored")
        return self.current

    @property
    def unready(self) -> frozenset[int]:
        """The owned partitions that this worker cannot fully answer for yet. Raises if it can own none."""
        views = self.assignment.views
        behind = frozenset(number for number, view in views.items() if not (view.caught_up and view.indexed))
        return behind | self.worker.late

    @property
    def stalled(self) -> frozenset[int]:
        """The owned partitions with a backlog and no progress."""
        return self._lag.stalled()

    def partition_of(self, key: str) -> int:
        """Return the partition of a row's id, as every producer of the contract computes it."""
        number = _hash(key) if len(key) <= _LONGEST_KEPT_KEY else _hash.__wrapped__(key)
        return number % self.partition_count

    def view_of(self, key: str) -> PartitionView | None:
        """Return the partition of a row's id, None if this worker does not own it."""
        for view in self.assignment.views.values():
            # Looking up a conversation's partition is cheaper than computing it.
            if key in view and view.caught_up:
                return view
        return self.view(self.partition_of(key))

    def kept(self, conversation_id: str) -> Rendered | None:
        """Return a conversation if it is kept as it was shown last, and has not changed since."""
        views = self.assignment.views
        # Trap: what is kept while a partition is caught up with has not been shown: it is as the join has it so far.
        return self._rendered.get(conversation_id) if views and not self._behind else None

    def elsewhere(self, key: str) -> bool:
        """Return whether this worker owns nothing now, and the last known owner of a row's partition is another one.

        That one can be asked: an owner checks itself whether it still is.
        """
        if self.current is not None or self.refused_partitions or self._worker is None:
            return False
        url = self._worker.owners(self.messages_topic).get(self.partition_of(key))
        return url is not None and url != self._worker.settings.url

    def others(self) -> list[str]:
        """Return the addresses of the other workers, as of the last rebalance."""
        if self._worker is None:
            return []
        return sorted(set(self._worker.owners(self.messages_topic).values()) - {self._worker.settings.url})

    def leave(self) -> None:
        """Record that this worker is shutting down."""
        self.leaving = True
        self.changes.changed()

    def owns(self, partition: int) -> bool:
        """Return whether this worker owns a partition. Raises if it does, and has not taken it over yet."""
        return self._owned(partition) is not None

    def _owned(self, partition: int) -> PartitionView | None:
        view = self.assignment.views.get(partition)
        if view is None and partition in self.worker.late:
            raise not_ready("the partition is being restored", {partition})
        return view

    def view(self, partition: int, *, indexed: bool = False) -> PartitionView | None:
        """Return an owned partition that is ready, None if this worker does not own it."""
        view = self._owned(partition)
        if view is not None and not view.caught_up:
            raise not_ready("the partition is being caught up with", {partition})
        if view is not None and indexed and not view.indexed:
            raise not_ready("the partition is being indexed", {partition})
        return view

    def confirm(self, views: Iterable[PartitionView]) -> None:
        """Confirm, after a wait, that no other worker can own these partitions by now; else raise ProblemError."""
        gone = {view.number for view in views if self.assignment.views.get(view.number) is not view}
        if gone:
            raise not_ready("the partition was handed over meanwhile", gone)

    @property
    def whole(self) -> bool:
        """Whether this worker owns all partitions, and all are ready and indexed."""
        views = self.assignment.views
        return len(views) == self.partition_count and all(view.caught_up and view.indexed for view in views.values())

    def cached_page(self, asked: PageKey) -> Page | None:
        """Return a valid cached page, None if there is none, or if changes are not indexed yet."""
        page = self.pages.get(asked)
        if page is None or not all(view.index_is_current for view in self.assignment.views.values()):
            return None
        return page

    def owners(self) -> dict[str, set[int]]:
        """Return the partitions of each worker, by its address; together all partitions."""
        owners: dict[str, set[int]] = {}
        for partition, url in self.worker.owners(self.messages_topic).items():
            owners.setdefault(url, set()).add(partition)
        missing = set(range(self.partition_count)).difference(*owners.values())
        if missing:
            raise not_ready("partitions have no owner", missing)
        return owners

    def owner(self, partition: int) -> str:
        """Return the address of the other worker that owns a partition."""
        url = self.worker.owners(self.messages_topic).get(partition)
        if url is None or url == self.worker.settings.url:
            raise not_ready("the partition has no owner", {partition})
        return url

    async def wait_until(self, reached: Callable[[], bool], deadline: float) -> None:
        """Return when `reached()` is true of the current assignment.

        Raises ProblemError: not_ready when the assignment ends, not_applied when the deadline passes first.
        """
        if reached():
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = reached
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await future
        except TimeoutError:
            raise ProblemError(NOT_APPLIED, "the record was not applied before the deadline; ask again") from None
        finally:
            del self._waiting[future]

    def partitions_changed(self, remembered: int) -> None:
        """See streams.engine.hooks.Hooks."""
        self.refused_partitions = remembered
        self.changes.changed()

    def restoring(self, done: int, total: int) -> None:
        """See streams.engine.hooks.Hooks."""
        self.restored = (done, total)

    def began(self, work: Work, guarded: Mapping[tuple[str, int], int]) -> None:
        """See streams.engine.hooks.Hooks."""
        join = Owned(work)
        self.partitions_changed(0)
        # While nothing was owned, changes of conversations were not reported.
        self._forget()
        views = {
            number: PartitionView(
                number,
                join,
                guarded[self.states_topic, number],
                self._rendered,
                self.pages,
                indexed=self._indexed_before.get(number),
            )
            for number in join.conversations
        }
        self._indexed_before = {}
        self.current = Assignment(join, views)
        self._lag.follow(join, [(topic, number) for topic in self.sources for number in views])
        self._behind = set(views)
        self.reassigned(set(self.worker.owners(self.messages_topic).values()))
        self.changes.changed()
        self._indexing = asyncio.create_task(_index_all(views.values(), self.changes.changed))
        self._indexing.add_done_callback(self._indexed)

    def advanced(self) -> None:
        """See streams.engine.hooks.Hooks."""
        for future, reached in self._waiting.items():
            if not future.done() and reached():
                future.set_result(None)
        if self.current is None:
            return
        views, held = self.current.views, self.worker.holds_lease
        caught_up = {number for number in self._behind if views[number].caught_up} if self._behind else None
        if caught_up or (held and not self._held):
            self._behind -= caught_up or set()
            self.changes.changed()
        self._held = held

    def acknowledged(self, topic: str, partition: int, offset: int) -> None:
        """See streams.engine.hooks.Hooks."""
        if topic == self.states_topic and self.current is not None:
            self.current.views[partition].feed.acknowledged(offset)

    def lost(self) -> None:
        """See streams.engine.hooks.Hooks."""
        if self.current is None:
            return
        for number, view in self.current.views.items():
            view.close()
            indexed = view.leave()
            if indexed is not None:
                self._indexed_before[number] = indexed
        self._lag.follow(None)
        self._behind = set()
        ended, self.current = self.current, None
        ended.over = True
        for call in ended.at_end:
            call()
        self._forget()
        for future in self._waiting:
            if not future.done():
                future.set_exception(not_ready("the partitions are being handed over"))
        self.changes.changed()

    def measure(self) -> None:
        """Bring the metrics that describe this moment up to date."""
        metrics, current, worker = self._metrics, self.current, self._worker
        views = {} if current is None else current.views
        metrics.owned.set(len(views) + (0 if worker is None else len(worker.late)))
        whole = worker is not None and worker.holds_lease
        metrics.ready.set(sum(view.caught_up and view.indexed for view in views.values()) if whole else 0)
        metrics.conversations.set(sum(view.size for view in views.values()))
        metrics.orphans.set(sum(view.orphans for view in views.values()))
        done, total = self.restored
        metrics.restored.set(done)
        metrics.to_restore.set(total)
        if worker is not None:
            metrics.commit_age.set(worker.commit_age_s)
            metrics.unacknowledged.set(worker.unacknowledged)
            metrics.stores_compacted.set(worker.stores_compacted_at or 0)
        metrics.stalled.set(len(self.stalled))
        metrics.lag.clear()
        for (topic, partition), behind in self._lag.behind().items():
            metrics.lag.labels(self.sources[topic], partition).set(behind)

    def _forget(self) -> None:
        self._rendered.clear()
        self.pages.clear()

    def _indexed(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.worker.fail(error)


@lru_cache(maxsize=50_000)
def _hash(key: str) -> int:
    return hash_of(key.encode())


async def _index_all(views: Collection[PartitionView], indexed: Callable[[], None]) -> None:
    began = time.monotonic()
    kept = sum(view.size for view in views if view.indexed)
    for view in views:
        await view.index_all()
    indexed()
    count = sum(view.size for view in views) - kept
    seconds = time.monotonic() - began
    values = event("views.indexed", conversations=count, seconds=round(seconds, 3), kept=kept)
    logger.info("indexed %d conversations in %.1f s; %d were indexed before", count, seconds, kept, extra=values)
