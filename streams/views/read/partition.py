"""One partition as the views see it: its tables, the index over them, its timelines and its feed."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from itertools import groupby, islice
from typing import Any, NamedTuple

from streams.engine.stores import Store, split_key
from streams.state import contribution as contributions
from streams.state import conversation, message
from streams.state.contribution import Contribution
from streams.state.conversation import Counting, Standing
from streams.tables.conversations import ConversationPartition
from streams.tables.owned import Owned
from streams.views.problems import not_ready
from streams.views.read import render
from streams.views.read.feed import Before, Feed, only
from streams.views.read.index import ConversationIndex, Facets, Filter, Kind, Position
from streams.views.read.message_index import MessageFilter, MessageIndex, read_key
from streams.views.read.pages import Pages
from streams.views.read.timeline import Timelines

#: Conversations of a worker whose JSON is cached.
_RENDERED = 30_000
#: Their JSON together; one may have hundreds of kilobytes.
_RENDERED_BYTES = 64 * 1024 * 1024
#: Store entries that are indexed before other tasks run.
_SLICE = 500

#: Short conversations that are counted before other tasks run.
_PREPARED = 20

_DONE = object()


class Rendered(NamedTuple):
    """The JSON of a conversation or message, with its entity tag and the organization that may see it."""

    body: bytes
    tag: str
    organization: str | None


def tag_of(body: bytes) -> str:
    """Return the entity tag of a body."""
    return hashlib.sha256(body).hexdigest()[:32]


class RenderedConversations:
    """A cache of rendered conversations until they change, shared by all partitions of a worker."""

    def __init__(self) -> None:
        """Start empty."""
        self._kept: OrderedDict[str, Rendered] = OrderedDict()
        self._bytes = 0

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self._bytes = 0

    def drop(self, conversation_id: str) -> None:
        """Remove a conversation that has changed."""
        dropped = self._kept.pop(conversation_id, None)
        if dropped is not None:
            self._bytes -= len(dropped.body)

    def get(self, conversation_id: str) -> Rendered | None:
        """Return the cached one."""
        found = self._kept.get(conversation_id)
        if found is not None:
            self._kept.move_to_end(conversation_id)
        return found

    def keep(self, conversation_id: str, rendered: Rendered) -> None:
        """Cache a conversation until it is dropped or evicted."""
        self.drop(conversation_id)
        self._kept[conversation_id] = rendered
        self._bytes += len(rendered.body)
        while len(self._kept) > _RENDERED or self._bytes > _RENDERED_BYTES:
            self._bytes -= len(self._kept.popitem(last=False)[1].body)


class IndexedBefore(NamedTuple):
    """The indexes of a partition that was owned before, valid as long as nothing else has changed its store."""

    conversations: ConversationIndex
    messages: MessageIndex
    store: Store
    generation: int

    def is_of(self, store: Store) -> bool:
        """Return whether they match the store's current content."""
        return self.store is store and self.generation == store.generation


class _Preparation:
    """Brings a conversation into use, a step at a time. It begins again once `disturbed`: something has changed."""

    def __init__(self, task: ConversationPartition, conversation_id: str) -> None:
        self.conversation_id = conversation_id
        self.disturbed = False
        self.task: asyncio.Task[None] | None = None
        self._task = task
        self._steps = self._begin()

    def step(self) -> bool:
        """Go on; return whether the conversation is in use and current, be it that the join has counted it."""
        if self._task.is_in_use(self.conversation_id):
            return True
        if self.disturbed:
            self.disturbed = False
            self._steps = self._begin()
        return next(self._steps, _DONE) is _DONE

    def _begin(self) -> Iterator[None]:
        return self._task.counting(self.conversation_id)


