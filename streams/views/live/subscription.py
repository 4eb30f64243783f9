"""What this worker's feeds still have to send to one client: each conversation once, in its latest state.

First the existing rows (or, for a client that reconnects, the changes since), then new changes. The two meet exactly:
the feeds report changes from the start of the subscription on, and a change that a conversation already had when it was
first sent is not sent again.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from avro.jsontext import encode
from streams.state import contribution as contributions
from streams.state.contribution import Contribution
from streams.views.read import render
from streams.views.read.feed import Change, ChangedMessage
from streams.views.read.index import Filter, Position
from streams.views.read.partition import PartitionView

#: Messages in the snapshot of one conversation.
SNAPSHOT_MESSAGES = 50

_PAGE = 100


class Event(NamedTuple):
    """An event to send. `position` is the (partition, position) that it takes the client to; None: no change of it."""

    name: str
    data: bytes
    position: tuple[int, int] | None = None


class Subscription(Protocol):
    """What both kinds have in common."""

    #: The feeds' positions at its start.
    positions: dict[int, int]

    @property
    def waiting_since(self) -> float | None:
        """Since when (`time.monotonic`) the oldest change waits, None if none does."""

    async def first(self) -> list[Event]:
        """Return more of the existing rows; empty when all are sent, until `take` finds some to send again."""

    def take(self, most: int) -> list[Event]:
        """Return the changes, in order."""

    def close(self) -> None:
        """Unsubscribe."""


class CannotResumeError(Exception):
    """The changes since the client's position are not known: it has to start over."""


