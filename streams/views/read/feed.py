"""The feed of a partition: which conversations have changed, in the order of the acknowledged states.

Positions are offsets of the state topic: they mean the same to every owner of the partition, so a client can resume
from its position at any of them.

changed (facts merged) -> written (state sent to Kafka) -> acknowledged (sent to subscriptions)
"""

from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeVar

from streams.views.read.index import Facets

Key = TypeVar("Key")

#: A conversation's facets, and its last activity.
Listed = tuple[Facets, int]

#: How many changes a feed remembers, for clients that reconnect.
RECENT = 20_000


@lru_cache(10_000)
def only(organization: str | None) -> frozenset[str | None]:
    """Return the set of one organization. It is shared, as each remembered change has one: half of its memory."""
    return frozenset({organization})


class ChangedMessage(NamedTuple):
    """A message of a conversation with a subscription of its own. `body` is None if the message is gone."""

    message_id: str
    sequence: int
    organization: str | None
    body: bytes | None


class Change(NamedTuple):
    """A conversation as in its acknowledged state.

    `sequence` numbers the newest change in it. `before` and `after` are how it was and is listed (None: not),
    `organizations` those that could see it before, after, or between the two written states. `body` is None if no
    subscription needed it when it was written.
    """

    conversation_id: str
    sequence: int
    before: Listed | None
    after: Listed | None
    organizations: frozenset[str | None]
    body: bytes | None
    messages: tuple[ChangedMessage, ...]


class Before(NamedTuple):
    """How a conversation was listed when it was last written, and who could see it since."""

    listed: Listed | None
    organizations: frozenset[str | None]


class Subscriber(Protocol):
    """Called with each change; must be quick."""

    def offer(self, partition: int, position: int, change: Change) -> None:
        """Take a change; `position` is the one after it."""


class Recent(NamedTuple):
    """A sent change. `organizations` are those that could see it before or after; None: unknown."""

    position: int
    conversation_id: str
    organizations: frozenset[str | None] | None


