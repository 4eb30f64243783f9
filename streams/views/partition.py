"""One partition as the views see it: its tables, the index over them, its timelines and its feed."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

from streams.agents.join import Join
from streams.state import contribution as contributions
from streams.state import conversation, message
from streams.state.contribution import Contribution
from streams.state.conversation import Tally
from streams.stores import split_key
from streams.views import render
from streams.views.feed import Before, Feed
from streams.views.index import ConversationIndex, Facets, Filter, Position, active_at
from streams.views.problems import not_ready
from streams.views.timeline import Timelines

#: Conversations of a worker whose JSON is kept.
_RENDERED = 30_000
#: Store entries that are indexed before others get their turn.
_SLICE = 500


class Rendered(NamedTuple):
    """A conversation or a message as it is shown, with its entity tag and the organization that may see it."""

    body: bytes
    tag: str
    organization: str | None


def tag_of(body: bytes) -> str:
    """Return the entity tag of a body."""
    return hashlib.sha256(body).hexdigest()[:32]


class RenderedConversations:
    """The conversations that were shown last, as long as they stay as they are. Of all partitions of a worker."""

    def __init__(self) -> None:
        """Keep none yet."""
        self._kept: OrderedDict[str, Rendered] = OrderedDict()
        self.clear = self._kept.clear

    def drop(self, conversation_id: str) -> None:
        """Forget a conversation that is not as it was shown any more."""
        self._kept.pop(conversation_id, None)

    def get(self, conversation_id: str) -> Rendered | None:
        """Return what is kept."""
        found = self._kept.get(conversation_id)
        if found is not None:
            self._kept.move_to_end(conversation_id)
        return found

    def keep(self, conversation_id: str, rendered: Rendered) -> None:
        """Keep a conversation until it is dropped or others are shown more."""
        self._kept[conversation_id] = rendered
        if len(self._kept) > _RENDERED:
            self._kept.popitem(last=False)


class PartitionView:
    """Answers for one partition, and watches its conversations (`streams.observer.ConversationObserver`).

    Everything but `index_all` and `messages` is done between two awaits, so it sees one moment of the tables. What
    reads raises ProblemError (not_ready) after `close`.
    """

    def __init__(self, number: int, join: Join, state_end: int, rendered: RenderedConversations) -> None:
        """Take over a partition that has been restored; `state_end` is the end of its state topic."""
        self.number = number
        self.feed = Feed(number, state_end)
        #: Whether `index` has all conversations.
        self.indexed = False
        self._join = join
        self._messages = join.messages[number]
        self._task = join.conversations[number]
        self._index = ConversationIndex()
        self._rendered = rendered
        self._timelines = Timelines(self._task)
        #: Changed since they were indexed.
        self._unindexed: set[str] = set()
        #: Of those that were indexed again since they were written last.
        self._before: dict[str, Before] = {}
        #: Conversations that have been indexed by a change, while all are being indexed.
        self._changed_meanwhile: set[str] = set()
        self._caught_up = False
        self._closed = False
        self._task.observer = self

    @property
    def size(self) -> int:
        """The number of conversations that are indexed."""
        return len(self._index)

    @property
    def caught_up(self) -> bool:
        """Whether the tables have everything that anybody can have been shown of this partition."""
        self._caught_up = self._caught_up or self._join.caught_up(self.number)
        return self._caught_up and not self._closed

    def close(self) -> None:
        """Read nothing more from the stores: they are about to be closed."""
        self._closed = True
        self._timelines.close()

    def __contains__(self, conversation_id: str) -> bool:
        """Return whether the conversation is indexed here; one that is not may be here all the same."""
        return conversation_id in self._index

    def message(self, message_id: str) -> Rendered | None:
        """Return a message, None if there is none."""
        self._check()
        facts = self._messages.facts(message_id)
        if facts is None:
            return None
        fields = message.state(message_id, facts)
        body = render.message(fields)
        return Rendered(body, tag_of(body), fields.get("organization_id"))

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
        """Return the positions of up to `limit` conversations, newest first. Only when `indexed`."""
        self._check()
        self._index_changed()
        return self._index.page(wanted, below, limit)

    def facets(self, conversation_id: str) -> tuple[Facets, int] | None:
        """Return what a conversation can be found by now, and when it was active; None if it is not there."""
        self._check()
        if conversation_id in self._unindexed:
            self._unindexed.discard(conversation_id)
            self._index_one(conversation_id, self._task.state(conversation_id))
        return self._index.get(conversation_id)

    async def index_all(self) -> None:
        """Index everything that was there at the takeover, and let others have their turn meanwhile."""
        count = 0
        for conversation_id, group in self._groups():
            if conversation_id not in self._changed_meanwhile:
                fields = _state(conversation_id, group)
                if fields is not None:
                    self._index.put(conversation_id, *self._facets(conversation_id, fields))
            count += len(group)
            if count > _SLICE:
                count = 0
                await asyncio.sleep(0)
                if self._closed:
                    return
        self._changed_meanwhile.clear()
        self.indexed = True

    def row_changed(self, conversation_id: str) -> None:
        """See ConversationObserver."""
        self._changed(conversation_id)
        self.feed.changed(conversation_id)

    def message_changed(
        self, conversation_id: str, message_id: str, old: Contribution | None, new: Contribution | None
    ) -> None:
        """See ConversationObserver."""
        self._changed(conversation_id)
        self.feed.changed(conversation_id, message_id)
        self._timelines.message_changed(conversation_id, message_id, old, new)

    def removed(self, conversation_id: str) -> None:
        """See ConversationObserver."""
        self._changed(conversation_id)
        self.feed.changed(conversation_id)
        self._timelines.removed(conversation_id)

    def written(self, conversation_id: str, fields: dict[str, Any] | None) -> None:
        """See ConversationObserver."""
        self._unindexed.discard(conversation_id)
        self._index_one(conversation_id, fields)
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
        return contributions.text_of(found.organization_id), render.conversation_message(message_id, found)

    def _changed(self, conversation_id: str) -> None:
        self._rendered.drop(conversation_id)
        self._unindexed.add(conversation_id)

    def _index_changed(self) -> None:
        for conversation_id in self._unindexed:
            self._index_one(conversation_id, self._task.state(conversation_id))
        self._unindexed.clear()
        self._task.trim()

    def _index_one(self, conversation_id: str, fields: dict[str, Any] | None) -> None:
        entry = self._index.get(conversation_id)
        before = self._before.get(conversation_id)
        if entry is not None:
            facets, organization = entry[0], entry[0].organization
            if before is None:
                self._before[conversation_id] = Before(facets, frozenset({organization}))
            elif organization not in before.organizations:
                self._before[conversation_id] = Before(before.facets, before.organizations | {organization})
        elif before is None:
            self._before[conversation_id] = Before(None, frozenset())
        if not self.indexed:
            self._changed_meanwhile.add(conversation_id)
        if fields is None:
            self._index.remove(conversation_id)
        else:
            self._index.put(conversation_id, *self._facets(conversation_id, fields))

    def _facets(self, conversation_id: str, fields: dict[str, Any]) -> tuple[Facets, int | None]:
        organization = self._organization(conversation_id, fields)
        facets = Facets(organization, fields.get("status"), fields.get("service"), fields["awaiting_reply"])
        return facets, active_at(fields)

    def _organization(self, conversation_id: str, fields: dict[str, Any]) -> str | None:
        """Return whose the conversation is: its row says it, and until there is one its last message."""
        organization: str | None = fields.get("organization_id")
        last = fields["last_message"]
        if organization is None and last is not None:
            found = self._task.contribution(conversation_id, last["message_id"])
            organization = None if found is None else contributions.text_of(found.organization_id)
        return organization

    def _render(self, conversation_id: str, fields: dict[str, Any]) -> Rendered:
        body = render.conversation(fields)
        rendered = Rendered(body, tag_of(body), self._organization(conversation_id, fields))
        self._rendered.keep(conversation_id, rendered)
        return rendered

    def _groups(self) -> Iterator[tuple[str, list[tuple[bytes, bytes]]]]:
        for group, entries in groupby(self._task.store.scan(b""), lambda entry: split_key(entry[0])[0]):
            yield group.decode(), [(split_key(key)[1], value) for key, value in entries]


def _state(conversation_id: str, entries: list[tuple[bytes, bytes]]) -> dict[str, Any] | None:
    facts = None
    messages: dict[str, Contribution] = {}
    for member, value in entries:
        if member:
            messages[member.decode()] = contributions.decode(value)
        else:
            facts = conversation.decode(value)
    tally = Tally.of(conversation_id, messages.items())
    if facts is None and tally.messages == 0:
        return None
    last = None if tally.last_message is None else messages[tally.last_message]
    return conversation.state(conversation_id, facts, tally, last)