class PartitionView:
    """Answers for one partition, and follows its conversations (`streams.tables.conversations.ConversationHooks`).

    Code without an await sees a consistent state of the tables. Reads raise ProblemError (not_ready) after `close`.
    """

    def __init__(
        self,
        number: int,
        join: Owned,
        state_end: int,
        rendered: RenderedConversations,
        pages: Pages,
        *,
        indexed: IndexedBefore | None = None,
    ) -> None:
        """Take over a restored partition; `state_end` is the end of its state topic.

        `pages` are invalidated when conversations change. `indexed` are the indexes of the last assignment; they are
        used if no other worker has had the partition since.
        """
        self.number = number
        self.feed = Feed(number, state_end)
        self._join = join
        self._messages = join.messages[number]
        self._task = join.conversations[number]
        if indexed is not None and not indexed.is_of(self._task.rows.store):
            indexed = None
        self._index = ConversationIndex() if indexed is None else indexed.conversations
        self._message_index = MessageIndex() if indexed is None else indexed.messages
        #: Whether the indexes have all conversations and messages.
        self.indexed = indexed is not None
        #: Conversations being brought into use.
        self._preparing: dict[str, _Preparation] = {}
        self._rendered = rendered
        self._pages = pages
        self._timelines = Timelines(self._task)
        #: Changed since they were indexed.
        self._unindexed: set[str] = set()
        #: Indexed again since their last state was written.
        self._before: dict[str, Before] = {}
        #: Conversations that a change has indexed during `index_all`.
        self._changed_meanwhile: set[str] = set()
        self._caught_up = False
        self._closed = False
        hooks = self._task.hooks
        hooks.row_changed.add(self.row_changed)
        hooks.message_changed.add(self.message_changed)
        hooks.removed.add(self.removed)
        hooks.written.add(self.written)

    @property
    def size(self) -> int:
        """The number of indexed conversations."""
        return len(self._index)

    @property
    def orphans(self) -> int:
        """How many of them are known from their messages only."""
        return self._index.orphans

    @property
    def caught_up(self) -> bool:
        """Whether the tables have everything that was ever visible of this partition."""
        self._caught_up = self._caught_up or self._join.caught_up(self.number)
        return self._caught_up and not self._closed

    def close(self) -> None:
        """Stop reading from the stores: they are about to be closed."""
        self._closed = True
        self._timelines.close()

    def leave(self) -> IndexedBefore | None:
        """Return the indexes for the next assignment, None if they are incomplete.

        They are kept up to date until the join has written everything.
        """
        if not self.indexed:
            return None
        store = self._task.rows.store
        return IndexedBefore(self._index, self._message_index, store, store.generation)

    def prepared(self, conversation_id: str) -> bool:
        """Return whether reading a conversation now has a bounded cost, however long it is."""
        return self._rendered.get(conversation_id) is not None or self._task.is_in_use(conversation_id)

    async def prepare(self, conversation_id: str) -> None:
        """Bring a conversation into use, and let other tasks run while a long one is read."""
        self._check()
        preparation = self._preparing.get(conversation_id)
        if preparation is None:
            preparation = _Preparation(self._task, conversation_id)
            if preparation.step():
                return
            preparation.task = asyncio.create_task(self._finish(preparation))
            self._preparing[conversation_id] = preparation
        if preparation.task is not None:
            await asyncio.shield(preparation.task)

    async def _finish(self, preparation: _Preparation) -> None:
        try:
            finished = False
            while not finished:
                await asyncio.sleep(0)
                self._check()
                finished = preparation.step()
        finally:
            del self._preparing[preparation.conversation_id]

    def __contains__(self, conversation_id: str) -> bool:
        """Return whether the conversation is indexed here; one that is not may still be of this partition."""
        return conversation_id in self._index

    def message(self, message_id: str) -> Rendered | None:
        """Return a message, None if there is none."""
        self._check()
        told = self._messages.facts(message_id)
        facts = None if told is None else message.effective(told)
        if facts is None or not message.exists(facts):
            return None
        fields = message.state(message_id, facts)
        body = render.message(fields)
        return Rendered(body, tag_of(body), fields.get("organization_id"))

    def at_once(self, conversation_id: str) -> Rendered | None:
        """Return a conversation if that costs little, however long it is; None also if there is none."""
        if self._closed or conversation_id in self._preparing:
            return None
        if self.indexed and conversation_id not in self._index and conversation_id not in self._unindexed:
            return None
        at_hand = self.prepared(conversation_id) or _Preparation(self._task, conversation_id).step()
        return self.conversation(conversation_id) if at_hand else None

    def conversation(self, conversation_id: str) -> Rendered | None:
        """Return a conversation, None if there is none."""
        self._check()
        found = self._rendered.get(conversation_id)
        if found is None:
            fields = self._task.state(conversation_id)
            if fields is not None:
                found = self._render(conversation_id, fields)
            self._task.trim()
        return found

    async def messages(
        self, conversation_id: str, below: Position | None, limit: int
    ) -> list[tuple[str, Contribution]]:
        """Return up to `limit` messages of a conversation, newest first."""
        self._check()
        return await self._timelines.page(conversation_id, below, limit)

    def page(self, wanted: Filter, below: Position | None, limit: int) -> list[Position]:
        """Return the positions of up to `limit` conversations, newest first. Only when `indexed`.

        What has changed is indexed before: see `index_changed`.
        """
        return list(islice(self.descend(wanted, below), limit))

    def descend(self, wanted: Filter, below: Position | None) -> Iterator[Position]:
        """Yield their positions as `page` returns them. Nothing may be indexed meanwhile."""
        self._check()
        self.index_changed()
        return self._index.descend(wanted, below)

    def message_keys(self, wanted: MessageFilter, below: bytes | None, limit: int) -> list[bytes]:
        """Return the keys of up to `limit` messages that may match, newest first. Only when `indexed`."""
        self._check()
        return list(islice(self._message_index.descend(wanted, below), limit))

    def listed_message(self, key: bytes, wanted: MessageFilter) -> tuple[Position, bytes] | None:
        """Return the position and the JSON of an indexed message, None if it does not match.

        A message of another organization than its conversation's is not listed.
        """
        self._check()
        position, conversation_id = read_key(key)
        part = self._task.contribution(conversation_id, position[1])
        if part is None or not wanted.admits(part):
            return None
        found = self.facets(conversation_id)
        if found is None or not contributions.is_of(part, found[0].organization):
            return None
        return position, render.listed_message(position[1], conversation_id, part)

    def facets(self, conversation_id: str) -> tuple[Facets, int] | None:
        """Return a conversation's current facets and last activity; None if it does not exist."""
        self._check()
        if conversation_id in self._unindexed:
            self._unindexed.discard(conversation_id)
            self._index_one(conversation_id, self._task.standing(conversation_id))
        return self._index.get(conversation_id)

    async def index_all(self) -> None:
        """Index everything that existed at the takeover, and let other tasks run meanwhile."""
        if self.indexed:
            return
        for _ in self._indexing():
            await asyncio.sleep(0)
            await self._join.room()
            if self._closed:
                return
        self._changed_meanwhile.clear()
        self._message_index.complete()
        self.indexed = True

    def row_changed(self, conversation_id: str) -> None:
        """See ConversationHooks."""
        self._changed(conversation_id)
        self.feed.changed(conversation_id)

    def message_changed(
        self, conversation_id: str, message_id: str, old: Contribution | None, new: Contribution | None
    ) -> None:
        """See ConversationHooks."""
        self._changed(conversation_id)
        told = self.feed.is_watched(conversation_id) and self._was_or_is_shown(conversation_id, old, new)
        self.feed.changed(conversation_id, message_id if told else None)
        self._timelines.message_changed(conversation_id, message_id, old, new)
        self._message_index.changed(conversation_id, message_id, old, new)

    def _was_or_is_shown(self, conversation_id: str, *parts: Contribution | None) -> bool:
        # Trap: the id alone of a message that names another organization must not reach who watches the conversation.
        owner = self._task.in_use(conversation_id).tally.owner
        return any(
            part is not None and contributions.belongs_to(part, conversation_id) and contributions.is_of(part, owner)
            for part in parts
        )

    def removed(self, conversation_id: str) -> None:
        """See ConversationHooks."""
        for message_id, part in self._task.contributions(conversation_id):
            self._message_index.changed(conversation_id, message_id, part, None)
        self._changed(conversation_id)
        self.feed.changed(conversation_id)
        self._timelines.removed(conversation_id)

    def written(self, conversation_id: str, fields: dict[str, Any] | None) -> None:
        """See ConversationHooks."""
        self._unindexed.discard(conversation_id)
        self._index_one(conversation_id, None if fields is None else self._task.standing(conversation_id))
        before = self._before.pop(conversation_id)

        def body() -> bytes:
            found = self._rendered.get(conversation_id)
            if found is None:
                assert fields is not None  # noqa: S101 only what is there is rendered
                found = self._render(conversation_id, fields)
            return found.body

        after = self._index.get(conversation_id)
        self.feed.written(conversation_id, before, after, body, lambda key: self._message_of(conversation_id, key))

    def _check(self) -> None:
        if self._closed:
            raise not_ready("the partition is being handed over", {self.number})

    def _message_of(self, conversation_id: str, message_id: str) -> tuple[str | None, bytes | None]:
        found = self._task.contribution(conversation_id, message_id)
        if found is None or not contributions.belongs_to(found, conversation_id):
            return None, None
        standing = self._task.standing(conversation_id)
        if standing is not None and not contributions.is_of(found, standing.organization):
            return None, None
        return contributions.organization_of(found), render.conversation_message(message_id, found)

    def _changed(self, conversation_id: str) -> None:
        self._rendered.drop(conversation_id)
        if conversation_id in self._preparing:
            # The join has it in use, or it is gone.
            self._preparing[conversation_id].disturbed = True
        self._unindexed.add(conversation_id)

    @property
    def index_is_current(self) -> bool:
        """Whether all changes are indexed."""
        return not self._unindexed

    async def prepare_index(self) -> None:
        """Count again, in steps, what has changed: `index_changed` then has a bounded cost, however long it is.

        What changes in between may have to be counted again in one turn.
        """
        uncounted = [one for one in self._unindexed if not self._task.is_in_use(one)]
        for count, conversation_id in enumerate(uncounted, 1):
            await self.prepare(conversation_id)
            if count % _PREPARED == 0:
                await asyncio.sleep(0)

    def index_changed(self) -> None:
        """Index the conversations that have changed, best after `prepare_index`."""
        for conversation_id in self._unindexed:
            self._index_one(conversation_id, self._task.standing(conversation_id))
        self._unindexed.clear()
        self._task.trim()

    def _index_one(self, conversation_id: str, standing: Standing | None) -> None:
        entry = self._index.get(conversation_id)
        before = self._before.get(conversation_id)
        if entry is not None:
            organization = entry[0].organization
            if before is None:
                self._before[conversation_id] = Before(entry, only(organization))
            elif organization not in before.organizations:
                self._before[conversation_id] = Before(before.listed, before.organizations | {organization})
            self._pages.changed(organization)
        elif before is None:
            self._before[conversation_id] = Before(None, frozenset())
        if not self.indexed:
            self._changed_meanwhile.add(conversation_id)
        if standing is None:
            self._index.remove(conversation_id)
        else:
            self._put(conversation_id, standing)
            self._pages.changed(standing.organization)

    def _put(self, conversation_id: str, standing: Standing) -> None:
        organization, status, service, contact, *flags, active_at = standing
        self._index.put(conversation_id, Facets(organization, Kind(status, service, *flags), contact), active_at)

    def _render(self, conversation_id: str, fields: dict[str, Any]) -> Rendered:
        body = render.conversation(fields)
        rendered = Rendered(body, tag_of(body), self._task.owner(conversation_id))
        self._rendered.keep(conversation_id, rendered)
        return rendered

    def _indexing(self) -> Iterator[None]:
        """Index all that is stored, in steps, unless a change has indexed it meanwhile.

        Messages not yet compared with others of their external id are asked to send their contribution again:
        otherwise superseded ones would be visible until their next event.
        """
        read = 0
        for group, entries in groupby(self._task.rows.scan(b""), lambda entry: split_key(entry[0])[0]):
            conversation_id = group.decode()
            told = None
            counting = Counting(conversation_id)
            for key, value in entries:
                member = split_key(key)[1]
                if member:
                    message_id, part = member.decode(), contributions.effective(contributions.decode(value))
                    counting.add(message_id, part)
                    if contributions.predates_holders(value):
                        self._task.ask(message_id)
                    self._message_index.stored(conversation_id, message_id, part)
                else:
                    told = conversation.decode(value)
                if read % _SLICE == 0:
                    yield
                read += 1
            tally = yield from counting.tallying(told)
            if conversation_id not in self._changed_meanwhile and conversation.exists(tally.facts, tally):
                self._put(conversation_id, conversation.standing(tally.facts, tally))