class Feed:
    """Follows one partition from `end` on, the end of the state topic at the takeover."""

    def __init__(self, partition: int, end: int) -> None:
        """Start without subscribers."""
        self.partition = partition
        #: The position after the last acknowledged state.
        self.end = end
        #: All changes from this position on are remembered.
        self.start = end
        self._recent: deque[Recent] = deque()
        self._sequence = 0
        self._unsettled: dict[str, int] = {}
        self._in_flight: deque[Change] = deque()
        self._watchers: dict[str, dict[Subscriber, None]] = {}
        self._by_organization: dict[str | None, dict[Subscriber, None]] = {}
        self._everything: dict[Subscriber, None] = {}
        self._touched: dict[str, dict[str, int]] = {}

    def changed(self, conversation_id: str, message_id: str | None = None) -> None:
        """Record that a conversation, and maybe one of its messages, has changed in the table."""
        self._sequence += 1
        self._unsettled[conversation_id] = self._sequence
        if message_id is not None and self.is_watched(conversation_id):
            self._touched.setdefault(conversation_id, {})[message_id] = self._sequence

    def is_watched(self, conversation_id: str) -> bool:
        """Return whether a subscription is for this conversation's messages."""
        return conversation_id in self._watchers

    def written(
        self,
        conversation_id: str,
        before: Before,
        after: Listed | None,
        render: Callable[[], bytes],
        render_message: Callable[[str], tuple[str | None, bytes | None]],
    ) -> None:
        """Record that a state was sent to Kafka; it is rendered only if a subscription needs it."""
        facets = None if after is None else after[0]
        organizations = before.organizations
        if facets is not None and facets.organization not in organizations:
            organizations = organizations | {facets.organization} if organizations else only(facets.organization)
        body: bytes | None = None
        messages: tuple[ChangedMessage, ...] = ()
        if facets is not None and self._is_wanted(conversation_id, facets):
            body = render()
            touched = self._touched.pop(conversation_id, {})
            messages = tuple(
                ChangedMessage(message_id, sequence, *render_message(message_id))
                for message_id, sequence in touched.items()
            )
        sequence = self._unsettled.get(conversation_id, 0)
        self._in_flight.append(Change(conversation_id, sequence, before.listed, after, organizations, body, messages))

    def acknowledged(self, offset: int) -> None:
        """Record that the oldest pending state is acknowledged, and notify subscriptions."""
        change = self._in_flight.popleft()
        self.end = offset + 1
        conversation_id = change.conversation_id
        if not change.sequence:
            # Rewritten without a change, over a record of another worker.
            return
        if self._unsettled.get(conversation_id) == change.sequence:
            del self._unsettled[conversation_id]
        self._recent.append(Recent(self.end, conversation_id, change.organizations))
        if len(self._recent) > RECENT:
            self.start = self._recent.popleft().position
        for subscriber in self._interested(conversation_id, change.organizations):
            subscriber.offer(self.partition, self.end, change)

    def unsettled(self, conversation_id: str) -> int:
        """Return the number of the conversation's newest unacknowledged change, 0 if there is none."""
        return self._unsettled.get(conversation_id, 0)

    @property
    def unsettled_conversations(self) -> Iterable[str]:
        """The conversations with unacknowledged changes."""
        return self._unsettled.keys()

    def since(self, position: int) -> dict[str, frozenset[str | None] | None] | None:
        """Return the conversations that have changed since, unless they will still be sent. None: not known.

        Each with the organizations that could see it; None: not known.
        """
        if not self.start <= position <= self.end:
            return None
        found: dict[str, frozenset[str | None] | None] = {}
        for change in self._in_flight:
            # Those written before the subscription have no body, so they are not sent when acknowledged.
            self._add(found, change.conversation_id, change.organizations)
        for recent in reversed(self._recent):
            if recent.position <= position:
                break
            self._add(found, recent.conversation_id, recent.organizations)
        return found

    def extend(self, start: int, until: int, older: Iterable[Recent]) -> None:
        """Remember changes from before the takeover: from `start` to `until`, where the memory began; in order."""
        if start < until == self.start:
            self._recent.extendleft(reversed(list(older)))
            self.start = start

    def subscribe(self, subscriber: Subscriber, organizations: frozenset[str] | None) -> None:
        """Notify a subscriber of all conversations, or those of some organizations, from now on."""
        if organizations is None:
            self._everything[subscriber] = None
        else:
            for organization in organizations:
                self._by_organization.setdefault(organization, {})[subscriber] = None

    def watch(self, subscriber: Subscriber, conversation_id: str) -> None:
        """Notify a subscriber of one conversation and its messages from now on."""
        self._watchers.setdefault(conversation_id, {})[subscriber] = None

    def leave(self, subscriber: Subscriber, organizations: frozenset[str] | None, conversation_id: str | None) -> None:
        """Remove a subscriber."""
        if conversation_id is not None:
            _remove(self._watchers, conversation_id, subscriber)
            if conversation_id not in self._watchers:
                self._touched.pop(conversation_id, None)
        elif organizations is None:
            self._everything.pop(subscriber, None)
        else:
            for organization in organizations:
                _remove(self._by_organization, organization, subscriber)

    def _is_wanted(self, conversation_id: str, facets: Facets) -> bool:
        return (
            bool(self._everything) or conversation_id in self._watchers or facets.organization in self._by_organization
        )

    def _interested(self, conversation_id: str, organizations: Iterable[str | None]) -> list[Subscriber]:
        found = dict(self._everything)
        found |= self._watchers.get(conversation_id, {})
        for organization in organizations:
            found |= self._by_organization.get(organization, {})
        return list(found)

    @staticmethod
    def _add(
        found: dict[str, frozenset[str | None] | None], key: str, organizations: frozenset[str | None] | None
    ) -> None:
        known = found.get(key, frozenset())
        found[key] = None if known is None or organizations is None else known | organizations


def _remove(groups: dict[Key, dict[Subscriber, None]], key: Key, member: Subscriber) -> None:
    group = groups.get(key)
    if group is not None:
        group.pop(member, None)
        if not group:
            del groups[key]
