"""What OpenBSP would have sent: a busy time of many conversations at once, the same for the same seed."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from avro import instants
from avro.identity import status_change_id

BEGIN = 1_778_025_600_000_000  # 2026-05-06T00:00:00Z
STATUSES = ("pending", "sent", "delivered", "read")
MESSAGES = 10

_SECOND = 1_000_000
BEGIN_PER_S = 25  # conversations
_GAP_S = 20  # between two messages of a conversation, on average
# Each status comes so many seconds after the one before it.
_STEPS_S = ((0.2, 1.0), (0.3, 2.0), (0.5, 7.0))
_VOCABULARY = (
    "hello thanks order delivery address tomorrow please invoice payment size colour red blue when where which one"
    " yes no perhaps the a of to and is are was will can could tracking number arrived broken refund exchange store"
)
_WORDS = _VOCABULARY.split()


class Message(NamedTuple):
    """A message and the instants at which it reached each of STATUSES."""

    id: str
    incoming: bool
    text: str
    moments: tuple[int, ...]

    @property
    def direction(self) -> str:
        """As in its row."""
        return "incoming" if self.incoming else "outgoing"


class Conversation(NamedTuple):
    """A conversation with its messages in the order of their time; its row may never come."""

    id: str
    organization: str
    organization_address: str
    contact_address: str
    name: str
    begin: int
    messages: tuple[Message, ...]
    has_row: bool = True


class Event(NamedTuple):
    """What one webhook says, and when it was sent (microseconds)."""

    entity: str
    action: str
    row: dict[str, Any]
    at: int


@dataclass(frozen=True)
class Workload:
    """`conversations` x (a row + messages x (insert + an update for each further status that it reaches)).

    If `row_of_each` is more than 1, only one in so many conversations has its row.

    An insert has the columns of a running system; an update has what the documentation shows: the id, the merged
    status and `updated_at`. Updates come within ten seconds of their insert, and events in the order of their time.
    """

    conversations: tuple[Conversation, ...]

    @classmethod
    def generate(
        cls,
        conversations: int,
        seed: int = 5,
        messages: int = MESSAGES,
        statuses: int = len(STATUSES),
        row_of_each: int = 1,
    ) -> "Workload":
        """Make the conversations up; each message reaches so many of STATUSES, one of `row_of_each` has its row."""
        random = Random(seed)
        organizations = [(_uuid(random), str(random.randrange(10**14, 10**15))) for _ in range(20)]
        span = conversations / BEGIN_PER_S
        return cls(
            tuple(
                _conversation(
                    random,
                    *random.choice(organizations),
                    BEGIN + int(random.random() * span * _SECOND),
                    count=messages,
                    statuses=statuses,
                    has_row=number % row_of_each == 0,
                )
                for number in range(conversations)
            )
        )

    def __len__(self) -> int:
        """Return the number of events."""
        return sum(
            conversation.has_row + sum(len(message.moments) for message in conversation.messages)
            for conversation in self.conversations
        )

    def events(self) -> Iterator[Event]:
        """Yield the events in the order in which they were sent."""
        begun = sorted(self.conversations, key=lambda conversation: conversation.begin)
        running: list[tuple[int, str, int, int, Conversation]] = []
        for conversation in begun:
            while running and running[0][0] < conversation.begin:
                yield _pop(running)
            if conversation.has_row:
                yield _row_event(conversation)
            _push(running, conversation)
        while running:
            yield _pop(running)

    def status_change_ids(self) -> Iterator[str]:
        """Yield the id of each status change."""
        for conversation in self.conversations:
            for message in conversation.messages:
                for status, _ in zip(STATUSES, message.moments, strict=False):
                    yield status_change_id(message.id, status)


def inserts(conversations: int, seed: int = 6) -> Iterator[Event]:
    """Yield a row for each conversation and each of its messages, all statuses reached: tables without a history."""
    random = Random(seed)
    for _ in range(conversations):
        conversation = _conversation(random, _uuid(random), "100000000000000", BEGIN)
        yield _row_event(conversation)
        for message in conversation.messages:
            yield Event(
                "messages", "insert", _message_row(conversation, message, len(STATUSES) - 1), message.moments[0]
            )


def _conversation(
    random: Random,
    organization: str,
    organization_address: str,
    begin: int,
    *,
    count: int = MESSAGES,
    statuses: int = len(STATUSES),
    has_row: bool = True,
) -> Conversation:
    at = begin
    messages = []
    for number in range(count):
        at += _SECOND // 10 + int(random.expovariate(1 / _GAP_S) * _SECOND)
        moments = [at]
        for low, high in _STEPS_S[: statuses - 1]:
            moments.append(moments[-1] + int(random.uniform(low, high) * _SECOND))
        text = " ".join(random.choices(_WORDS, k=random.randint(2, 25)))
        incoming = number == 0 or random.random() < 0.5
        messages.append(Message(_uuid(random), incoming, text, tuple(moments)))
    contact = f"52155{random.randrange(10**8):08}"
    name = " ".join(random.choices(_WORDS, k=2)).title()
    identity, told = _uuid(random), tuple(messages)
    return Conversation(identity, organization, organization_address, contact, name, begin, told, has_row)


def _uuid(random: Random) -> str:
    return str(UUID(int=random.getrandbits(128), version=4))


# An entry of the heap: when, ids to break ties, and which message and status comes then.
def _push(running: list[tuple[int, str, int, int, Conversation]], conversation: Conversation) -> None:
    for number, message in enumerate(conversation.messages):
        for stage, at in enumerate(message.moments):
            heapq.heappush(running, (at, conversation.id, number, stage, conversation))


def _pop(running: list[tuple[int, str, int, int, Conversation]]) -> Event:
    at, _, number, stage, conversation = heapq.heappop(running)
    message = conversation.messages[number]
    if stage:
        row = {"id": message.id, "status": _status(message, stage), "updated_at": instants.render(at)}
        return Event("messages", "update", row, at)
    return Event("messages", "insert", _message_row(conversation, message, stage), at)


def _status(message: Message, stage: int) -> dict[str, str]:
    reached = zip(STATUSES, message.moments[: stage + 1], strict=False)
    return {status: instants.render(moment) for status, moment in reached}


def _message_row(conversation: Conversation, message: Message, stage: int) -> dict[str, Any]:
    at = instants.render(message.moments[0])
    return {
        "organization_id": conversation.organization,
        "conversation_id": conversation.id,
        "id": message.id,
        "external_id": f"wamid.{message.id.replace('-', '').upper()}",
        "direction": message.direction,
        "agent_id": None,
        "contact_address": conversation.contact_address,
        "service": "whatsapp",
        "organization_address": conversation.organization_address,
        "content": {"version": "1", "type": "text", "kind": "text", "text": message.text},
        "status": _status(message, stage),
        "timestamp": at,
        "created_at": at,
        "updated_at": instants.render(message.moments[stage]),
    }


def _row_event(conversation: Conversation) -> Event:
    now = instants.render(conversation.begin)
    row = {
        "organization_id": conversation.organization,
        "id": conversation.id,
        "service": "whatsapp",
        "organization_address": conversation.organization_address,
        "contact_address": conversation.contact_address,
        "group_address": None,
        "name": conversation.name,
        "extra": {"source": "benchmark"},
        "status": "open",
        "created_at": now,
        "updated_at": now,
    }
    return Event("conversations", "insert", row, conversation.begin)
