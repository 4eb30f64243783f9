"""The conversations that are asked for, and what happens to them."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from uuid import UUID

from join.workload import BEGIN, Event

from avro import instants

ORGANIZATIONS = 100
_SERVICES = ("whatsapp", "instagram")
_STATUSES = ("open", "closed")


@dataclass(frozen=True)
class Conversations:
    """`count` conversations, each of a row and two messages; the organizations have equal shares of them."""

    ids: tuple[str, ...]

    @classmethod
    def make(cls, count: int) -> "Conversations":
        """Make the ids up."""
        random = Random(7)
        return cls(tuple(_uuid(random) for _ in range(count)))

    def organization(self, number: int) -> str:
        """Return whose conversation a number is."""
        return f"organization-{number % ORGANIZATIONS}"

    def events(self) -> Iterator[Event]:
        """Yield what makes them."""
        random = Random(8)
        for number, conversation in enumerate(self.ids):
            at = BEGIN + number * 1_000_000
            row: dict[str, object] = {"id": conversation, "organization_id": self.organization(number)}
            row |= {"service": random.choice(_SERVICES), "status": random.choice(_STATUSES)}
            row |= {"name": f"Customer {number}", "contact_address": str(number), "extra": {"source": "benchmark"}}
            row |= {"created_at": instants.render(at), "updated_at": instants.render(at)}
            yield Event("conversations", "insert", row, at)
            for direction in ("incoming", random.choice(("incoming", "outgoing"))):
                at += 10_000_000
                yield self.message(number, _uuid(random), "What about my order?", at, direction)

    def message(self, number: int, message_id: str, text: str, at: int, direction: str = "incoming") -> Event:
        """Return the event of a new message of a conversation."""
        now = instants.render(at)
        row: dict[str, object] = {"id": message_id, "conversation_id": self.ids[number]}
        row |= {"organization_id": self.organization(number), "direction": direction, "service": "whatsapp"}
        row |= {"content": {"type": "text", "kind": "text", "text": text}, "status": {"pending": now}}
        row |= {"timestamp": now, "created_at": now, "updated_at": now}
        return Event("messages", "insert", row, at)

    def more_messages(self, count: int, seed: int) -> Iterator[Event]:
        """Yield new messages of conversations at random."""
        random = Random(seed)
        for number in range(count):
            at = BEGIN + (number + 1) * 1_000
            yield self.message(random.randrange(len(self.ids)), _uuid(random), "One more thing", at)


def _uuid(random: Random) -> str:
    return str(UUID(int=random.getrandbits(128), version=4))