class ListSubscription:
    """All conversations that a filter admits.

    Its events: `conversation` (the whole of it) and `removed` (its id: gone, or no longer admitted).
    """

    def __init__(
        self,
        views: Mapping[int, PartitionView],
        wanted: Filter,
        resume: Mapping[int, int] | None,
        wake: Callable[[], None],
    ) -> None:
        """Start. `resume` are the positions from which the client resumes. Raises CannotResumeError.

        `wake` is called when `take` has events.
        """
        self._wake = wake
        self._views = views
        self._wanted = wanted
        #: The last change of each conversation that waits, and since when one does: the oldest first.
        self._pending: OrderedDict[tuple[int, str], tuple[float, Event]] = OrderedDict()
        self._shown: dict[tuple[int, str], int] = {}
        self._doubtful: set[tuple[int, str]] = set()
        #: Conversations to send, and to whom each could be shown (None: to those who may see it now).
        self._first: Iterator[tuple[int, str, frozenset[str | None] | None]]
        #: Whether all of these were sent.
        self._told = False
        self._resumes = resume is not None
        self.positions = {number: view.feed.end for number, view in views.items()}
        if resume is None:
            self._first = self._everything()
        else:
            self._first = self._since({number: self._changed_since(number, resume[number]) for number in views})
            # The client may have been shown states of theirs that will never be written.
            self._doubtful = {(n, key) for n, view in views.items() for key in view.feed.unsettled_conversations}
        for view in views.values():
            view.feed.subscribe(self, wanted.organizations)

    @property
    def waiting_since(self) -> float | None:
        """See Subscription."""
        return next((since for since, _ in self._pending.values()), None)

    async def first(self) -> list[Event]:
        """See Subscription."""
        if self._told:
            return []
        events: list[Event] = []
        for view in self._views.values():
            await view.prepare_index()
        for step, (number, conversation_id, organizations) in enumerate(self._first, 1):
            view = self._views[number]
            if not view.prepared(conversation_id):
                await view.prepare(conversation_id)
            event = self._show(number, view, conversation_id)
            if event is None and self._resumes and self._may_have_been_shown(view, conversation_id, organizations):
                event = _removed(conversation_id, None)
            if event is not None:
                events.append(event)
            if step % _PAGE == 0:
                await asyncio.sleep(0)
                if events:
                    break
        else:
            self._told = True
        return events

    def offer(self, partition: int, position: int, change: Change) -> None:
        """See feed.Subscriber."""
        key = (partition, change.conversation_id)
        shown = self._shown.get(key, 0)
        if change.sequence >= shown:
            self._shown.pop(key, None)
        if change.sequence <= shown:
            return
        wanted = self._wanted
        if change.after is not None and wanted.admits(*change.after):
            if change.body is None:
                return
            event = Event("conversation", change.body, (partition, position))
        elif shown or key in self._doubtful or (change.before is not None and wanted.admits(*change.before)):
            # The client may have seen a state between the two written ones.
            self._doubtful.discard(key)
            event = _removed(change.conversation_id, (partition, position))
        else:
            return
        waiting = self._pending.get(key)
        if waiting is None:
            self._pending[key] = time.monotonic(), event
        else:
            # Trap: moved to the end with each change, it might never be sent. In its place it has its former position:
            # a client that resumes from a later one would miss what waits behind it.
            since, former = waiting
            self._pending[key] = since, event._replace(position=former.position)
        self._wake()

    def take(self, most: int) -> list[Event]:
        """See Subscription."""
        events: list[Event] = []
        while self._pending and len(events) < most:
            events.append(self._pending.popitem(last=False)[1][1])
        return events

    def close(self) -> None:
        """See Subscription."""
        for view in self._views.values():
            view.feed.leave(self, self._wanted.organizations, None)

    def _everything(self) -> Iterator[tuple[int, str, None]]:
        for number, view in self._views.items():
            below: Position | None = None
            while page := view.page(self._wanted, below, _PAGE):
                below = page[-1]
                for _, conversation_id in page:
                    yield number, conversation_id, None

    @staticmethod
    def _since(
        changed: Mapping[int, Mapping[str, frozenset[str | None] | None]],
    ) -> Iterator[tuple[int, str, frozenset[str | None] | None]]:
        for number, conversations in changed.items():
            for conversation_id, organizations in conversations.items():
                yield number, conversation_id, organizations

    def _changed_since(self, number: int, position: int) -> Mapping[str, frozenset[str | None] | None]:
        view = self._views[number]
        changed = view.feed.since(position)
        if changed is None:
            raise CannotResumeError
        if self._wanted.organizations is not None:
            for conversation_id, organizations in changed.items():
                entry = view.facets(conversation_id) if organizations is None else None
                if organizations is None and not (entry and entry[0].organization in self._wanted.organizations):
                    # Deleted or moved to another organization before this worker took over: its former one is not known
                    # here.
                    raise CannotResumeError
        return changed

    def _show(self, number: int, view: PartitionView, conversation_id: str) -> Event | None:
        key = (number, conversation_id)
        entry = view.facets(conversation_id)
        rendered = view.conversation(conversation_id)
        if entry is None or rendered is None or not self._wanted.admits(*entry):
            return None
        self._pending.pop(key, None)
        unsettled = view.feed.unsettled(conversation_id)
        if unsettled:
            self._shown[key] = unsettled
        return Event("conversation", rendered.body)

    def _may_have_been_shown(
        self, view: PartitionView, conversation_id: str, organizations: frozenset[str | None] | None
    ) -> bool:
        allowed = self._wanted.organizations
        if allowed is None:
            return True
        entry = view.facets(conversation_id)
        known = {entry[0].organization} if entry is not None else set()
        return not allowed.isdisjoint(known | (organizations or set()))


class ConversationSubscription:
    """One conversation and its messages.

    Its events: `snapshot` (the conversation and its newest messages: discard earlier events), `change` (the
    conversation and its changed messages), `removed` (it is gone, or no longer visible).
    """

    def __init__(
        self,
        view: PartitionView,
        conversation_id: str,
        organizations: frozenset[str] | None,
        resume: int | None,
        wake: Callable[[], None],
    ) -> None:
        """Start. `resume` is the position from which the client resumes. Raises CannotResumeError.

        `wake` is called when `take` has events.
        """
        self._wake = wake
        self.waiting_since: float | None = None
        self.positions = {view.number: view.feed.end}
        self._view = view
        self._conversation_id = conversation_id
        self._organizations = organizations
        self._shown = 0
        self._pending: deque[tuple[int, Change]] = deque()
        self._snapshot_wanted = True
        #: The position to send with the next snapshot; None: none.
        self._snapshot_at: tuple[int, int] | None = None
        if resume is not None:
            changed = view.feed.since(resume)
            if changed is None:
                raise CannotResumeError
            # Changed messages are tracked only during a subscription: so a full snapshot is sent.
            self._snapshot_wanted = conversation_id in changed or bool(view.feed.unsettled(conversation_id))
        view.feed.watch(self, conversation_id)

    async def first(self) -> list[Event]:
        """See Subscription."""
        if not self._snapshot_wanted:
            return []
        self._snapshot_wanted = False
        at, self._snapshot_at = self._snapshot_at, None
        found = await self._view.messages(self._conversation_id, None, SNAPSHOT_MESSAGES)
        conversation = self._view.conversation(self._conversation_id)
        if conversation is None or not self._visible(conversation.organization):
            return [_removed(self._conversation_id, at)]
        self._shown = self._view.feed.unsettled(self._conversation_id)
        self._pending.clear()
        self.waiting_since = None
        owner = conversation.organization
        messages = [
            render.conversation_message(*item)
            for item in found
            if contributions.is_of(item[1], owner) and self._visible_message(_organization_of(item[1]))
        ]
        body = b'{"conversation":%s,"messages":[%s]}' % (conversation.body, b",".join(messages))
        return [Event("snapshot", body, at)]

    def offer(self, partition: int, position: int, change: Change) -> None:
        """See feed.Subscriber."""
        del partition
        if change.sequence <= self._shown:
            return
        self._pending.append((position, change))
        if self.waiting_since is None:
            self.waiting_since = time.monotonic()
        self._wake()

    def take(self, most: int) -> list[Event]:
        """See Subscription: all changes in one event."""
        del most
        self.waiting_since = None
        if not self._pending:
            return []
        position, last = self._pending[-1]
        at = (self._view.number, position)
        messages: dict[str, ChangedMessage] = {}
        for _, change in self._pending:
            messages |= {changed.message_id: changed for changed in change.messages if changed.sequence > self._shown}
        # Trap: if the owner changed, unchanged messages may have become visible, or invisible.
        is_given = any(len(change.organizations) > 1 for _, change in self._pending)
        self._pending.clear()
        if last.after is None or not self._visible(last.after[0].organization):
            return [_removed(self._conversation_id, at)]
        if is_given:
            self._snapshot_wanted, self._snapshot_at = True, at
            return []
        if last.body is None:
            return []
        return [Event("change", self._change(last.body, messages.values()), at)]

    def close(self) -> None:
        """See Subscription."""
        self._view.feed.leave(self, None, self._conversation_id)

    def _change(self, body: bytes, messages: Iterable[ChangedMessage]) -> bytes:
        shown = [m.body for m in messages if m.body is not None and self._visible_message(m.organization)]
        removed = [m.message_id for m in messages if m.body is None]
        return b'{"conversation":%s,"messages":[%s],"removed_messages":%s}' % (body, b",".join(shown), encode(removed))

    def _visible(self, organization: str | None) -> bool:
        return self._organizations is None or organization in self._organizations

    def _visible_message(self, organization: str | None) -> bool:
        return organization is None or self._visible(organization)


def _removed(conversation_id: str, position: tuple[int, int] | None) -> Event:
    return Event("removed", encode({"id": conversation_id}), position)


def _organization_of(contribution: Contribution) -> str | None:
    return contributions.organization_of(contribution)
